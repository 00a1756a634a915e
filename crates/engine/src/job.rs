//! One decoded request on its way to a worker and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mar_handler::{DType, Result, Tensor};
use tokio::sync::oneshot;

use crate::events::BatchTiming;

/// A job's place among others, the least first.
pub(crate) type Rank = (u64, bool, Instant);

/// Who runs the network on a job's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The handler; each job is one row, without the batch's side.
    Handler,
    /// Nobody but the network; the first side of each tensor counts the job's rows, where it is a batch's.
    Network,
}

/// What a worker is given.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) lane: Lane,
    /// The network's inputs.
    pub(crate) inputs: Vec<Tensor>,
    /// Rows of a batch that it takes.
    pub(crate) rows: usize,
    /// Whether it may run with others.
    pub(crate) shares: bool,
}

/// How a job waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// When the request took its place in the queue.
    pub(crate) arrived: Instant,
    /// When it is of no use any more to begin it.
    pub(crate) deadline: Instant,
    /// Its level of priority, the lowest goes first.
    pub(crate) level: u64,
    /// When it goes behind the others of its level, where it does.
    pub(crate) late: Option<Instant>,
    /// How many of its level may wait, where there is a bound.
    pub(crate) most_waiting: Option<usize>,
}

/// What jobs must have in common to share a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    lane: Lane,
    /// Whether its jobs share batches at all.
    pub(crate) shares: bool,
    /// Type and sides of each tensor, without the batch's; none of jobs that run alone.
    tensors: Vec<(DType, Vec<usize>)>,
}

/// One decoded request.
#[derive(Debug)]
pub(crate) struct Job {
    /// The server's identifier of the request, for the log.
    pub(crate) id: String,
    pub(crate) work: Work,
    pub(crate) signature: Signature,
    pub(crate) terms: Terms,
    /// When it was decoded.
    pub(crate) queued: Instant,
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
    pub(crate) batch: BatchTiming,
}

/// The request's end of a job.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) reply: oneshot::Receiver<Result<Done>>,
    started: Arc<AtomicBool>,
}

impl Work {
    /// One request to the handler.
    pub(crate) fn of_handler(inputs: Vec<Tensor>, shares: bool) -> Self {
        Self { lane: Lane::Handler, inputs, rows: 1, shares }
    }

    fn signature(&self) -> Signature {
        let Self { lane, ref inputs, shares, .. } = *self;
        let sides = |tensor: &Tensor| {
            let own = usize::from(lane == Lane::Network).min(tensor.shape().len());
            tensor.shape()[own..].to_vec()
        };
        let tensors = inputs.iter().filter(|_| shares).map(|t| (t.dtype(), sides(t))).collect();
        Signature { lane, shares, tensors }
    }
}

impl Terms {
    /// Those of a request among equals.
    #[cfg(test)]
    pub(crate) fn plain(arrived: Instant, deadline: Instant) -> Self {
        Self { arrived, deadline, level: 0, late: None, most_waiting: None }
    }
}

impl Job {
    /// A request of this identifier.
    pub(crate) fn new(id: String, work: Work, terms: Terms) -> (Self, Pending) {
        let (reply, receiver) = oneshot::channel();
        let started = Arc::new(AtomicBool::new(false));
        let job = Self {
            id,
            signature: work.signature(),
            work,
            terms,
            queued: Instant::now(),
            started: Arc::clone(&started),
            reply,
        };
        (job, Pending { reply: receiver, started })
    }

    /// Where it stands among others: by level, those that are late behind the rest of it, else in order of
    /// arrival.
    pub(crate) fn rank(&self, now: Instant) -> Rank {
        let Terms { level, late, arrived, .. } = self.terms;
        (level, late.is_some_and(|late| late <= now), arrived)
    }

    /// Whether somebody still waits for it: as long as its client does, and until the deadline where no
    /// worker has had it.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        !self.reply.is_closed()
            && (now < self.terms.deadline || self.started.load(Ordering::Acquire))
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
