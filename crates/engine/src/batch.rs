//! When a batch is ready: a pure function of what waits and of the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::job::Rank;

/// How requests are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchPolicy {
    /// Rows in a batch at most; a request that has more runs alone.
    pub(crate) max_rows: usize,
    /// How long a batch may wait to fill, from the arrival of its oldest request.
    pub(crate) max_delay: Duration,
    /// Numbers of rows that a batch goes with at once.
    pub(crate) preferred: Arc<[usize]>,
}

/// How far a batch may be filled with what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filling {
    /// Requests in it.
    pub(crate) jobs: usize,
    /// Whether it is as large as it is to be.
    pub(crate) is_full: bool,
}

/// Requests that may share a batch, because their tensors have the same types and shapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) filling: Filling,
    /// When the oldest of them arrived.
    pub(crate) oldest: Instant,
    /// The rank of the first of them.
    pub(crate) first: Rank,
}

/// What an idle worker should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Nothing waits.
    Empty,
    /// Wait, but not beyond this instant.
    Until(Instant),
    /// Take this many of the group of this index.
    Ready { group: usize, size: usize },
}

impl BatchPolicy {
    /// Batches of so many rows, of which none is preferred.
    pub(crate) fn of(max_rows: usize, max_delay: Duration) -> Self {
        Self { max_rows, max_delay, preferred: Arc::default() }
    }

    /// The batch that requests of so many rows each make, in this order. It is full at the largest preferred
    /// size that they reach, else where the next has no room.
    pub(crate) fn fill(&self, requests: impl IntoIterator<Item = usize>) -> Filling {
        let (mut jobs, mut total, mut preferred) = (0, 0_usize, 0);
        let mut is_full = false;
        for rows in requests {
            if jobs > 0 && total.saturating_add(rows) > self.max_rows {
                is_full = true;
                break;
            }
            jobs += 1;
            total = total.saturating_add(rows);
            if self.preferred.contains(&total) {
                preferred = jobs;
            }
            if total >= self.max_rows {
                is_full = true;
                break;
            }
        }
        if preferred > 0 {
            Filling { jobs: preferred, is_full: true }
        } else {
            Filling { jobs, is_full }
        }
    }

