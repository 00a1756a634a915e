//! A worker as others see it: who it is, what it does, and by when it should be back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Instant, SystemTime};

use mar_handler::{Device, Result};
use parking_lot::Mutex;

use crate::workshop::Place;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Loading its model.
    Starting,
    /// Serving.
    Ready,
    /// Waiting to load its model again after this many failures in a row.
    BackingOff(u32),
    /// Given up: its model was tried for too long. Scaling the version starts others.
    Failed,
    /// Ended: its version went away, or it was scaled down.
    Stopped,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("STARTING"),
            Self::Ready => f.write_str("READY"),
            Self::BackingOff(failures) => write!(f, "BACKING_OFF({failures})"),
            Self::Failed => f.write_str("FAILED"),
            Self::Stopped => f.write_str("STOPPED"),
        }
    }
}

/// A worker, told.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Its number, from 9000.
    pub id: usize,
    /// Model, version, device and number: the thread's name.
    pub name: String,
    /// Where its model runs.
    pub device: Device,
    /// What it is doing.
    pub state: WorkerState,
    /// Why it last failed to load its model, where it is not ready for that.
    pub reason: Option<String>,
    /// When it was started.
    pub started: SystemTime,
}

/// One worker's entry in its version's list.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: usize,
    pub(crate) name: String,
    pub(crate) device: Device,
    started: SystemTime,
    /// Whether the worker is to end after what it does now.
    pub(crate) retired: AtomicBool,
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Status {
    state: WorkerState,
    reason: Option<String>,
    failures: u32,
    /// By when the thread should be back from what it does.
    deadline: Option<Instant>,
    /// Whether the thread was given up, so that nothing it still does counts.
    given_up: bool,
    /// Who waits to hear whether the model loads.
    first_load: Option<SyncSender<Result<()>>>,
    place: Option<Place>,
}

impl Seat {
    pub(crate) fn new(
        id: usize,
        name: String,
        place: Place,
        first_load: Option<SyncSender<Result<()>>>,
    ) -> Self {
        Self {
            id,
            name,
            device: place.device(),
            started: SystemTime::now(),
            retired: AtomicBool::new(false),
            status: Mutex::new(Status {
                state: WorkerState::Starting,
                reason: None,
                failures: 0,
                deadline: None,
                given_up: false,
                first_load,
                place: Some(place),
            }),
        }
    }

    pub(crate) fn info(&self) -> WorkerInfo {
        let status = self.status.lock();
        WorkerInfo {
            id: self.id,
            name: self.name.clone(),
            device: self.device,
            state: status.state,
            reason: status.reason.clone(),
            started: self.started,
        }
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.status.lock().state
    }

    pub(crate) fn failures(&self) -> u32 {
        self.status.lock().failures
    }

    /// Ends after what it does now. The caller wakes the queue.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(crate) fn back_off(&self, failures: u32) {
        let mut status = self.status.lock();
        status.state = WorkerState::BackingOff(failures);
        status.failures = failures;
    }

    pub(crate) fn start_loading(&self, deadline: Instant) {
        let mut status = self.status.lock();
        status.state = WorkerState::Starting;
        status.deadline = Some(deadline);
    }

    pub(crate) fn start_batch(&self, deadline: Instant) {
        self.status.lock().deadline = Some(deadline);
    }

    /// The thread is back; false where it was given up meanwhile.
    pub(crate) fn come_back(&self) -> bool {
        let mut status = self.status.lock();
        status.deadline = None;
        !status.given_up
    }

    /// The model is loaded.
    pub(crate) fn become_ready(&self) {
        let first_load = {
            let mut status = self.status.lock();
            status.state = WorkerState::Ready;
            status.reason = None;
            status.failures = 0;
            status.first_load.take()
        };
        tell(first_load, Ok(()));
    }

    /// The model did not load; it is tried again or it is not.
    pub(crate) fn become_failed(&self, error: &mar_handler::Error, failures: u32, again: bool) {
        let first_load = {
            let mut status = self.status.lock();
            status.failures = failures;
            status.reason = Some(error.to_string());
            if again {
                status.state = WorkerState::BackingOff(failures);
            } else {
                status.state = WorkerState::Failed;
                status.place = None;
            }
            status.first_load.take()
        };
        tell(first_load, Err(error.clone()));
    }

    pub(crate) fn become_stopped(&self) {
        let mut status = self.status.lock();
        status.state = WorkerState::Stopped;
        status.place = None;
        status.first_load = None;
    }

    /// When the thread should be back, where it is away.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.status.lock().deadline
    }

    /// Gives the thread up if it should have been back by now; says what it was doing.
    pub(crate) fn give_up(&self, now: Instant) -> Option<WorkerState> {
        let mut status = self.status.lock();
        if status.given_up || status.deadline.is_none_or(|deadline| deadline > now) {
            return None;
        }
        status.given_up = true;
        status.deadline = None;
        status.place = None;
        Some(status.state)
    }
}

/// Whoever waited may have stopped waiting.
fn tell(first_load: Option<SyncSender<Result<()>>>, loaded: Result<()>) {
    if let Some(first_load) = first_load {
        drop(first_load.send(loaded));
    }
}
