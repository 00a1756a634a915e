//! What the engine tells whoever measures it. It counts nothing itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mar_handler::ErrorCode;

/// Hears what happens to requests and workers. Methods are called on hot paths and must not block.
pub trait Events: Send + Sync + 'static {
    /// The listener of one model version, asked for once and then kept.
    fn version(&self, model: &str, version: &str) -> Arc<dyn VersionEvents>;
}

/// Hears what happens to one model version. For every [`received`](Self::received) there is exactly one
/// [`finished`](Self::finished).
pub trait VersionEvents: Send + Sync + 'static {
    /// A request chose this version; `named` where the client named the version rather than taking the
    /// default. Comes before the queue.
    fn received(&self, named: bool);

    /// The request of a [`received`](Self::received) came to its end.
    fn finished(&self, named: bool, outcome: Outcome, timing: &Timing);

    /// A worker ran a batch of this many requests; `took` is the whole of the handler's inference.
    fn batch(&self, size: usize, took: Duration);

    /// A worker of this name loaded its model.
    fn worker_loaded(&self, worker: &str, took: Duration);

    /// A worker went down: a panic, or no end within the response time-out.
    fn worker_lost(&self, worker: &str);
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With the handler's response, whatever status it chose.
    Answered,
    /// With an error of this kind.
    Refused(ErrorCode),
    /// The client went away before the end.
    Abandoned,
}

/// Where a request's time went. A stage that was not reached took none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for a thread of the CPU pool and decoding on it.
    pub preprocess: Duration,
    /// Waiting for a worker, the time in which a batch fills included.
    pub queue: Duration,
    /// The batch that the request was in, on the worker.
    pub inference: Duration,
    /// Waiting for a thread of the CPU pool and encoding on it.
    pub postprocess: Duration,
    /// From the engine's first sight of the request to its last.
    pub total: Duration,
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl Events for NoEvents {
    fn version(&self, _: &str, _: &str) -> Arc<dyn VersionEvents> {
        Arc::new(Self)
    }
}

impl VersionEvents for NoEvents {
    fn received(&self, _: bool) {}
    fn finished(&self, _: bool, _: Outcome, _: &Timing) {}
    fn batch(&self, _: usize, _: Duration) {}
    fn worker_loaded(&self, _: &str, _: Duration) {}
    fn worker_lost(&self, _: &str) {}
}

impl fmt::Debug for dyn Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl fmt::Debug for dyn VersionEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VersionEvents")
    }
}
