//! A version's workers: starting, scaling, replacing and ending them.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use mar_handler::{Device, Error, ErrorCode, Result};

use crate::plan::place;
use crate::seat::{Seat, WorkerState};
use crate::version::{Loaded, ModelVersion, VersionState};
use crate::worker::Worker;

/// Threads of one version that may be away for good before no more are sent after them.
const MOST_GIVEN_UP: usize = 16;

/// Workers that one version may be given; each is a thread.
const MOST_WORKERS: usize = 1000;

/// A version's workers.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    pub(crate) min: usize,
    pub(crate) max: usize,
    /// Those that are to serve, oldest first.
    pub(crate) seats: Vec<Arc<Seat>>,
    /// Those that end after what they do now.
    leaving: Vec<Arc<Seat>>,
    /// Threads that were given up and have not come back.
    given_up: usize,
}

/// Workers that are on their way.
#[derive(Debug)]
pub struct Scaling {
    version: Arc<ModelVersion>,
    starting: Vec<(Arc<Seat>, Receiver<Result<()>>)>,
    /// The limits before.
    before: (usize, usize),
}

impl Scaling {
    /// Waits until each new worker has loaded its model. Blocks.
    ///
    /// # Errors
    /// The first failure; the new workers are gone then, and the limits as before.
    pub fn wait(self) -> Result<()> {
        let loaded = self.starting.iter().try_for_each(|(_, loaded)| {
            loaded.recv().unwrap_or_else(|_| {
                Err(Error::new(ErrorCode::WorkerDied, "a worker ended before its model was loaded"))
            })
        });
        if loaded.is_err() {
            let new: Vec<_> = self.starting.iter().map(|(seat, _)| Arc::clone(seat)).collect();
            self.version.take_back(&new, self.before);
        }
        loaded
    }

    /// Waits until each new worker has loaded its model or failed to. Blocks.
    pub(crate) fn wait_for_state(self) {
        for (_, loaded) in &self.starting {
            drop(loaded.recv());
        }
    }

    /// The version that is scaled.
    pub fn version(&self) -> &ModelVersion {
        &self.version
    }

    /// How many workers are on their way.
    pub fn starting(&self) -> usize {
        self.starting.len()
    }
}

impl Crew {
    /// Workers that serve or will.
    fn active(&self) -> usize {
        self.seats.iter().filter(|seat| seat.state() != WorkerState::Failed).count()
    }

    fn count(&self, device: Device) -> usize {
        self.seats.iter().filter(|seat| seat.device == device).count()
    }

    fn leave(&mut self, seats: Vec<Arc<Seat>>) {
        for seat in &seats {
            seat.retire();
        }
        self.leaving.extend(seats.into_iter().filter(|seat| seat.state() != WorkerState::Failed));
    }
}