    /// A group is ready once it fills a batch or its oldest request has waited long enough. Of several
    /// that are ready, the one with the first request goes first, so that of equals none starves.
    pub(crate) fn readiness(
        &self,
        groups: impl IntoIterator<Item = Waiting>,
        now: Instant,
    ) -> Readiness {
        let mut next: Option<Instant> = None;
        let mut ready: Option<(Rank, usize, usize)> = None;
        for (index, group) in groups.into_iter().enumerate() {
            let Waiting { filling: Filling { jobs, is_full }, oldest, first } = group;
            if jobs == 0 {
                continue;
            }
            let due = oldest + self.max_delay;
            if is_full || due <= now {
                if ready.is_none_or(|(before, ..)| first < before) {
                    ready = Some((first, index, jobs));
                }
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        match (ready, next) {
            (Some((_, group, size)), _) => Readiness::Ready { group, size },
            (None, Some(instant)) => Readiness::Until(instant),
            (None, None) => Readiness::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    fn policy() -> BatchPolicy {
        BatchPolicy::of(4, DELAY)
    }

    /// So many requests of one row each.
    fn waiting(len: usize, oldest: Instant) -> Waiting {
        of_rows(&vec![1; len], oldest, &policy())
    }

    fn of_rows(rows: &[usize], oldest: Instant, policy: &BatchPolicy) -> Waiting {
        let filling = policy.fill(rows.iter().copied());
        Waiting { filling, oldest, first: (0, false, oldest) }
    }

    fn full(jobs: usize) -> Filling {
        Filling { jobs, is_full: true }
    }

    #[test]
    fn an_idle_worker_waits_for_a_full_batch_but_no_longer_than_the_delay_of_the_oldest() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one = || [waiting(1, start)];
        let policy = policy();
        assert_eq!(policy.readiness([], start), Readiness::Empty);
        assert_eq!(policy.readiness(one(), start), Readiness::Until(at(100)));
        assert_eq!(policy.readiness(one(), at(99)), Readiness::Until(at(100)));
        assert_eq!(policy.readiness(one(), at(100)), Readiness::Ready { group: 0, size: 1 });
        let full = [waiting(4, start)];
        assert_eq!(policy.readiness(full, start), Readiness::Ready { group: 0, size: 4 });
        let more = [waiting(9, start)];
        assert_eq!(policy.readiness(more, start), Readiness::Ready { group: 0, size: 4 });
    }

    #[test]
    fn a_worker_that_comes_late_takes_what_is_there() {
        let start = Instant::now();
        let late = start + Duration::from_secs(1);
        assert_eq!(
            policy().readiness([waiting(3, start)], late),
            Readiness::Ready { group: 0, size: 3 }
        );
    }

    #[test]
    fn without_a_delay_nothing_waits() {
        let now = Instant::now();
        let eager = BatchPolicy::of(8, Duration::ZERO);
        assert_eq!(eager.readiness([waiting(1, now)], now), Readiness::Ready { group: 0, size: 1 });
    }

    #[test]
    fn a_full_group_goes_before_an_older_one_that_may_still_fill() {
        let start = Instant::now();
        let later = start + Duration::from_millis(10);
        let groups = [waiting(1, start), waiting(4, later)];
        assert_eq!(policy().readiness(groups, later), Readiness::Ready { group: 1, size: 4 });
        let due = start + DELAY;
        assert_eq!(policy().readiness(groups, due), Readiness::Ready { group: 0, size: 1 });
    }

    #[test]
    fn a_batch_holds_as_many_rows_as_it_may_and_a_larger_request_is_one_by_itself() {
        let policy = policy();
        assert_eq!(policy.fill([]), Filling { jobs: 0, is_full: false });
        assert_eq!(policy.fill([1, 2]), Filling { jobs: 2, is_full: false });
        assert_eq!(policy.fill([1, 2, 1, 1]), full(3));
        assert_eq!(policy.fill([3, 2]), full(1), "the second has no room, and none overtakes it");
        assert_eq!(policy.fill([9, 1]), full(1));
        assert_eq!(policy.fill([1, 9]), full(1));
        assert_eq!(policy.fill([1, usize::MAX]), full(1));
    }

    #[test]
    fn a_preferred_size_goes_at_once_and_other_sizes_wait() {
        let start = Instant::now();
        let policy = BatchPolicy { preferred: [2, 4].into(), ..BatchPolicy::of(8, DELAY) };
        let ready = |rows: &[usize]| policy.readiness([of_rows(rows, start, &policy)], start);
        assert_eq!(ready(&[1]), Readiness::Until(start + DELAY));
        assert_eq!(ready(&[1, 1]), Readiness::Ready { group: 0, size: 2 });
        assert_eq!(ready(&[1, 1, 1]), Readiness::Ready { group: 0, size: 2 });
        assert_eq!(ready(&[1, 1, 1, 1, 1]), Readiness::Ready { group: 0, size: 4 });
        assert_eq!(ready(&[3]), Readiness::Until(start + DELAY), "it passed by both");
        assert_eq!(ready(&[3, 5]), Readiness::Ready { group: 0, size: 2 }, "no more is possible");
    }

    #[test]
    fn of_groups_that_are_ready_the_one_with_the_first_request_goes() {
        let start = Instant::now();
        let later = start + Duration::from_millis(10);
        let of = |first: Rank| Waiting { first, ..waiting(4, first.2) };
        for (ranks, expected) in [
            ([(2, false, start), (1, false, later)], 1),
            ([(1, true, start), (1, false, later)], 1),
            ([(1, true, start), (2, false, start)], 0),
            ([(1, false, later), (1, false, start)], 1),
        ] {
            let ready = policy().readiness(ranks.map(of), later);
            assert_eq!(ready, Readiness::Ready { group: expected, size: 4 }, "{ranks:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_waits(
            groups in proptest::collection::vec(
                (proptest::collection::vec(1_usize..8, 0..6), 0_u64..300, 0_u64..3), 0..6),
            max_rows in 1_usize..6,
            preferred in proptest::collection::vec(1_usize..6, 0..3),
            delay in 0_u64..200,
            now in 0_u64..400,
        ) {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let delayed = BatchPolicy::of(max_rows, Duration::from_millis(delay));
            let policy = BatchPolicy { preferred: preferred.as_slice().into(), ..delayed };
            let waiting: Vec<_> = groups
                .iter()
                .map(|(rows, oldest, level)| {
                    let first = (*level, false, at(*oldest));
                    Waiting { first, ..of_rows(rows, at(*oldest), &policy) }
                })
                .collect();
            let some = groups.iter().any(|(rows, ..)| !rows.is_empty());
            match policy.readiness(waiting, at(now)) {
                Readiness::Empty => prop_assert!(!some),
                Readiness::Until(instant) => {
                    prop_assert!(some);
                    prop_assert!(instant > at(now));
                    for (rows, oldest, _) in groups.iter().filter(|(rows, ..)| !rows.is_empty()) {
                        prop_assert!(rows.iter().sum::<usize>() < max_rows, "a full batch waits");
                        prop_assert!(instant <= at(oldest + delay), "beyond the delay of one");
                    }
                }
                Readiness::Ready { group, size } => {
                    let (rows, oldest, level) = &groups[group];
                    prop_assert!(size >= 1 && size <= rows.len());
                    let taken: usize = rows[..size].iter().sum();
                    prop_assert!(taken <= max_rows || size == 1, "too large");
                    let is_preferred = preferred.contains(&taken);
                    let next = rows.get(size);
                    let has_room = next.is_some_and(|next| taken + next <= max_rows);
                    prop_assert!(!has_room || is_preferred, "a batch with room left behind");
                    let is_full = taken >= max_rows || next.is_some() || is_preferred;
                    prop_assert!(is_full || oldest + delay <= now, "too early");
                    for (rows, other, first) in groups.iter().filter(|(rows, ..)| !rows.is_empty()) {
                        let is_ready = other + delay <= now || rows.iter().sum::<usize>() >= max_rows;
                        prop_assert!(!is_ready || (level, oldest) <= (first, other), "overtaken");
                    }
                }
            }
        }
    }
}
