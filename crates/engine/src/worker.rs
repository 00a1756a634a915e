//! A worker: one named thread that serves one version on one device.
//!
//! A handler or model that reports an error fails what it was asked, and nothing else. One that panics has
//! left the model in an unknown state: the model is dropped and loaded again after a wait that grows with
//! each failure. One that does not come back cannot be ended: its thread is given up, and another takes its
//! seat. The requests of a batch that failed as a whole are tried again one by one, so that only the one at
//! fault fails.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use mar_handler::{Error, ErrorCode, LoadSpec, Model, Result};

use crate::execution::Execution;
use crate::job::{Done, Job};
use crate::pool::panicked;
use crate::samples::{AfterReplay, SamplesReport};
use crate::seat::Seat;
use crate::version::{Loaded, ModelVersion};
use crate::weights::{Held, Slot};
use crate::workshop::Workshop;

/// Everything a worker's thread owns.
pub(crate) struct Worker {
    pub(crate) version: Arc<ModelVersion>,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) seat: Arc<Seat>,
    pub(crate) workshop: Arc<Workshop>,
}

/// Why a worker has no model.
struct NotLoaded {
    error: Error,
    /// Whether the same may load another time.
    may_pass: bool,
}

/// What a load learned on its way. Nothing of it counts where the thread was given up meanwhile.
#[derive(Default)]
struct Learned {
    samples: Cell<Option<SamplesReport>>,
    execution: Cell<Option<Execution>>,
    /// Known answers are not reproduced or a warm-up fails, and will again.
    is_final: Cell<bool>,
}

/// Why a worker stopped serving.
enum Served {
    /// Its version or it was to go.
    Ended,
    /// The model is in an unknown state.
    Lost(Error),
    /// Another thread has the seat.
    GivenUp,
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn spawn(self) -> Result<()> {
        // A manifest may name a version as it likes, and a thread's name ends where a C string does.
        let name = self.seat.name.replace('\0', "");
        Builder::new().name(name).spawn(move || self.run()).map(drop).map_err(|error| {
            Error::new(ErrorCode::Internal, "the worker's thread did not start").caused_by(error)
        })
    }

    fn run(self) {
        let slot = self.loaded.weights.slot(self.seat.device);
        loop {
            if self.seat.failures() > 0 && self.back_off() {
                break;
            }
            let held = match self.load(&slot) {
                Some(Ok(held)) => held,
                Some(Err(failed)) if self.may_try_again(&failed) => continue,
                Some(Err(_)) => return,
                None => return self.version.thread_came_back(),
            };
            match self.serve(held, &slot) {
                Served::Ended => break,
                Served::GivenUp => return self.version.thread_came_back(),
                Served::Lost(reason) => {
                    log::warn!("{}: the model is loaded again: {reason}", self.seat.name);
                    self.seat.note(&reason);
                    self.seat.fail();
                    self.version.listener().worker_lost(&self.seat.name);
                }
            }
        }
        self.version.seat_ended(&self.seat);
    }

    /// Waits before the model is loaded again; whether the worker is to end instead.
    fn back_off(&self) -> bool {
        self.seat.back_off();
        let until = Instant::now() + backoff(self.workshop.backoff_step, self.seat.failures());
        self.version.queue().ended_by(until, &self.seat.retired)
    }

