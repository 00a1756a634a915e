//! The values that labels take, and the bounds of histograms. The names are in `names.rs`.

use mar_engine::{ErrorCode, SamplesReport, VersionState, WorkerState};

/// The version of a request that named none, in TorchServe's counters.
pub(crate) const DEFAULT_VERSION: &str = "default";

/// The value of the label `Level` of what is the machine's.
pub(crate) const HOST_LEVEL: &str = "Host";

/// The value of the label `Level` of what is a model's.
pub(crate) const MODEL_LEVEL: &str = "Model";

/// Upper bounds of the histograms of seconds: from a fraction of a decoding to a slow forward pass.
pub(crate) const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Upper bounds of the histogram of batch sizes.
pub(crate) const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The values of the label `stage`, in the order of `Version`'s histograms.
pub(crate) const STAGES: [&str; 4] = ["queue", "preprocess", "inference", "postprocess"];

/// The values of the label `state` of a version, as [`VersionState::name`] has them.
pub(crate) fn version_states() -> [&'static str; 5] {
    let failed = VersionState::Failed(String::new()).name();
    [
        VersionState::Loading.name(),
        VersionState::Ready.name(),
        VersionState::Draining.name(),
        VersionState::Unloaded.name(),
        failed,
    ]
}

/// The values of the label `state` of workers.
pub(crate) const WORKER_STATES: [&str; 5] =
    ["STARTING", "READY", "BACKING_OFF", "FAILED", "STOPPED"];

/// Which of [`WORKER_STATES`] a worker is in, without how often it failed.
pub(crate) fn worker_state(state: WorkerState) -> &'static str {
    let [starting, ready, backing_off, failed, stopped] = WORKER_STATES;
    match state {
        WorkerState::Starting => starting,
        WorkerState::Ready => ready,
        WorkerState::BackingOff(_) => backing_off,
        WorkerState::Failed => failed,
        WorkerState::Stopped => stopped,
    }
}

/// How many samples came to each value of the label `result`.
pub(crate) fn samples(report: &SamplesReport) -> [(&'static str, usize); 3] {
    let SamplesReport { replayed, differing, of, .. } = report;
    [("reproduced", replayed - differing), ("differs", *differing), ("skipped", of - replayed)]
}

/// The kinds of failure, each in the place that its number names.
pub(crate) const CODES: [ErrorCode; 15] = [
    ErrorCode::InvalidInput,
    ErrorCode::ModelNotFound,
    ErrorCode::VersionNotFound,
    ErrorCode::Conflict,
    ErrorCode::InvalidModel,
    ErrorCode::DefaultVersion,
    ErrorCode::Unavailable,
    ErrorCode::Overloaded,
    ErrorCode::Timeout,
    ErrorCode::Unsupported,
    ErrorCode::PredictionFailed,
    ErrorCode::WorkerDied,
    ErrorCode::OutOfMemory,
    ErrorCode::DeviceLost,
    ErrorCode::Internal,
];

// A kind that is missing above does not compile.
const _: () = {
    let mut place = 0;
    while place < CODES.len() {
        assert!(CODES[place] as usize == place);
        place += 1;
    }
    assert!(ErrorCode::Internal as usize + 1 == CODES.len());
};

/// The value of the label `code`.
pub(crate) fn code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidInput => "invalid_input",
        ErrorCode::ModelNotFound => "model_not_found",
        ErrorCode::VersionNotFound => "version_not_found",
        ErrorCode::Conflict => "conflict",
        ErrorCode::InvalidModel => "invalid_model",
        ErrorCode::DefaultVersion => "default_version",
        ErrorCode::Unavailable => "unavailable",
        ErrorCode::Overloaded => "overloaded",
        ErrorCode::Timeout => "timeout",
        ErrorCode::Unsupported => "unsupported",
        ErrorCode::PredictionFailed => "prediction_failed",
        ErrorCode::WorkerDied => "worker_died",
        ErrorCode::OutOfMemory => "out_of_memory",
        ErrorCode::DeviceLost => "device_lost",
        ErrorCode::Internal => "internal",
    }
}
