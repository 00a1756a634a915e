//! One version of one model: its state and its queue. A request's way through it is in `way`, its workers are in
//! `crew.rs`.

mod way;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mar_handler::{Error, Handler, Runtime};
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::crew::Crew;
use crate::events::VersionEvents;
use crate::execution::Execution;
use crate::infer::Interface;
use crate::network::Network;
use crate::plan::Plan;
use crate::probe::Probe;
use crate::queue::{JobQueue, QueueRules};
use crate::samples::{KnownAnswers, SamplesReport};
use crate::seat::{WorkerInfo, WorkerState};
use crate::weights::Weights;
use crate::workshop::Workshop;

/// Where a version is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Being unpacked and opened; requests wait.
    Loading,
    /// Serving, or ready to serve once it is given workers.
    Ready,
    /// Answering what is in, refusing what is new.
    Draining,
    /// Gone.
    Unloaded,
    /// Could not be loaded; this is the first cause, in one line.
    Failed(String),
}

impl VersionState {
    /// The state in a word, as tables and clients see it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Ready => "READY",
            Self::Draining => "DRAINING",
            Self::Unloaded => "UNLOADED",
            Self::Failed(_) => "FAILED",
        }
    }

    /// Why it failed, where it did.
    pub fn reason(&self) -> Option<&str> {
        if let Self::Failed(reason) = self { Some(reason) } else { None }
    }
}

/// One version of one model.
#[derive(Debug)]
pub struct ModelVersion {
    name: String,
    version: String,
    url: String,
    archive: PathBuf,
    at_startup: bool,
    network: Option<Arc<Network>>,
    /// How long a request waits while it is opened, and the plan does not say yet.
    startup_timeout: Duration,
    state: watch::Sender<VersionState>,
    pub(crate) queue: Arc<JobQueue>,
    events: Arc<dyn VersionEvents>,
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) loaded: OnceLock<Arc<Loaded>>,
    pub(crate) crew: Mutex<Crew>,
    /// A worker's thread has ended or was given up.
    pub(crate) crew_changed: Condvar,
}

/// What a version is made of once its archive is unpacked and its handler made.
pub(crate) struct Loaded {
    pub(crate) handler: Box<dyn Handler>,
    /// What the handler calls the places of the output that it reads.
    pub(crate) labels: Option<Arc<[String]>>,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// The weights' file.
    pub(crate) file: PathBuf,
    /// What its runtime is asked.
    pub(crate) options: Map<String, Value>,
    /// Where its runtime may keep what it makes of the file.
    pub(crate) cache: Option<PathBuf>,
    /// Where its archive was unpacked.
    pub(crate) unpacked: Option<PathBuf>,
    pub(crate) plan: Plan,
    pub(crate) interface: Interface,
    /// The network that it is, where it lies in no archive.
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) samples: KnownAnswers,
    pub(crate) weights: Weights,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Loaded {
    /// Whether its requests may share batches at all.
    pub(crate) fn shares_batches(&self) -> bool {
        let shares = |network: &Arc<Network>| network.scheduling.dynamic && self.interface.batched;
        self.network.as_ref().is_none_or(shares)
    }

    /// What its network may be tried on when it is loaded.
    pub(crate) fn probe(&self) -> Probe<'_> {
        Probe {
            handler: self.handler.as_ref(),
            interface: &self.interface,
            samples: self.samples.to_replay(),
            network: self.network.as_deref(),
        }
    }
}

/// Who a version is, before anything of it is unpacked.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) url: String,
    pub(crate) archive: PathBuf,
    pub(crate) at_startup: bool,
    pub(crate) network: Option<Arc<Network>>,
    pub(crate) startup_timeout: Duration,
}

impl ModelVersion {
    pub(crate) fn loading(
        identity: Identity,
        rules: QueueRules,
        events: Arc<dyn VersionEvents>,
        workshop: Arc<Workshop>,
    ) -> Self {
        let Identity { name, version, url, archive, at_startup, network, startup_timeout } =
            identity;
        Self {
            name,
            version,
            url,
            archive,
            at_startup,
            network,
            startup_timeout,
            state: watch::Sender::new(VersionState::Loading),
            queue: JobQueue::new(rules),
            events,
            workshop,
            loaded: OnceLock::new(),
            crew: Mutex::default(),
            crew_changed: Condvar::new(),
        }
    }

