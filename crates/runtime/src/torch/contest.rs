//! Which of two is faster: they take turns, so that a machine that is busy for a moment slows both.

use std::time::Duration;

use mar_handler::Result;

/// Passes of each, however long they take.
const LEAST: usize = 3;
/// A challenger has to be that much faster: by less, the simpler form stays, and what is chosen is the same at every load.
const MARGIN: f64 = 0.97;

/// Where one is that much faster than the other, less time shows it: a part of it.
const CLEAR: f64 = 0.9;
const PART: u32 = 4;

/// The quickest pass of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quickest {
    pub(super) champion: Duration,
    pub(super) challenger: Duration,
}

impl Quickest {
    /// Whether the challenger takes the champion's place.
    pub(super) fn challenger_wins(self) -> bool {
        self.challenger.as_secs_f64() < MARGIN * self.champion.as_secs_f64()
    }

    fn is_clear(self) -> bool {
        let [one, other] = [self.champion, self.challenger].map(|time| time.as_secs_f64());
        one.min(other) < CLEAR * one.max(other)
    }
}

/// Lets both run, one pass in turn, for so long altogether and for a few passes at least. The quickest counts,
/// because whatever disturbs a pass makes it slower. `now` tells the time.
///
/// # Errors
/// That of a pass that fails.
pub(super) fn between(
    champion: &mut dyn FnMut() -> Result<()>,
    challenger: &mut dyn FnMut() -> Result<()>,
    time: Duration,
    now: &dyn Fn() -> Duration,
) -> Result<Quickest> {
    let begun = now();
    let mut quickest = Quickest { champion: Duration::MAX, challenger: Duration::MAX };
    let mut turns = 0;
    let goes_on = |quickest: Quickest| {
        let enough = if quickest.is_clear() { time / PART } else { time };
        now().saturating_sub(begun) < enough
    };
    while turns < LEAST || goes_on(quickest) {
        quickest.champion = quickest.champion.min(timed(champion, now)?);
        quickest.challenger = quickest.challenger.min(timed(challenger, now)?);
        turns += 1;
    }
    Ok(quickest)
}

fn timed(pass: &mut dyn FnMut() -> Result<()>, now: &dyn Fn() -> Duration) -> Result<Duration> {
    let before = now();
    pass()?;
    Ok(now().saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use mar_handler::Error;

    use super::*;

    fn millis(of: u64) -> Duration {
        Duration::from_millis(of)
    }

    #[test]
    fn both_take_turns_and_the_quickest_pass_counts() {
        let (clock, order) = (Cell::new(Duration::ZERO), RefCell::new(String::new()));
        let runs = |name: char, times: &'static [u64]| {
            let (clock, order) = (&clock, &order);
            let mut times = times.iter().cycle();
            move || {
                clock.set(clock.get() + millis(*times.next().unwrap()));
                order.borrow_mut().push(name);
                Ok(())
            }
        };
        let now = || clock.get();
        let (mut slow, mut fast) = (runs('a', &[20, 100, 80]), runs('b', &[90, 19, 70]));
        let quickest = between(&mut slow, &mut fast, millis(400), &now).unwrap();
        assert_eq!(quickest, Quickest { champion: millis(20), challenger: millis(19) });
        assert_eq!(order.take(), "abababab", "until the time has passed");
        let (mut slow, mut fast) = (runs('a', &[20]), runs('b', &[10]));
        between(&mut slow, &mut fast, millis(400), &now).unwrap();
        assert_eq!(order.take(), "abababab", "or a quarter of it, where it is clear");
        between(&mut runs('a', &[50]), &mut runs('b', &[50]), Duration::ZERO, &now).unwrap();
        assert_eq!(order.take(), "ababab", "three each at least");
    }

    #[test]
    fn a_challenger_that_is_hardly_faster_does_not_win() {
        let of = |challenger| Quickest { champion: millis(1000), challenger: millis(challenger) };
        assert!(!of(1000).challenger_wins() && !of(980).challenger_wins());
        assert!(of(960).challenger_wins());
    }

    #[test]
    fn a_pass_that_fails_ends_it() {
        let mut fails = || Err(Error::prediction_failed("no"));
        let ended = between(&mut || Ok(()), &mut fails, millis(1), &|| Duration::ZERO);
        assert_eq!(ended.unwrap_err().message(), "no");
    }
}
