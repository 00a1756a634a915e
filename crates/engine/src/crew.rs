//! A version's workers: starting, scaling, replacing and ending them.

mod changes;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use mar_handler::{Device, Error, ErrorCode, Result};

use crate::plan::place;
use crate::seat::{Seat, WorkerState};
use crate::version::{Loaded, ModelVersion, VersionState};
use crate::worker::Worker;
use crate::workshop::Workshop;

/// Workers that one version may be given; each is a thread.
pub(crate) const MOST_WORKERS: usize = 1000;

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
    /// The limits before, and those that were set.
    before: (usize, usize),
    limits: (usize, usize),
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
            self.version.take_back(&self);
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

    /// Whether a worker serves, or loads its model for the first time and so may yet.
    fn may_serve(&self) -> bool {
        self.seats.iter().any(|seat| seat.may_serve())
    }

    /// Whether every worker has ended.
    fn has_ended(&self) -> bool {
        self.leaving.is_empty() && self.active() == 0
    }

    fn leave(&mut self, seats: Vec<Arc<Seat>>) {
        for seat in &seats {
            seat.retire();
        }
        self.leaving.extend(seats.into_iter().filter(|seat| seat.state() != WorkerState::Failed));
    }

    /// Puts another into the seat of a thread that was given up; none where that one was to go.
    fn succeed(&mut self, seat: &Arc<Seat>, workshop: &Arc<Workshop>) -> Option<Arc<Seat>> {
        let taken = self.seats.iter_mut().find(|other| Arc::ptr_eq(other, seat))?;
        *taken = Arc::new(seat.successor(workshop.take_place(seat.device)));
        Some(Arc::clone(taken))
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
        if min > MOST_WORKERS {
            return Err(Error::invalid_input(format!(
                "{min} workers are more than one version may have, {MOST_WORKERS}"
            )));
        }
        let usable = devices.unwrap_or(usize::MAX).clamp(1, loaded.plan.devices.len());
        let usable = &loaded.plan.devices[..usable];
        let mut starting = Vec::new();
        let mut crew = self.crew.lock();
        if matches!(self.state(), VersionState::Draining | VersionState::Unloaded) {
            return Err(self.going_away());
        }
        let before = (crew.min, crew.max);
        let limits = (min, max.max(min));
        (crew.min, crew.max) = limits;
        // Scaling is the cure for workers that were given up.
        crew.seats.retain(|seat| seat.state() != WorkerState::Failed);
        while crew.seats.len() < min {
            let device =
                place(usable, |d| crew.count(d), |device| self.workshop.workers_on(device));
            let (first_load, loading) = mpsc::sync_channel(1);
            let id = self.workshop.next_worker();
            let seat = self.seat(id, crew.seats.len(), device, first_load);
            crew.seats.push(Arc::clone(&seat));
            starting.push((seat, loading));
        }
        if crew.seats.len() > crew.max {
            let keep = crew.max;
            let newest = crew.seats.split_off(keep);
            crew.leave(newest);
        }
        self.queue.set_workers(crew.active());
        if !starting.is_empty() {
            self.change_state(|state| {
                matches!(state, VersionState::Failed(_)).then_some(VersionState::Loading)
            });
        }
        drop(crew);
        self.queue.wake_all();
        for (seat, _) in &starting {
            self.start_thread(loaded, seat);
        }
        Ok(Scaling { version: Arc::clone(self), starting, before, limits })
    }

    fn seat(
        &self,
        id: usize,
        index: usize,
        device: Device,
        first_load: SyncSender<Result<()>>,
    ) -> Arc<Seat> {
        let name = format!("{}-{}-{device}-{index}", self.name(), self.version());
        Arc::new(Seat::new(id, name, self.workshop.take_place(device), first_load))
    }

    /// Whoever waits for the worker hears of a thread that cannot be had.
    fn start_thread(self: &Arc<Self>, loaded: &Arc<Loaded>, seat: &Arc<Seat>) {
        let worker = Worker {
            version: Arc::clone(self),
            loaded: Arc::clone(loaded),
            seat: Arc::clone(seat),
            workshop: Arc::clone(&self.workshop),
        };
        if let Err(error) = worker.spawn() {
            log::error!("{}: {error}", seat.name);
            self.seat_failed(seat, &error, false);
        }
    }

    /// Sends workers away again that did not load.
    fn take_back(&self, scaling: &Scaling) {
        let mut crew = self.crew.lock();
        if (crew.min, crew.max) == scaling.limits {
            (crew.min, crew.max) = scaling.before;
        }
        let ids: Vec<usize> = scaling.starting.iter().map(|(seat, _)| seat.id).collect();
        let (new, old) =
            std::mem::take(&mut crew.seats).into_iter().partition(|seat| ids.contains(&seat.id));
        crew.seats = old;
        crew.leave(new);
        self.settle(&crew);
        drop(crew);
        self.queue.wake_all();
    }

    /// Refuses new requests, and lets the workers end once those that are in are answered.
    pub(crate) fn close(&self) {
        let crew = self.crew.lock();
        self.change_state(|state| {
            (!matches!(state, VersionState::Draining | VersionState::Unloaded))
                .then_some(VersionState::Draining)
        });
        self.queue.close();
        self.settle(&crew);
    }

    /// Takes note that workers came or went: who counts them hears of it, and where the last of a closed
    /// version has ended, so has the version.
    fn settle(&self, crew: &Crew) {
        self.queue.set_workers(crew.active());
        if crew.has_ended() {
            self.change_state(|state| {
                (*state == VersionState::Draining).then_some(VersionState::Unloaded)
            });
            self.crew_changed.notify_all();
        }
    }

    /// Waits until the workers have ended; whether they did by then.
    pub(crate) fn ended_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut crew = self.crew.lock();
        while !crew.has_ended() {
            if self.crew_changed.wait_until(&mut crew, until).timed_out() {
                return crew.has_ended();
            }
        }
        true
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod tests;
