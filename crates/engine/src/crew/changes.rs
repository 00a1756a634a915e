//! What becomes of workers: they serve, they do not load, they end, they do not come back.
//!
//! Each change is made in one step under the crew's lock, the version's state and the queue's count with it,
//! so that two workers which fail or load at the same time agree on who is left.

use std::sync::Arc;
use std::time::Instant;

use mar_handler::{Error, ErrorCode};

use crate::seat::{Seat, WorkerState};
use crate::version::{Loaded, ModelVersion, VersionState};

/// Threads of one version that may be away for good before no more are sent after them.
const MOST_GIVEN_UP: usize = 16;

/// A thread that was given up.
struct Lost {
    seat: Arc<Seat>,
    doing: WorkerState,
    /// Who comes in its place.
    successor: Option<Arc<Seat>>,
    /// Whether it had already left.
    left: bool,
}

impl ModelVersion {
    /// A worker serves.
    pub(crate) fn seat_ready(&self, seat: &Seat) {
        let crew = self.crew.lock();
        let first_load = seat.become_ready();
        self.change_state(|state| {
            matches!(state, VersionState::Loading | VersionState::Failed(_))
                .then_some(VersionState::Ready)
        });
        drop(crew);
        // At last: whoever waits for the worker may send a request at once.
        first_load.tell(Ok(()));
    }

    /// A worker's model did not load.
    pub(crate) fn seat_failed(&self, seat: &Seat, error: &Error, again: bool) {
        let mut crew = self.crew.lock();
        let first_load = seat.become_failed(error, again);
        if !again {
            crew.leaving.retain(|other| !std::ptr::eq(other.as_ref(), seat));
        }
        if !crew.may_serve() {
            let first = self.change_state(|state| {
                matches!(state, VersionState::Loading)
                    .then(|| VersionState::Failed(error.to_string()))
            });
            if !first {
                let message = format!("the model could not be loaded again: {error}");
                self.queue.fail_all(&Error::new(ErrorCode::Unavailable, message));
            }
        }
        self.settle(&crew);
        drop(crew);
        first_load.tell(Err(error.clone()));
    }

    /// A worker ended as it should.
    pub(crate) fn seat_ended(&self, seat: &Seat) {
        let mut crew = self.crew.lock();
        seat.become_stopped();
        crew.leaving.retain(|other| !std::ptr::eq(other.as_ref(), seat));
        crew.seats.retain(|other| !std::ptr::eq(other.as_ref(), seat));
        self.settle(&crew);
    }

    /// A thread that was given up has ended.
    pub(crate) fn thread_came_back(&self) {
        self.crew.lock().given_up -= 1;
    }

    /// Gives up the threads that should have been back by now, and puts others in their seats. Says when
    /// to look again.
    pub(crate) fn give_up_overdue(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let loaded = self.loaded.get()?;
        let mut crew = self.crew.lock();
        let seats: Vec<_> = crew.seats.iter().chain(&crew.leaving).cloned().collect();
        // In one step, as a thread that comes back at last counts itself out.
        let lost: Vec<Lost> = seats
            .iter()
            .filter_map(|seat| {
                let (doing, since) = seat.give_up(now)?;
                crew.given_up += 1;
                let before = crew.leaving.len();
                crew.leaving.retain(|other| !Arc::ptr_eq(other, seat));
                let left = crew.leaving.len() < before;
                let again = crew.given_up <= MOST_GIVEN_UP
                    && (doing != WorkerState::Starting || loaded.plan.may_try_again(since));
                let successor = if again { crew.succeed(seat, &self.workshop) } else { None };
                Some(Lost { seat: Arc::clone(seat), doing, successor, left })
            })
            .collect();
        if !lost.is_empty() {
            self.settle(&crew);
        }
        drop(crew);
        for lost in lost {
            self.replace(loaded, lost);
        }
        seats.iter().filter_map(|seat| seat.deadline()).min()
    }

    fn replace(self: &Arc<Self>, loaded: &Arc<Loaded>, lost: Lost) {
        let Lost { seat, doing, successor, left } = lost;
        let loading = doing == WorkerState::Starting;
        let slot = loaded.weights.slot(seat.device);
        // Nobody waits for a load that hangs, or works on in weights that a thread hangs in.
        let (what, limit) = if loading {
            slot.give_up_load();
            ("load its model", loaded.plan.startup_timeout)
        } else {
            slot.forget();
            ("answer", loaded.plan.response_timeout)
        };
        let message = format!("the worker did not {what} within {} s", limit.as_secs_f32());
        let error = Error::new(ErrorCode::WorkerDied, message);
        let next =
            if successor.is_some() { "another takes its place" } else { "nobody takes its place" };
        log::error!("{}: {error}; {next}", seat.name);
        self.listener().worker_lost(&seat.name);
        // Tells whoever waits for its first load, and that nobody serves where nobody does.
        if loading || successor.is_none() && !left {
            self.seat_failed(&seat, &error, successor.is_some());
        }
        if let Some(next) = successor {
            next.note(&error);
            self.start_thread(loaded, &next);
        }
    }
}