impl ModelVersion {
    /// Sets the limits: starts workers where there are fewer than `min`, ends the newest where there are
    /// more than `max`. `devices` limits new workers to the first so many of the version's devices.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where the version is not loaded or goes away;
    /// [`ErrorCode::InvalidInput`] where it would have too many.
    pub(crate) fn scale(
        self: &Arc<Self>,
        min: usize,
        max: usize,
        devices: Option<usize>,
    ) -> Result<Scaling> {
        let Some(loaded) = self.loaded.get() else {
            return Err(match self.state().reason() {
                Some(reason) => Error::new(
                    ErrorCode::Unavailable,
                    format!("model \"{}\" did not load: {reason}", self.name()),
                ),
                None => Error::new(
                    ErrorCode::Unavailable,
                    format!("model \"{}\" is still loading; send again later", self.name()),
                ),
            });
        };
        if matches!(self.state(), VersionState::Draining | VersionState::Unloaded) {
            return Err(self.going_away());
        }
        if min > MOST_WORKERS {
            return Err(Error::invalid_input(format!(
                "{min} workers are more than one version may have, {MOST_WORKERS}"
            )));
        }
        let usable = devices.unwrap_or(usize::MAX).clamp(1, loaded.plan.devices.len());
        let usable = &loaded.plan.devices[..usable];
        let mut starting = Vec::new();
        let mut crew = self.crew.lock();
        let before = (crew.min, crew.max);
        (crew.min, crew.max) = (min, max.max(min));
        // Scaling is the cure for workers that were given up.
        crew.seats.retain(|seat| seat.state() != WorkerState::Failed);
        while crew.seats.len() < min {
            let device =
                place(usable, |d| crew.count(d), |device| self.workshop.workers_on(device));
            let (first_load, loading) = mpsc::sync_channel(1);
            let id = self.workshop.next_worker();
            let seat = self.seat(id, crew.seats.len(), device, Some(first_load));
            crew.seats.push(Arc::clone(&seat));
            starting.push((seat, loading));
        }
        if crew.seats.len() > crew.max {
            let keep = crew.max;
            let newest = crew.seats.split_off(keep);
            crew.leave(newest);
        }
        self.queue.set_workers(crew.active());
        let unserved = crew.seats.iter().all(|seat| seat.state() != WorkerState::Ready);
        drop(crew);
        if unserved && !starting.is_empty() {
            self.state.send_if_modified(|state| {
                let failed = matches!(state, VersionState::Failed(_));
                if failed {
                    *state = VersionState::Loading;
                }
                failed
            });
        }
        self.queue.wake_all();
        for (seat, _) in &starting {
            self.start_thread(loaded, seat, 0)?;
        }
        Ok(Scaling { version: Arc::clone(self), starting, before })
    }

    fn seat(
        &self,
        id: usize,
        index: usize,
        device: Device,
        first_load: Option<SyncSender<Result<()>>>,
    ) -> Arc<Seat> {
        let name = format!("{}-{}-{device}-{index}", self.name(), self.version());
        Arc::new(Seat::new(id, name, self.workshop.take_place(device), first_load))
    }

    fn start_thread(
        self: &Arc<Self>,
        loaded: &Arc<Loaded>,
        seat: &Arc<Seat>,
        failures: u32,
    ) -> Result<()> {
        let worker = Worker {
            version: Arc::clone(self),
            loaded: Arc::clone(loaded),
            seat: Arc::clone(seat),
            workshop: Arc::clone(&self.workshop),
            failures,
            failing_since: (failures > 0).then(Instant::now),
        };
        worker.spawn().inspect_err(|error| self.seat_failed(seat, error, 1, false))
    }

    /// Sends workers away again that did not load.
    fn take_back(&self, seats: &[Arc<Seat>], limits: (usize, usize)) {
        let mut crew = self.crew.lock();
        (crew.min, crew.max) = limits;
        let ids: Vec<usize> = seats.iter().map(|seat| seat.id).collect();
        let (new, old) =
            std::mem::take(&mut crew.seats).into_iter().partition(|seat| ids.contains(&seat.id));
        crew.seats = old;
        crew.leave(new);
        self.queue.set_workers(crew.active());
        drop(crew);
        self.queue.wake_all();
    }

    /// A worker serves.
    pub(crate) fn seat_ready(&self, seat: &Seat) {
        // The state first: whoever waits for the worker may send a request at once.
        self.state.send_if_modified(|state| {
            let waiting = matches!(state, VersionState::Loading | VersionState::Failed(_));
            if waiting {
                *state = VersionState::Ready;
            }
            waiting
        });
        seat.become_ready();
    }

    /// A worker's model did not load.
    pub(crate) fn seat_failed(&self, seat: &Seat, error: &Error, failures: u32, again: bool) {
        let next = if again { "it is tried again" } else { "it is given up" };
        log::error!("{}: the model did not load, {next}: {error}", seat.name);
        let crew = self.crew.lock();
        let served = crew
            .seats
            .iter()
            .any(|other| other.id != seat.id && other.state() == WorkerState::Ready);
        drop(crew);
        if !served {
            let first = self.state.send_if_modified(|state| {
                let first = matches!(state, VersionState::Loading);
                if first {
                    *state = VersionState::Failed(error.to_string());
                }
                first
            });
            if !first {
                let message = format!("the model could not be loaded again: {error}");
                self.queue.fail_all(&Error::new(ErrorCode::Unavailable, message));
            }
        }
        seat.become_failed(error, failures, again);
        if !again {
            let crew = self.crew.lock();
            self.queue.set_workers(crew.active());
            drop(crew);
            self.crew_changed.notify_all();
        }
    }