    /// Loads the model, or takes a share in what another worker loaded; `None` where the thread was given
    /// up meanwhile.
    fn load(&self, slot: &Slot) -> Option<Result<Held, NotLoaded>> {
        self.seat.start_loading();
        let begun = Instant::now();
        let learned = Learned::default();
        let load = || {
            let held = slot.get(|| self.load_weights(&learned))?;
            self.warm_up(&held, &learned)?;
            learned.execution.set(Some(self.execution(held.model.as_ref())));
            Ok(held)
        };
        let held = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
            Err(Error::invalid_model(panicked("loading", panic.as_ref()).message()))
        });
        if !self.seat.come_back() {
            return None;
        }
        if let Some(report) = learned.samples.take() {
            self.loaded.samples.keep(&self.seat.name, self.seat.device, report);
        }
        if let Some(execution) = learned.execution.take() {
            log::info!("{}: run by {execution}", self.seat.name);
            self.seat.runs_on(execution);
            self.version.listener().worker_loaded(&self.seat.name, begun.elapsed());
            self.version.seat_ready(&self.seat);
        }
        Some(held.map_err(|error| NotLoaded { error, may_pass: !learned.is_final.get() }))
    }

    /// Brings the weights onto the device, and replays the archive's known answers on them.
    fn load_weights(&self, learned: &Learned) -> Result<Arc<dyn Model>> {
        let Loaded { handler, runtime, samples, plan, .. } = &*self.loaded;
        let load = || {
            // Not before its turn: a worker that waits for another's load is not late.
            self.be_back_in(plan.startup_timeout);
            let model = runtime.load(&LoadSpec {
                file: self.loaded.file.clone(),
                device: self.seat.device,
                intra_op_threads: self.workshop.threads_each(),
                options: self.loaded.options.clone(),
                cache: self.loaded.cache.clone(),
                inputs: self.loaded.probe().inputs(runtime.as_ref()),
            })?;
            Ok(self.loaded.interface.fit(model))
        };
        let model = load()?;
        let Some(opened) = samples.to_replay() else { return Ok(model) };
        // Weights that took long to load leave the replay as long again.
        self.be_back_in(plan.startup_timeout);
        model.use_threads(self.workshop.threads_each());
        let (report, outcome) = match samples.replay(opened, handler.as_ref(), model.as_ref()) {
            AfterReplay::Serve(report) => (report, Ok(model)),
            AfterReplay::LoadAgain(report) => {
                drop(model);
                (report, load())
            }
            AfterReplay::Refuse { report, error, may_pass } => {
                if error.code() == ErrorCode::DeviceLost {
                    self.workshop.lose(self.seat.device);
                }
                learned.is_final.set(!may_pass);
                (report, Err(error))
            }
        };
        learned.samples.set(Some(report));
        outcome
    }

    /// Runs the requests that the worker answers before it is ready, on its own thread. What fails will fail
    /// again, unless memory may be free another time.
    fn warm_up(&self, held: &Held, learned: &Learned) -> Result<()> {
        if self.loaded.network.as_ref().is_none_or(|network| network.warmup.is_empty()) {
            return Ok(());
        }
        self.be_back_in(self.loaded.plan.startup_timeout);
        held.model.use_threads(self.workshop.threads_each());
        self.loaded.warm_up(held.model.as_ref()).inspect_err(|error| {
            if error.code() == ErrorCode::DeviceLost {
                self.workshop.lose(self.seat.device);
            }
            learned.is_final.set(error.code() != ErrorCode::OutOfMemory);
        })
    }

    fn execution(&self, model: &dyn Model) -> Execution {
        Execution::of(self.loaded.runtime.as_ref(), model)
    }

    /// Lets the watch give this thread up where it does not come back in time.
    fn be_back_in(&self, time: Duration) {
        let deadline = Instant::now() + time;
        self.seat.expect_by(deadline);
        self.workshop.expect_by(deadline);
    }

    /// Whether a model that did not load is to be tried again.
    fn may_try_again(&self, NotLoaded { error, may_pass }: &NotLoaded) -> bool {
        // What this build or machine has not, such as a runtime's provider, does not come while it runs.
        let may_pass = *may_pass && error.code() != ErrorCode::Unsupported;
        let again = self.loaded.plan.may_try_again(self.seat.fail()) && may_pass;
        let next = if again { "it is tried again" } else { "it is given up" };
        log::error!("{}: the model did not load, {next}: {error}", self.seat.name);
        self.version.seat_failed(&self.seat, error, again);
        again
    }

    /// Serves until the queue ends or a panic leaves the model unusable.
    fn serve(&self, held: Held, slot: &Slot) -> Served {
        // What a model does outside its forward pass, such as at its end, is no safer than that.
        let serve = AssertUnwindSafe(|| self.serve_batches(held, slot));
        catch_unwind(serve).unwrap_or_else(|panic| {
            slot.forget();
            Served::Lost(panicked("the model", panic.as_ref()))
        })
    }

    fn serve_batches(&self, mut held: Held, slot: &Slot) -> Served {
        let (mut threads, mut told) = (0, 0);
        while let Some(jobs) = self.version.queue().pull(&self.seat.retired) {
            let refreshed = slot.refresh(&mut held);
            let now_each = self.workshop.threads_each();
            if refreshed || now_each != threads {
                threads = now_each;
                held.model.use_threads(threads);
            }
            // A runtime may follow a change of threads later on, while it serves.
            let changes = held.model.changes();
            if refreshed || changes != told {
                told = changes;
                self.seat.runs_on(self.execution(held.model.as_ref()));
            }
            match self.run_batch(&held, jobs) {
                Served::Ended => {}
                Served::Lost(reason) => {
                    slot.discard(&held);
                    return Served::Lost(reason);
                }
                Served::GivenUp => return Served::GivenUp,
            }
        }
        Served::Ended
    }

    /// Runs the jobs as one batch and answers each; where the batch fails, each alone.
    fn run_batch(&self, held: &Held, jobs: Vec<Job>) -> Served {
        let several = jobs.len() > 1;
        let begun = Instant::now();
        self.be_back_in(self.loaded.plan.response_timeout);
        let work = jobs.iter().map(|job| job.work.clone()).collect();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.loaded.run(held.model.as_ref(), work)));
        if !self.seat.come_back() {
            return Served::GivenUp;
        }
        match outcome {
            Ok(Ok((outputs, batch))) => {
                let rows = jobs.iter().map(|job| job.work.rows).sum();
                self.version.listener().batch(rows, &batch);
                for (job, outputs) in jobs.into_iter().zip(outputs) {
                    let queue = begun.saturating_duration_since(job.queued);
                    job.answer(Ok(Done { outputs, queue, batch }));
                }
                Served::Ended
            }
            Ok(Err(error)) if error.code() == ErrorCode::DeviceLost => {
                answer_all(jobs, &error);
                self.workshop.lose(self.seat.device);
                Served::Ended
            }
            Ok(Err(_)) if several => {
                let mut jobs = jobs.into_iter();
                while let Some(job) = jobs.next() {
                    if !job.is_alive(Instant::now()) {
                        continue;
                    }
                    let served = self.run_batch(held, vec![job]);
                    if !matches!(served, Served::Ended) {
                        self.version.queue().retry_alone(jobs.collect());
                        return served;
                    }
                }
                Served::Ended
            }
            Ok(Err(error)) => {
                answer_all(jobs, &error);
                Served::Ended
            }
            Err(panic) => {
                let error = panicked("inference", panic.as_ref());
                let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
                log::error!("{}: {error}; requests {}", self.seat.name, ids.join(", "));
                if several {
                    self.version.queue().retry_alone(jobs);
                } else {
                    answer_all(jobs, &error);
                }
                Served::Lost(error)
            }
        }
    }
}

fn answer_all(jobs: Vec<Job>, error: &Error) {
    for job in jobs {
        job.answer(Err(error.clone()));
    }
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