    /// The name it is served under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, as the archive's manifest has it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where it was registered from, as it was asked for.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file or folder it came from.
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// Whether it was loaded at the server's start.
    pub fn loaded_at_startup(&self) -> bool {
        self.at_startup
    }

    /// Where it is in its life.
    pub fn state(&self) -> VersionState {
        self.state.borrow().clone()
    }

    /// What it is served with; `None` until its archive is unpacked.
    pub fn plan(&self) -> Option<&Plan> {
        self.loaded.get().map(|loaded| &loaded.plan)
    }

    /// What runs its network; `None` until its archive is unpacked.
    pub fn runtime_name(&self) -> Option<&'static str> {
        self.loaded.get().map(|loaded| loaded.runtime.name())
    }

    /// What runs its network, as the first of its workers that has loaded it tells.
    pub fn execution(&self) -> Option<Execution> {
        self.workers().into_iter().find_map(|worker| worker.execution)
    }

    /// The file that its network lies in; `None` until its archive is unpacked.
    pub fn weights_file(&self) -> Option<&Path> {
        self.loaded.get().map(|loaded| loaded.file.as_path())
    }

    /// What its handler tells of it; `None` until its archive is unpacked.
    pub fn customized(&self) -> Option<Map<String, Value>> {
        self.loaded.get().map(|loaded| loaded.handler.describe())
    }

    /// What its handler calls the places of the output that it reads, where it tells any labels. Read once, when
    /// it is opened.
    pub fn labels(&self) -> Option<Arc<[String]>> {
        self.loaded.get()?.labels.clone()
    }

    /// What its network takes and gives; `None` until it is opened.
    pub fn interface(&self) -> Option<&Interface> {
        self.loaded.get().map(|loaded| &loaded.interface)
    }

    /// The network that it is, where it lies in no archive.
    pub fn network(&self) -> Option<&Arc<Network>> {
        self.network.as_ref()
    }

    /// Who hears what happens to it: what [`Events::version`](crate::Events::version) made for it.
    pub fn listener(&self) -> &dyn VersionEvents {
        self.events.as_ref()
    }

    /// What its known answers came to when its weights were loaded; `None` until its archive is unpacked.
    pub fn samples(&self) -> Option<SamplesReport> {
        self.loaded.get().map(|loaded| loaded.samples.report())
    }

    /// Its workers as they are now.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.crew.lock().seats.iter().map(|seat| seat.info()).collect()
    }

    /// Workers at least and at most, as last asked for.
    pub fn worker_limits(&self) -> (usize, usize) {
        let crew = self.crew.lock();
        (crew.min, crew.max)
    }

    /// Whether it has a worker that serves.
    pub fn is_serving(&self) -> bool {
        self.crew.lock().seats.iter().any(|seat| seat.state() == WorkerState::Ready)
    }

    /// How many requests wait, and how many more may.
    pub fn queue_load(&self) -> (usize, usize) {
        self.queue.load()
    }

    /// How many requests are ready to run and wait for a worker; those that are being prepared are not among them.
    pub fn requests_ready(&self) -> usize {
        self.queue.ready()
    }

    pub(crate) fn queue(&self) -> &Arc<JobQueue> {
        &self.queue
    }

    /// Could not be opened.
    pub(crate) fn become_failed(&self, reason: &Error) {
        self.change_state(|state| {
            (*state == VersionState::Loading).then(|| VersionState::Failed(reason.to_string()))
        });
    }

    /// Changes the state to what comes after it, if anything does; says whether it did.
    pub(crate) fn change_state(
        &self,
        next: impl FnOnce(&VersionState) -> Option<VersionState>,
    ) -> bool {
        self.state.send_if_modified(|state| match next(state) {
            Some(next) => {
                *state = next;
                true
            }
            None => false,
        })
    }
}
