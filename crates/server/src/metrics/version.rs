//! What is counted of one model version. The engine asks for it once, so that a request costs additions
//! alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mar_engine::{BatchTiming, Outcome, Timing, VersionEvents};
use parking_lot::Mutex;

use super::count::{Counter, Gauge, Histogram};
use super::values;

/// The figures that are the host's, whatever the model.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) queue_time: Gauge,
    pub(crate) worker_thread_time: Gauge,
    /// How long each worker took to load its model, by the worker's name.
    pub(crate) load_times: Mutex<BTreeMap<String, Duration>>,
}

/// TorchServe's three counters, of the requests that named a version or of those that took the default.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) received: Counter,
    pub(crate) inference_micros: Counter,
    pub(crate) queue_micros: Counter,
}

/// The figures that are a model's, whichever version it was.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Of requests that took the default version.
    pub(crate) unnamed: Requests,
    pub(crate) handler_time: Gauge,
    pub(crate) prediction_time: Gauge,
}

/// The figures of one version.
#[derive(Debug)]
pub(crate) struct Version {
    host: Arc<Host>,
    model: Arc<Model>,
    /// Of requests that named this version.
    pub(crate) named: Requests,
    pub(crate) received: Counter,
    pub(crate) answered: Counter,
    /// In the order of [`values::CODES`].
    pub(crate) refused: [Counter; values::CODES.len()],
    pub(crate) abandoned: Counter,
    pub(crate) request_seconds: Histogram,
    /// In the order of [`values::STAGES`].
    pub(crate) stage_seconds: [Histogram; values::STAGES.len()],
    pub(crate) batch_size: Histogram,
    pub(crate) worker_losses: Counter,
}

impl Version {
    pub(crate) fn new(host: Arc<Host>, model: Arc<Model>) -> Self {
        Self {
            host,
            model,
            named: Requests::default(),
            received: Counter::default(),
            answered: Counter::default(),
            refused: values::CODES.map(|_| Counter::default()),
            abandoned: Counter::default(),
            request_seconds: Histogram::of_seconds(&values::SECONDS),
            stage_seconds: values::STAGES.map(|_| Histogram::of_seconds(&values::SECONDS)),
            batch_size: Histogram::of_counts(&values::BATCH_SIZES),
            worker_losses: Counter::default(),
        }
    }

    fn requests(&self, named: bool) -> &Requests {
        if named { &self.named } else { &self.model.unnamed }
    }

    /// TorchServe counts time of requests that ended with a response alone.
    fn answered(&self, named: bool, timing: &Timing) {
        let requests = self.requests(named);
        requests.inference_micros.add(micros(timing.total));
        requests.queue_micros.add(micros(timing.queue));
        let served = timing.total.saturating_sub(timing.queue);
        let stages = timing.preprocess + timing.inference + timing.postprocess;
        self.host.queue_time.set(millis(timing.queue));
        self.host.worker_thread_time.set(millis(served.saturating_sub(stages)));
        self.model.prediction_time.set(millis(served));
        self.request_seconds.observe_time(timing.total);
        self.answered.add(1);
    }
}

impl VersionEvents for Version {
    fn received(&self, named: bool) {
        self.requests(named).received.add(1);
        self.received.add(1);
    }

    fn finished(&self, named: bool, outcome: Outcome, timing: &Timing) {
        let stages = [timing.queue, timing.preprocess, timing.inference, timing.postprocess];
        for (histogram, time) in self.stage_seconds.iter().zip(stages) {
            // A stage that was not reached took no time, which says nothing of how long it takes.
            if time > Duration::ZERO {
                histogram.observe_time(time);
            }
        }
        match outcome {
            Outcome::Answered => self.answered(named, timing),
            Outcome::Refused(code) => self.refused[code as usize].add(1),
            Outcome::Abandoned => self.abandoned.add(1),
        }
    }

    fn batch(&self, _rows: usize, timing: &BatchTiming) {
        self.batch_size.observe(timing.requests as u64);
        self.model.handler_time.set(millis(timing.total()));
    }

    fn worker_loaded(&self, worker: &str, took: Duration) {
        self.host.load_times.lock().insert(worker.to_owned(), took);
    }

    fn worker_lost(&self, _worker: &str) {
        self.worker_losses.add(1);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use mar_engine::ErrorCode;

    use super::*;

    const BATCH: BatchTiming = BatchTiming {
        requests: 4,
        input: Duration::from_millis(1),
        inference: Duration::from_millis(18),
        output: Duration::from_millis(1),
    };

    const TIMING: Timing = Timing {
        preprocess: Duration::from_millis(3),
        queue: Duration::from_millis(10),
        inference: Duration::from_millis(20),
        postprocess: Duration::from_millis(5),
        total: Duration::from_millis(40),
        rows: 1,
        batch: BATCH,
    };

    fn version() -> (Arc<Host>, Version) {
        let host = Arc::new(Host::default());
        (Arc::clone(&host), Version::new(host, Arc::default()))
    }

    fn is(counter: &Counter, expected: f64) -> bool {
        (counter.get() - expected).abs() < f64::EPSILON
    }

    #[test]
    fn requests_are_told_apart_by_whether_they_named_the_version() {
        let (_, version) = version();
        for named in [true, false, false] {
            version.received(named);
            version.finished(named, Outcome::Answered, &TIMING);
        }
        assert!(is(&version.named.received, 1.0) && is(&version.model.unnamed.received, 2.0));
        // Running sums in microseconds: 40 ms and 10 ms each.
        assert!(is(&version.named.inference_micros, 40_000.0));
        assert!(is(&version.model.unnamed.inference_micros, 80_000.0));
        assert!(is(&version.model.unnamed.queue_micros, 20_000.0));
        assert!(is(&version.received, 3.0) && is(&version.answered, 3.0));
    }

    #[test]
    fn every_request_ends_in_one_place() {
        let (_, version) = version();
        let outcomes = values::CODES.map(Outcome::Refused);
        for outcome in outcomes.into_iter().chain([Outcome::Answered, Outcome::Abandoned]) {
            version.received(true);
            version.finished(true, outcome, &Timing::default());
        }
        assert!(version.refused.iter().all(|counter| is(counter, 1.0)));
        assert!(is(&version.answered, 1.0) && is(&version.abandoned, 1.0));
        assert!(is(&version.received, 17.0));
    }

    #[test]
    fn an_answer_sets_torchserves_times() {
        let (host, version) = version();
        version.batch(4, &BATCH);
        version.finished(true, Outcome::Answered, &TIMING);
        let near = |gauge: &Gauge, expected: f64| (gauge.get().unwrap() - expected).abs() < 1e-9;
        assert!(near(&host.queue_time, 10.0));
        assert!(near(&version.model.handler_time, 20.0));
        // All but the queue, and of that what was no stage.
        assert!(near(&version.model.prediction_time, 30.0));
        assert!(near(&host.worker_thread_time, 2.0));
    }

    #[test]
    fn stages_that_were_not_reached_are_not_observed() {
        let (host, version) = version();
        let preprocess = Duration::from_millis(3);
        let timing = Timing { preprocess, total: preprocess, ..Timing::default() };
        version.finished(true, Outcome::Refused(ErrorCode::InvalidInput), &timing);
        let observed = |histogram: &Histogram| histogram.get().count > 0.0;
        let stages = version.stage_seconds.each_ref().map(observed);
        assert_eq!(stages, [false, true, false, false]);
        assert!(!observed(&version.request_seconds), "only answers have a whole time");
        assert_eq!(host.queue_time.get(), None, "only answers have a queue time");
    }
}