    /// A worker ended as it should.
    pub(crate) fn seat_ended(&self, seat: &Seat) {
        seat.become_stopped();
        let mut crew = self.crew.lock();
        crew.leaving.retain(|other| !std::ptr::eq(other.as_ref(), seat));
        crew.seats.retain(|other| !std::ptr::eq(other.as_ref(), seat));
        drop(crew);
        self.crew_changed.notify_all();
    }

    /// A thread that was given up has ended.
    pub(crate) fn thread_came_back(&self) {
        self.crew.lock().given_up -= 1;
    }

    /// Gives up the threads that should have been back by now, and puts others in their seats. Says when
    /// to look again.
    pub(crate) fn give_up_overdue(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let seats: Vec<_> = {
            let crew = self.crew.lock();
            crew.seats.iter().chain(&crew.leaving).cloned().collect()
        };
        for seat in &seats {
            if let Some(doing) = seat.give_up(now) {
                self.replace(seat, doing);
            }
        }
        seats.iter().filter_map(|seat| seat.deadline()).min()
    }

    fn replace(self: &Arc<Self>, seat: &Arc<Seat>, doing: WorkerState) {
        let Some(loaded) = self.loaded.get() else { return };
        let plan = &loaded.plan;
        let (what, limit) = match doing {
            WorkerState::Starting => ("load its model", plan.startup_timeout),
            _ => ("answer", plan.response_timeout),
        };
        let message = format!("the worker did not {what} within {} s", limit.as_secs_f32());
        let error = Error::new(ErrorCode::WorkerDied, message);
        log::error!("{}: {error}; another takes its place", seat.name);
        self.events().worker_lost(&seat.name);

        let mut crew = self.crew.lock();
        crew.given_up += 1;
        let away = crew.given_up;
        crew.leaving.retain(|other| !Arc::ptr_eq(other, seat));
        let place = crew.seats.iter().position(|other| Arc::ptr_eq(other, seat));
        let successor = place.filter(|_| away <= MOST_GIVEN_UP).map(|place| {
            let workshop_place = self.workshop.take_place(seat.device);
            let next = Arc::new(Seat::new(seat.id, seat.name.clone(), workshop_place, None));
            next.back_off(seat.failures() + 1);
            crew.seats[place] = Arc::clone(&next);
            next
        });
        drop(crew);
        let failures = seat.failures() + 1;
        // Tells whoever waits for its first load, and that nobody serves where nobody does.
        if doing == WorkerState::Starting || successor.is_none() {
            self.seat_failed(seat, &error, failures, successor.is_some());
        }
        if let Some(next) = successor
            && let Err(error) = self.start_thread(loaded, &next, failures)
        {
            log::error!("{}: {error}", next.name);
        }
        self.crew_changed.notify_all();
    }

    /// Refuses new requests, and lets the workers end once those that are in are answered.
    pub(crate) fn close(&self) {
        self.state.send_if_modified(|state| {
            let serving = matches!(state, VersionState::Loading | VersionState::Ready);
            if serving {
                *state = VersionState::Draining;
            }
            serving
        });
        self.queue.close();
    }

    /// Waits until the workers have ended; whether they did by then.
    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut crew = self.crew.lock();
        let ended = loop {
            if crew.active() == 0 && crew.leaving.is_empty() {
                break true;
            }
            if self.crew_changed.wait_until(&mut crew, until).timed_out() {
                break false;
            }
        };
        drop(crew);
        if ended {
            self.state.send_if_modified(|state| {
                let draining = *state == VersionState::Draining;
                if draining {
                    *state = VersionState::Unloaded;
                }
                draining
            });
        }
        ended
    }
}
