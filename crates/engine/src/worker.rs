//! A worker: one named thread that owns one model on one device.
//!
//! A handler or model that reports an error fails its batch and nothing else. One that panics has left
//! the model in an unknown state: the batch fails, the model is dropped and loaded again after a wait
//! that grows with each failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use mar_handler::{
    Batch, Device, Error, ErrorCode, Handler, LoadSpec, Model, Result, Runtime, Tensor,
};
use parking_lot::Mutex;

use crate::pool::panicked;
use crate::queue::{Job, JobQueue};

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Loading its model.
    Starting,
    /// Serving.
    Ready,
    /// Waiting to load its model again after this many failures in a row.
    BackingOff(u32),
    /// Ended: its version went away or its model did not load at first.
    Stopped,
}

/// A worker as others see it.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Model, version, device and index: the thread's name.
    pub name: String,
    /// Where its model runs.
    pub device: Device,
    /// What it is doing.
    pub state: WorkerState,
    /// When it was started.
    pub started: SystemTime,
}

/// Everything a worker's thread owns.
pub(crate) struct Worker {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) spec: LoadSpec,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) queue: Arc<JobQueue>,
    pub(crate) info: Arc<Mutex<WorkerInfo>>,
    pub(crate) backoff_step: Duration,
}

impl Worker {
    /// Starts the thread. `first_load` hears once whether the model loaded; where it did not, the
    /// thread ends.
    pub(crate) fn spawn(self, first_load: SyncSender<Result<()>>) -> Result<JoinHandle<()>> {
        let name = self.info.lock().name.clone();
        Builder::new().name(name).spawn(move || self.run(&first_load)).map_err(|error| {
            Error::new(ErrorCode::Internal, "the worker's thread did not start").caused_by(error)
        })
    }

    fn run(self, first_load: &SyncSender<Result<()>>) {
        let model = self.load();
        let loaded = model.as_ref().map(|_| ()).map_err(Clone::clone);
        self.become_state(if loaded.is_ok() { WorkerState::Ready } else { WorkerState::Stopped });
        // The version may have stopped waiting; the worker then finds its queue closed.
        drop(first_load.send(loaded));
        let Ok(mut model) = model else { return };
        while let Served::Lost(reason) = self.serve(model.as_ref()) {
            drop(model);
            log::error!("{}: {reason}; the model is loaded again", self.info.lock().name);
            match self.reload() {
                Some(loaded) => model = loaded,
                None => break,
            }
        }
        self.become_state(WorkerState::Stopped);
    }

    /// Serves until the queue ends or a panic leaves the model unusable.
    fn serve(&self, model: &dyn Model) -> Served {
        while let Some(job) = self.queue.pull() {
            if let Err(lost) = self.run_batch(model, vec![job]) {
                return Served::Lost(lost);
            }
        }
        Served::Ended
    }

    /// Runs the jobs as one batch and answers each.
    fn run_batch(&self, model: &dyn Model, mut jobs: Vec<Job>) -> Result<(), Error> {
        let inputs = jobs.iter_mut().map(|job| std::mem::take(&mut job.inputs)).collect();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.infer(model, inputs)));
        let (outputs, lost) = match outcome {
            Ok(outputs) => (outputs, None),
            Err(panic) => {
                let error = panicked("inference", panic.as_ref());
                (Err(error.clone()), Some(error))
            }
        };
        match outputs {
            Ok(outputs) => {
                for (job, outputs) in jobs.into_iter().zip(outputs) {
                    job.answer(Ok(outputs));
                }
            }
            Err(error) => {
                for job in jobs {
                    job.answer(Err(error.clone()));
                }
            }
        }
        lost.map_or(Ok(()), Err)
    }

    fn infer(&self, model: &dyn Model, inputs: Vec<Vec<Tensor>>) -> Result<Vec<Vec<Tensor>>> {
        let batch = Batch::stack(inputs)?;
        let len = batch.len();
        let outputs = self.handler.inference(model, batch)?;
        if outputs.len() != len {
            let message = format!("the handler answered {} of {len} requests", outputs.len());
            return Err(Error::new(ErrorCode::PredictionFailed, message));
        }
        outputs.split()
    }

    /// Loads the model again, waiting longer before each attempt; `None` once the queue is closed.
    fn reload(&self) -> Option<Box<dyn Model>> {
        for failures in 1.. {
            self.become_state(WorkerState::BackingOff(failures));
            if self.queue.closed_by(Instant::now() + backoff(self.backoff_step, failures)) {
                break;
            }
            match self.load() {
                Ok(model) => {
                    self.become_state(WorkerState::Ready);
                    return Some(model);
                }
                Err(error) => {
                    log::error!("{}: cannot load the model again: {error}", self.info.lock().name);
                    let message = format!("the model could not be loaded again: {error}");
                    self.queue.fail_all(&Error::new(ErrorCode::Unavailable, message));
                }
            }
        }
        None
    }

    fn load(&self) -> Result<Box<dyn Model>> {
        catch_unwind(AssertUnwindSafe(|| self.runtime.load(&self.spec))).unwrap_or_else(|panic| {
            let error = panicked("loading", panic.as_ref());
            Err(Error::invalid_model(error.message()))
        })
    }

    fn become_state(&self, state: WorkerState) {
        self.info.lock().state = state;
    }
}

/// Why a worker stopped serving.
enum Served {
    Ended,
    Lost(Error),
}

/// The wait before the attempt that follows this many failures: steps 1, 1, 2, 3, 5, 8 and so on, as
/// TorchServe has them in seconds, and no more than 89.
fn backoff(step: Duration, failures: u32) -> Duration {
    let (mut this, mut next) = (1_u32, 1_u32);
    for _ in 1..failures.min(11) {
        (this, next) = (next, this + next);
    }
    step * this
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_by_fibonacci_and_then_stays() {
        let waits: Vec<u64> =
            (1..=13).map(|n| backoff(Duration::from_secs(1), n).as_secs()).collect();
        assert_eq!(waits, [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 89, 89]);
    }
}
