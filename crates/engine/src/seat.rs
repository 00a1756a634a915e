//! A worker as others see it: who it is, what it does, and by when it should be back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Instant, SystemTime};

use mar_handler::{Device, Result};
use parking_lot::Mutex;

use crate::execution::Execution;
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
    /// What runs its model, where it has one.
    pub execution: Option<Execution>,
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
    /// What runs the model that it has.
    execution: Option<Execution>,
    /// Failures since the model was last loaded: panics, hangs, loads that failed.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Instant>,
    /// By when the thread should be back from what it does.
    deadline: Option<Instant>,
    /// Whether the thread was given up, so that nothing it still does counts.
    given_up: bool,
    /// Who waits to hear whether the model loads.
    first_load: Option<SyncSender<Result<()>>>,
    place: Option<Place>,
}

/// Whoever waits to hear of a worker's first load; told once the version's state says the same.
#[derive(Debug)]
#[must_use]
pub(crate) struct FirstLoad(Option<SyncSender<Result<()>>>);

impl Seat {
    pub(crate) fn new(
        id: usize,
        name: String,
        place: Place,
        first_load: SyncSender<Result<()>>,
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
                execution: None,
                failures: 0,
                failing_since: None,
                deadline: None,
                given_up: false,
                first_load: Some(first_load),
                place: Some(place),
            }),
        }
    }

    /// The seat for the thread that comes in the place of one that was given up.
    pub(crate) fn successor(&self, place: Place) -> Self {
        let status = self.status.lock();
        Self {
            id: self.id,
            name: self.name.clone(),
            device: self.device,
            started: SystemTime::now(),
            retired: AtomicBool::new(false),
            status: Mutex::new(Status {
                state: WorkerState::BackingOff(status.failures),
                reason: None,
                execution: None,
                failures: status.failures,
                failing_since: status.failing_since,
                deadline: None,
                given_up: false,
                first_load: None,
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
            execution: status.execution.clone(),
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

    /// Whether it serves, or loads its model for the first time and so may yet.
    pub(crate) fn may_serve(&self) -> bool {
        let status = self.status.lock();
        match status.state {
            WorkerState::Ready => true,
            WorkerState::Starting => status.failures == 0,
            _ => false,
        }
    }

    /// Counts one more failure; since when there have been any.
    pub(crate) fn fail(&self) -> Instant {
        self.status.lock().fail()
    }

    /// Why it does not serve, until it does again.
    pub(crate) fn note(&self, reason: &mar_handler::Error) {
        self.status.lock().reason = Some(reason.to_string());
    }

    /// What runs the model that it has now.
    pub(crate) fn runs_on(&self, execution: Execution) {
        self.status.lock().execution = Some(execution);
    }

    pub(crate) fn back_off(&self) {
        let mut status = self.status.lock();
        status.execution = None;
        status.state = WorkerState::BackingOff(status.failures);
    }

    pub(crate) fn start_loading(&self) {
        self.status.lock().state = WorkerState::Starting;
    }

    /// The thread should be back by then.
    pub(crate) fn expect_by(&self, deadline: Instant) {
        self.status.lock().deadline = Some(deadline);
    }

    /// The thread is back; false where it was given up meanwhile.
    pub(crate) fn come_back(&self) -> bool {
        let mut status = self.status.lock();
        status.deadline = None;
        !status.given_up
    }

    /// The model is loaded.
    pub(crate) fn become_ready(&self) -> FirstLoad {
        let mut status = self.status.lock();
        status.state = WorkerState::Ready;
        status.reason = None;
        status.failures = 0;
        status.failing_since = None;
        FirstLoad(status.first_load.take())
    }

    /// The model did not load or the thread hangs; it is tried again or it is not.
    pub(crate) fn become_failed(&self, error: &mar_handler::Error, again: bool) -> FirstLoad {
        let mut status = self.status.lock();
        status.reason = Some(error.to_string());
        status.execution = None;
        if again {
            status.state = WorkerState::BackingOff(status.failures);
        } else {
            status.state = WorkerState::Failed;
            status.place = None;
        }
        FirstLoad(status.first_load.take())
    }

    pub(crate) fn become_stopped(&self) {
        let mut status = self.status.lock();
        status.state = WorkerState::Stopped;
        status.execution = None;
        status.place = None;
        status.first_load = None;
    }

    /// When the thread should be back, where it is away.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.status.lock().deadline
    }

    /// Gives the thread up if it should have been back by now, which is a failure more; says what it was
    /// doing, and since when there have been failures.
    pub(crate) fn give_up(&self, now: Instant) -> Option<(WorkerState, Instant)> {
        let mut status = self.status.lock();
        if status.given_up || status.deadline.is_none_or(|deadline| deadline > now) {
            return None;
        }
        status.given_up = true;
        status.deadline = None;
        status.place = None;
        let since = status.fail();
        Some((status.state, since))
    }
}

impl Status {
    fn fail(&mut self) -> Instant {
        self.failures += 1;
        *self.failing_since.get_or_insert_with(Instant::now)
    }
}

impl FirstLoad {
    /// Whoever waited may have stopped waiting.
    pub(crate) fn tell(self, loaded: Result<()>) {
        if let Some(first_load) = self.0 {
            drop(first_load.send(loaded));
        }
    }
}
