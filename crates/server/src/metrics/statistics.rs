//! What is counted of one version since it was loaded, for the Open Inference Protocol's statistics and
//! Triton's figures. TorchServe's figures go on where a version comes back; these begin anew.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mar_engine::{BatchTiming, Failure, ModelVersion, Outcome, Timing, VersionEvents};
use mar_oip::{Figures, Statistics};
use parking_lot::Mutex;

use super::Metrics;
use super::version::Version;

/// Hears of one version from its loading to its end, and tells the figures that outlive it.
#[derive(Debug)]
pub(crate) struct Listener {
    lasting: Arc<Version>,
    counted: Mutex<Statistics>,
}

impl Listener {
    pub(crate) fn new(lasting: Arc<Version>) -> Self {
        Self { lasting, counted: Mutex::default() }
    }
}

impl Figures for Metrics {
    fn statistics(&self, version: &ModelVersion) -> Statistics {
        let listener: &dyn Any = version.listener();
        let listener = listener.downcast_ref::<Listener>();
        listener.map(|listener| listener.counted.lock().clone()).unwrap_or_default()
    }
}

impl VersionEvents for Listener {
    fn received(&self, named: bool) {
        self.lasting.received(named);
    }

    fn finished(&self, named: bool, outcome: Outcome, timing: &Timing) {
        self.lasting.finished(named, outcome, timing);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        count_request(&mut self.counted.lock(), outcome, timing, now);
    }

    fn batch(&self, rows: usize, timing: &BatchTiming) {
        self.lasting.batch(rows, timing);
        count_batch(&mut self.counted.lock(), rows, timing);
    }

    fn worker_loaded(&self, worker: &str, took: Duration) {
        self.lasting.worker_loaded(worker, took);
    }

    fn worker_lost(&self, worker: &str) {
        self.lasting.worker_lost(worker);
    }
}

/// A request ended, so long after 1970. A handler's work counts as making inputs ready and taking outputs apart.
fn count_request(counted: &mut Statistics, outcome: Outcome, timing: &Timing, now: Duration) {
    let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    // Clocks may be put back.
    counted.last_inference = counted.last_inference.max(millis);
    let failures = &mut counted.failures;
    match outcome.failure() {
        None => {
            counted.inference_count += timing.rows as u64;
            let of = &mut counted.requests;
            of.success.add(timing.total);
            of.queue.add(timing.queue);
            of.compute_input.add(timing.preprocess + timing.batch.input);
            of.compute_infer.add(timing.batch.inference);
            of.compute_output.add(timing.batch.output + timing.postprocess);
            return;
        }
        Some(Failure::Rejected) => failures.rejected += 1,
        Some(Failure::Canceled) => failures.canceled += 1,
        Some(Failure::Backend) => failures.backend += 1,
        Some(Failure::Other) => failures.other += 1,
    }
    counted.requests.fail.add(timing.total);
}

/// A batch was run.
fn count_batch(counted: &mut Statistics, rows: usize, timing: &BatchTiming) {
    counted.execution_count += 1;
    let of = counted.batches.entry(rows as u64).or_default();
    of.compute_input.add(timing.input);
    of.compute_infer.add(timing.inference);
    of.compute_output.add(timing.output);
}

#[cfg(test)]
mod tests {
    use mar_engine::ErrorCode;
    use mar_oip::Tally;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);
    const BATCH: BatchTiming = BatchTiming {
        requests: 2,
        input: Duration::from_nanos(1),
        inference: Duration::from_nanos(20),
        output: Duration::from_nanos(3),
    };
    const TIMING: Timing = Timing {
        preprocess: Duration::from_nanos(100),
        queue: Duration::from_nanos(50),
        inference: Duration::from_nanos(24),
        postprocess: Duration::from_nanos(200),
        total: Duration::from_nanos(400),
        rows: 3,
        batch: BATCH,
    };

    #[test]
    fn an_answer_is_counted_with_its_rows_and_the_parts_of_its_time() {
        let mut counted = Statistics::default();
        for _ in 0..2 {
            count_request(&mut counted, Outcome::Answered, &TIMING, NOW);
        }
        assert_eq!((counted.inference_count, counted.last_inference), (6, 1_700_000_000_000));
        let of = counted.requests;
        for (tally, ns) in [
            (of.success, 800),
            (of.queue, 100),
            (of.compute_input, 202),
            (of.compute_infer, 40),
            (of.compute_output, 406),
        ] {
            assert_eq!(tally, Tally { count: 2, ns });
        }
        assert_eq!(of.fail, Tally::default());
        assert_eq!(counted.execution_count, 0);
    }

    #[test]
    fn batches_are_counted_by_their_rows() {
        let mut counted = Statistics::default();
        for rows in [4, 4, 1] {
            count_batch(&mut counted, rows, &BATCH);
        }
        assert_eq!(counted.execution_count, 3);
        assert_eq!(counted.batches[&4].compute_infer, Tally { count: 2, ns: 40 });
        assert_eq!(counted.batches[&1].compute_output, Tally { count: 1, ns: 3 });
        assert_eq!(counted.inference_count, 0);
    }

    #[test]
    fn failures_are_told_apart_and_their_time_is_no_stages() {
        let mut counted = Statistics::default();
        for outcome in [
            Outcome::Refused(ErrorCode::Overloaded),
            Outcome::Abandoned,
            Outcome::Refused(ErrorCode::PredictionFailed),
            Outcome::Refused(ErrorCode::InvalidInput),
        ] {
            count_request(&mut counted, outcome, &TIMING, NOW);
        }
        let of = counted.failures;
        assert_eq!((of.rejected, of.canceled, of.backend, of.other), (1, 1, 1, 1));
        assert_eq!(counted.requests.fail, Tally { count: 4, ns: 1600 });
        assert_eq!(counted.requests.queue, Tally::default());
        assert_eq!(counted.inference_count, 0);
    }
}
