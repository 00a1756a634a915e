//! What counting costs a request: from one thread, and from several that count the same.

#[path = "../../../benches/calibration.rs"]
mod calibration;

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use mar_engine::{BatchTiming, ErrorCode, Events, Outcome, Timing, VersionEvents};
use mar_server::{Measuring, Metrics};

fn main() {
    divan::main();
}

const BATCH: BatchTiming = BatchTiming {
    requests: 4,
    input: Duration::from_micros(10),
    inference: Duration::from_millis(18),
    output: Duration::from_micros(10),
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

fn listener() -> Arc<dyn VersionEvents> {
    let measuring = Measuring { system: false, ..Measuring::default() };
    Metrics::new(&measuring).expect("figures").version("m", "1.0")
}

#[divan::bench(threads = [1, 2, 8])]
fn answered(bencher: Bencher<'_, '_>) {
    let listener = listener();
    bencher.bench(|| {
        listener.received(false);
        listener.finished(false, Outcome::Answered, &TIMING);
    });
}

#[divan::bench]
fn refused(bencher: Bencher<'_, '_>) {
    let listener = listener();
    let timing = Timing { total: TIMING.total, ..Timing::default() };
    bencher.bench(|| {
        listener.received(true);
        listener.finished(true, Outcome::Refused(ErrorCode::Overloaded), &timing);
    });
}

#[divan::bench]
fn batch(bencher: Bencher<'_, '_>) {
    let listener = listener();
    bencher.bench(|| listener.batch(4, &BATCH));
}
