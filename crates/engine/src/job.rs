//! One decoded request on its way to a worker and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mar_handler::{DType, Result, Tensor};
use tokio::sync::oneshot;

/// What requests must share to share a batch: the types and shapes of their tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature(Vec<(DType, Vec<usize>)>);

/// One decoded request.
#[derive(Debug)]
pub(crate) struct Job {
    /// The server's identifier of the request, for the log.
    pub(crate) id: String,
    /// The model's inputs, without the batch dimension.
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) signature: Signature,
    /// When the request took its place in the queue.
    pub(crate) arrived: Instant,
    /// When it was decoded.
    pub(crate) queued: Instant,
    /// When it is of no use any more to begin it.
    pub(crate) deadline: Instant,
    /// Set once a worker has it, and for good.
    started: Arc<AtomicBool>,
    /// Where the outputs go; closed once the client has gone.
    reply: oneshot::Sender<Result<Done>>,
}

/// What a worker made of a job.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) outputs: Vec<Tensor>,
    /// From decoded to begun.
    pub(crate) queue: Duration,
    /// The batch on the worker.
    pub(crate) inference: Duration,
}

/// The request's end of a job.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) reply: oneshot::Receiver<Result<Done>>,
    started: Arc<AtomicBool>,
}

impl Job {
    /// A request of this identifier that `arrived` then, and is not begun after the deadline.
    pub(crate) fn new(
        id: String,
        inputs: Vec<Tensor>,
        arrived: Instant,
        deadline: Instant,
    ) -> (Self, Pending) {
        let (reply, receiver) = oneshot::channel();
        let started = Arc::new(AtomicBool::new(false));
        let signature = inputs.iter().map(|t| (t.dtype(), t.shape().to_vec())).collect();
        let job = Self {
            id,
            inputs,
            signature: Signature(signature),
            arrived,
            queued: Instant::now(),
            deadline,
            started: Arc::clone(&started),
            reply,
        };
        (job, Pending { reply: receiver, started })
    }

    /// Whether somebody still waits for it: as long as its client does, and until the deadline where no
    /// worker has had it.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        !self.reply.is_closed() && (now < self.deadline || self.started.load(Ordering::Acquire))
    }

    /// A worker has it.
    pub(crate) fn begin(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Answers the request. A client that has gone is no error.
    pub(crate) fn answer(self, result: Result<Done>) {
        drop(self.reply.send(result));
    }
}

impl Pending {
    /// Whether a worker has it.
    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }
}
