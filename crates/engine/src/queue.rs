//! The queue of one model version: bounded, filled by requests, emptied by idle workers.
//!
//! A place is reserved before a request is decoded, so that a full queue answers at once and costs
//! nothing; a job carries its own reply channel, so there are no ids and no tables.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use mar_handler::{Error, ErrorCode, Result, Tensor};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// One decoded request on its way to a worker.
#[derive(Debug)]
pub(crate) struct Job {
    /// The model's inputs, without the batch dimension.
    pub(crate) inputs: Vec<Tensor>,
    /// Where the outputs go; closed once the client has gone.
    pub(crate) reply: oneshot::Sender<Result<Vec<Tensor>>>,
}

impl Job {
    /// Answers the request. A client that has gone is no error.
    pub(crate) fn answer(self, result: Result<Vec<Tensor>>) {
        drop(self.reply.send(result));
    }
}

/// Why no place was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Every place is taken.
    Full,
    /// The version is going away.
    Closed,
}

#[derive(Debug)]
pub(crate) struct JobQueue {
    capacity: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Places taken by requests that are still being decoded.
    reserved: usize,
    closed: bool,
}

/// A place in the queue, given back when dropped without a job.
#[derive(Debug)]
pub(crate) struct Slot {
    queue: Arc<JobQueue>,
    /// Whether the place is still to be given back.
    reserved: bool,
}

impl JobQueue {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Takes a place, or says at once why there is none.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Slot, Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.jobs.len() + state.reserved >= self.capacity {
            // Requests whose clients have gone hold no place against one that waits.
            state.jobs.retain(|job| !job.reply.is_closed());
            if state.jobs.len() + state.reserved >= self.capacity {
                return Err(Refused::Full);
            }
        }
        state.reserved += 1;
        drop(state);
        Ok(Slot { queue: Arc::clone(self), reserved: true })
    }

    /// The oldest job whose client still waits; blocks until there is one. `None` once the queue is
    /// closed and empty.
    pub(crate) fn pull(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                if !job.reply.is_closed() {
                    return Some(job);
                }
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Blocks until the instant or until the queue is closed; says whether it is closed.
    pub(crate) fn closed_by(&self, instant: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.closed {
            if self.changed.wait_until(&mut state, instant).timed_out() {
                break;
            }
        }
        state.closed
    }

    /// Refuses new requests; jobs that are in already are still pulled.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Answers everything that waits with this error.
    pub(crate) fn fail_all(&self, error: &Error) {
        let jobs = std::mem::take(&mut self.state.lock().jobs);
        for job in jobs {
            job.answer(Err(error.clone()));
        }
    }

    /// How many requests wait, and how many more may.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        let waiting = state.jobs.len() + state.reserved;
        (waiting, self.capacity.saturating_sub(waiting))
    }
}

impl Slot {
    /// Turns the place into a job, in one step: a worker may take the job at once, and must not find the
    /// place still taken.
    pub(crate) fn push(mut self, job: Job) {
        let mut state = self.queue.state.lock();
        state.reserved -= 1;
        self.reserved = false;
        if state.closed {
            drop(state);
            let error = Error::new(ErrorCode::Unavailable, "the model was unloaded meanwhile");
            job.answer(Err(error));
        } else {
            state.jobs.push_back(job);
            drop(state);
            self.queue.changed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.reserved {
            self.queue.state.lock().reserved -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(value: u8) -> (Job, oneshot::Receiver<Result<Vec<Tensor>>>) {
        let (reply, receiver) = oneshot::channel();
        (Job { inputs: vec![Tensor::from_vec(&[1], vec![value]).unwrap()], reply }, receiver)
    }

    fn value(job: &Job) -> u8 {
        job.inputs[0].bytes()[0]
    }

    #[test]
    fn jobs_come_out_in_the_order_they_went_in() {
        let queue = JobQueue::new(3);
        let mut receivers = Vec::new();
        for value in [1, 2, 3] {
            let (job, receiver) = job(value);
            queue.reserve().unwrap().push(job);
            receivers.push(receiver);
        }
        let pulled: Vec<u8> = (0..3).map(|_| value(&queue.pull().unwrap())).collect();
        assert_eq!(pulled, [1, 2, 3]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_dropped_place_is_free_again() {
        let queue = JobQueue::new(2);
        let first = queue.reserve().unwrap();
        let second = queue.reserve().unwrap();
        assert_eq!(queue.reserve().unwrap_err(), Refused::Full);
        assert_eq!(queue.load(), (2, 0));
        drop(first);
        let (job, _receiver) = job(1);
        second.push(job);
        assert_eq!(queue.load(), (1, 1));
    }

    #[test]
    fn a_job_that_was_pulled_holds_no_place() {
        let queue = JobQueue::new(1);
        let puller = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                while let Some(job) = queue.pull() {
                    let load = queue.load();
                    job.answer(Ok(Vec::new()));
                    assert_eq!(load, (0, 1), "the place of a job that a worker has");
                }
            }
        });
        for _ in 0..20_000 {
            let (job, receiver) = job(1);
            queue.reserve().expect("the last job was pulled").push(job);
            receiver.blocking_recv().unwrap().unwrap();
        }
        queue.close();
        puller.join().unwrap();
    }

    #[test]
    fn clients_that_have_gone_hold_no_place_and_reach_no_worker() {
        let queue = JobQueue::new(1);
        let (gone, receiver) = job(1);
        queue.reserve().unwrap().push(gone);
        drop(receiver);
        let (here, _receiver) = job(2);
        queue.reserve().expect("the gone client's place").push(here);
        assert_eq!(value(&queue.pull().unwrap()), 2);
    }

    #[test]
    fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = JobQueue::new(2);
        let (waiting, _receiver) = job(1);
        queue.reserve().unwrap().push(waiting);
        let late = queue.reserve().unwrap();
        queue.close();
        assert_eq!(queue.reserve().unwrap_err(), Refused::Closed);
        let (job, mut receiver) = job(2);
        late.push(job);
        let refused = receiver.try_recv().unwrap().unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Unavailable);
        assert_eq!(value(&queue.pull().unwrap()), 1);
        assert!(queue.pull().is_none());
    }

    #[test]
    fn waiting_for_the_end_stops_at_the_instant_or_at_the_close() {
        let queue = JobQueue::new(1);
        assert!(!queue.closed_by(Instant::now()));
        queue.close();
        assert!(queue.closed_by(Instant::now() + Duration::from_hours(1)));
    }

    #[test]
    fn every_waiting_request_hears_of_a_failure() {
        let queue = JobQueue::new(2);
        let (first, mut one) = job(1);
        let (second, mut two) = job(2);
        queue.reserve().unwrap().push(first);
        queue.reserve().unwrap().push(second);
        queue.fail_all(&Error::new(ErrorCode::WorkerDied, "gone"));
        for receiver in [&mut one, &mut two] {
            assert_eq!(receiver.try_recv().unwrap().unwrap_err().code(), ErrorCode::WorkerDied);
        }
    }
}
