//! When a batch is ready: a pure function of what waits and of the clock.

use std::time::{Duration, Instant};

/// How requests are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchPolicy {
    /// Requests in a batch at most.
    pub(crate) max_size: usize,
    /// How long a batch may wait to fill, from the arrival of its oldest request.
    pub(crate) max_delay: Duration,
}

/// Requests that may share a batch, because their tensors have the same types and shapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) len: usize,
    /// When the oldest of them arrived.
    pub(crate) oldest: Instant,
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
    /// A group is ready once it fills a batch or its oldest request has waited long enough. Of several
    /// that are ready, the one with the oldest request goes first, so that none starves.
    pub(crate) fn readiness(
        &self,
        groups: impl IntoIterator<Item = Waiting>,
        now: Instant,
    ) -> Readiness {
        let mut next: Option<Instant> = None;
        let mut ready: Option<(Instant, usize, usize)> = None;
        for (index, group) in groups.into_iter().enumerate().filter(|(_, group)| group.len > 0) {
            let due = group.oldest + self.max_delay;
            if group.len >= self.max_size || due <= now {
                if ready.is_none_or(|(oldest, ..)| group.oldest < oldest) {
                    ready = Some((group.oldest, index, group.len.min(self.max_size)));
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
    const POLICY: BatchPolicy = BatchPolicy { max_size: 4, max_delay: DELAY };

    fn waiting(len: usize, oldest: Instant) -> Waiting {
        Waiting { len, oldest }
    }

    #[test]
    fn an_idle_worker_waits_for_a_full_batch_but_no_longer_than_the_delay_of_the_oldest() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let one = || [waiting(1, start)];
        assert_eq!(POLICY.readiness([], start), Readiness::Empty);
        assert_eq!(POLICY.readiness(one(), start), Readiness::Until(at(100)));
        assert_eq!(POLICY.readiness(one(), at(99)), Readiness::Until(at(100)));
        assert_eq!(POLICY.readiness(one(), at(100)), Readiness::Ready { group: 0, size: 1 });
        let full = [waiting(4, start)];
        assert_eq!(POLICY.readiness(full, start), Readiness::Ready { group: 0, size: 4 });
        let more = [waiting(9, start)];
        assert_eq!(POLICY.readiness(more, start), Readiness::Ready { group: 0, size: 4 });
    }

    #[test]
    fn a_worker_that_comes_late_takes_what_is_there() {
        let start = Instant::now();
        let late = start + Duration::from_secs(1);
        assert_eq!(
            POLICY.readiness([waiting(3, start)], late),
            Readiness::Ready { group: 0, size: 3 }
        );
    }

    #[test]
    fn without_a_delay_nothing_waits() {
        let now = Instant::now();
        let eager = BatchPolicy { max_size: 8, max_delay: Duration::ZERO };
        assert_eq!(eager.readiness([waiting(1, now)], now), Readiness::Ready { group: 0, size: 1 });
    }

    #[test]
    fn a_full_group_goes_before_an_older_one_that_may_still_fill() {
        let start = Instant::now();
        let later = start + Duration::from_millis(10);
        let groups = [waiting(1, start), waiting(4, later)];
        assert_eq!(POLICY.readiness(groups, later), Readiness::Ready { group: 1, size: 4 });
        let due = start + DELAY;
        assert_eq!(POLICY.readiness(groups, due), Readiness::Ready { group: 0, size: 1 });
    }

    proptest! {
        #[test]
        fn whatever_waits(
            groups in proptest::collection::vec((0_usize..10, 0_u64..300), 0..6),
            max_size in 1_usize..6,
            delay in 0_u64..200,
            now in 0_u64..400,
        ) {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let policy = BatchPolicy { max_size, max_delay: Duration::from_millis(delay) };
            let waiting: Vec<_> =
                groups.iter().map(|(len, oldest)| waiting(*len, at(*oldest))).collect();
            let some = groups.iter().any(|(len, _)| *len > 0);
            match policy.readiness(waiting, at(now)) {
                Readiness::Empty => prop_assert!(!some),
                Readiness::Until(instant) => {
                    prop_assert!(some);
                    prop_assert!(instant > at(now));
                    for (len, oldest) in groups.iter().filter(|(len, _)| *len > 0) {
                        prop_assert!(*len < max_size, "a full batch waits");
                        prop_assert!(instant <= at(oldest + delay), "beyond the delay of one");
                    }
                }
                Readiness::Ready { group, size } => {
                    let (len, oldest) = groups[group];
                    prop_assert!(size >= 1 && size <= max_size && size <= len);
                    prop_assert!(len >= max_size || oldest + delay <= now, "too early");
                    prop_assert!(size == max_size || size == len, "a batch with room left behind");
                }
            }
        }
    }
}
