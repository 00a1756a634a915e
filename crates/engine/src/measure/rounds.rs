//! Passes of several contenders in turns, and what their times came to.

use std::time::Duration;

use serde::Serialize;

/// Turns that each contender gets, so that a machine that is busy for a moment slows all of them alike.
const TURNS: u32 = 10;
/// Passes of each contender, however long they take.
const LEAST: usize = 3;

/// One contender's passes.
pub(super) struct Lane<'a, E> {
    /// Comes before the passes of a turn, and is not counted.
    prepare: Box<dyn Fn() + 'a>,
    /// Runs one pass.
    pass: Box<dyn FnMut() -> Result<(), E> + 'a>,
    /// How long each took, in order.
    pub(super) times: Vec<Duration>,
    /// Why one failed; nothing more is asked of a contender then.
    pub(super) failed: Option<E>,
}

impl<'a, E> Lane<'a, E> {
    pub(super) fn new(prepare: impl Fn() + 'a, pass: impl FnMut() -> Result<(), E> + 'a) -> Self {
        let (prepare, pass) = (Box::new(prepare), Box::new(pass));
        Self { prepare, pass, times: Vec::new(), failed: None }
    }

    /// Runs passes for so long, one at least, each of them counted.
    fn turn(&mut self, time: Duration, now: &dyn Fn() -> Duration) {
        (self.prepare)();
        let begun = now();
        let mut before = begun;
        loop {
            if let Err(error) = (self.pass)() {
                self.failed = Some(error);
                return;
            }
            let after = now();
            self.times.push(after.saturating_sub(before));
            if after.saturating_sub(begun) >= time {
                return;
            }
            before = after;
        }
    }

    fn is_done(&self, time: Duration) -> bool {
        let enough = self.times.len() >= LEAST && self.times.iter().sum::<Duration>() >= time;
        self.failed.is_some() || enough
    }
}

/// Gives each contender this much time in turns: A B C, A B C. `now` tells the time.
pub(super) fn alternate<E>(lanes: &mut [Lane<'_, E>], time: Duration, now: &dyn Fn() -> Duration) {
    while !lanes.iter().all(|lane| lane.is_done(time)) {
        for lane in lanes.iter_mut().filter(|lane| !lane.is_done(time)) {
            lane.turn(time / TURNS, now);
        }
    }
}

/// How long passes took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them took no longer.
    pub median: f64,
    /// A quarter of them took no longer.
    pub lower_quartile: f64,
    /// Three quarters of them took no longer.
    pub upper_quartile: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
}

impl Spread {
    /// That of these times, of which there is one at least.
    pub(super) fn of(times: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|time| 1e3 * time.as_secs_f64()).collect();
        sorted.sort_by(f64::total_cmp);
        let [lower_quartile, median, upper_quartile, p95] =
            [0.25, 0.5, 0.75, 0.95].map(|part| quantile(&sorted, part));
        Self { median, lower_quartile, upper_quartile, p95 }
    }
}

/// Between the two values that are nearest to that part of them, as NumPy does it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places in a list that is in memory"
)]
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn contenders_take_turns_until_each_has_had_its_time() {
        let clock = Cell::new(Duration::ZERO);
        let order = RefCell::new(String::new());
        let pass = |name: char, millis: u64| {
            let (clock, order) = (&clock, &order);
            let prepare = move || clock.set(clock.get() + SECOND);
            Lane::<()>::new(prepare, move || {
                clock.set(clock.get() + Duration::from_millis(millis));
                order.borrow_mut().push(name);
                Ok(())
            })
        };
        let mut lanes = [pass('a', 50), pass('b', 100), pass('c', 600)];
        alternate(&mut lanes, SECOND, &|| clock.get());
        let times = lanes.map(|lane| lane.times);
        assert_eq!(times[0], [Duration::from_millis(50); 20]);
        assert_eq!(times[1].len(), 10);
        assert_eq!(times[2].len(), 3, "three, though two take longer than its time");
        let order = order.into_inner();
        assert!(order.starts_with("aabcaabcaabcaabaab"), "{order}");
    }

    #[test]
    fn one_that_fails_is_not_asked_again_and_the_others_go_on() {
        let clock = Cell::new(Duration::ZERO);
        let mut asked = 0;
        let tick = || clock.set(clock.get() + SECOND);
        let fails = Lane::new(
            || (),
            || {
                tick();
                asked += 1;
                if asked > 1 { Err("out of memory") } else { Ok(()) }
            },
        );
        let works = Lane::new(
            || (),
            || {
                tick();
                Ok(())
            },
        );
        let mut lanes = [fails, works];
        alternate(&mut lanes, SECOND, &|| clock.get());
        assert_eq!(lanes[0].failed, Some("out of memory"));
        assert_eq!(lanes[1].times, [SECOND; 3]);
        drop(lanes);
        assert_eq!(asked, 2);
    }

    #[test]
    fn quantiles_lie_between_the_nearest_two() {
        let times = [40, 10, 20, 30].map(Duration::from_millis);
        let Spread { median, lower_quartile, upper_quartile, p95 } = Spread::of(&times);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(median, 25.0) && close(lower_quartile, 17.5), "{median} {lower_quartile}");
        assert!(close(upper_quartile, 32.5) && close(p95, 38.5), "{upper_quartile} {p95}");
        assert!(close(Spread::of(&times[..1]).p95, 40.0));
    }
}
