//! What the engine tells whoever measures it. It counts nothing itself.

use std::any::Any;
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
/// [`finished`](Self::finished). Whoever made a listener finds it again by
/// [`ModelVersion::listener`](crate::ModelVersion::listener).
pub trait VersionEvents: Any + Send + Sync {
    /// A request chose this version; `named` where the client named the version rather than taking the
    /// default. Comes before the queue.
    fn received(&self, named: bool);

    /// The request of a [`received`](Self::received) came to its end.
    fn finished(&self, named: bool, outcome: Outcome, timing: &Timing);

    /// A worker ran a batch of this many rows. A request to a handler is one row, one of tensors as many as it
    /// brought.
    fn batch(&self, rows: usize, timing: &BatchTiming);

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

/// Whose fault it was that a request got no answer, as Triton's figures tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The queue's: it was full, or the request waited too long.
    Rejected,
    /// The client's, who went away.
    Canceled,
    /// The handler's, the network's or their worker's.
    Backend,
    /// Anybody else's, the request's own among them.
    Other,
}

impl Outcome {
    /// Whose fault it was, where there is no answer.
    pub fn failure(self) -> Option<Failure> {
        use ErrorCode as Code;
        match self {
            Self::Answered => None,
            Self::Abandoned => Some(Failure::Canceled),
            Self::Refused(Code::Overloaded) => Some(Failure::Rejected),
            Self::Refused(
                Code::PredictionFailed | Code::WorkerDied | Code::OutOfMemory | Code::DeviceLost,
            ) => Some(Failure::Backend),
            Self::Refused(_) => Some(Failure::Other),
        }
    }
}

/// Where the time of a batch went on its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTiming {
    /// Requests in it.
    pub requests: usize,
    /// Putting the requests' tensors together.
    pub input: Duration,
    /// The network, and what the handler does around it.
    pub inference: Duration,
    /// Giving each request its own part.
    pub output: Duration,
}

impl BatchTiming {
    /// The whole of it.
    pub fn total(&self) -> Duration {
        self.input + self.inference + self.output
    }
}

/// Where a request's time went. A stage that was not reached took none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for a thread of the CPU pool, where it is needed, and decoding on it.
    pub preprocess: Duration,
    /// Waiting for a worker, the time in which a batch fills included.
    pub queue: Duration,
    /// The batch that the request was in, on the worker.
    pub inference: Duration,
    /// Waiting for a thread of the CPU pool, where it is needed, and encoding on it.
    pub postprocess: Duration,
    /// From the engine's first sight of the request to its last.
    pub total: Duration,
    /// Rows that it has: one for a handler, as many as it brought of tensors; 0 where it was not read so far.
    pub rows: usize,
    /// The batch that it was in, part by part; `inference` is the whole.
    pub batch: BatchTiming,
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
    fn batch(&self, _: usize, _: &BatchTiming) {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_of_whoever_could_have_helped_it() {
        let of = |code| Outcome::Refused(code).failure();
        assert_eq!(Outcome::Answered.failure(), None);
        assert_eq!(Outcome::Abandoned.failure(), Some(Failure::Canceled));
        assert_eq!(of(ErrorCode::Overloaded), Some(Failure::Rejected));
        assert_eq!(of(ErrorCode::PredictionFailed), Some(Failure::Backend));
        assert_eq!(of(ErrorCode::OutOfMemory), Some(Failure::Backend));
        assert_eq!(of(ErrorCode::InvalidInput), Some(Failure::Other));
        assert_eq!(of(ErrorCode::Unavailable), Some(Failure::Other));
    }
}
