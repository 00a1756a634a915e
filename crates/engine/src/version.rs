//! One version of one model: its state, its queue, and a request's way through it. Its workers are in
//! `crew.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mar_handler::{Error, ErrorCode, Handler, Request, Result, Runtime, Tensor};
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::crew::Crew;
use crate::engine::Answered;
use crate::events::{Outcome, Timing, VersionEvents};
use crate::execution::Execution;
use crate::infer::{Interface, TensorAnswer, TensorRequest};
use crate::job::{Done, Job, Lane, Pending, Work};
use crate::network::Network;
use crate::plan::Plan;
use crate::pool::CpuPool;
use crate::probe::Probe;
use crate::queue::{JobQueue, Place, QueueRules, Refused, Slot};
use crate::samples::{KnownAnswers, SamplesReport};
use crate::seat::{WorkerInfo, WorkerState};
use crate::wait::Wait;
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

/// Counts one request in its version's events, from its arrival to its end.
#[derive(Debug)]
struct Counted<'a> {
    version: &'a ModelVersion,
    named: bool,
    arrived: Instant,
    timing: Timing,
    outcome: Outcome,
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

    /// A place for one request; `None` where the version is going away, so that another may have taken
    /// over.
    pub(crate) fn reserve(&self) -> Option<Result<Slot>> {
        match self.queue.reserve() {
            Ok(slot) => Some(Ok(slot)),
            Err(Refused::Closed) => None,
            Err(refused) => Some(Err(self.refusal(refused))),
        }
    }

    /// A request that got no place.
    pub(crate) fn refused(&self, named: bool, error: &Error) {
        Counted::begin(self, named).outcome = Outcome::Refused(error.code());
    }

    /// One request that has its place: preprocess, a worker, postprocess.
    pub(crate) async fn predict(
        &self,
        slot: Slot,
        pool: &CpuPool,
        request: Request,
        named: bool,
    ) -> Result<Answered> {
        let mut counted = Counted::begin(self, named);
        let answered = self.run(slot, pool, request, &mut counted).await;
        let timing = counted.end(answered.as_ref().err());
        answered.map(|response| Answered { response, timing })
    }

    /// Tensors that have their place: a worker, nothing before it or after it.
    pub(crate) async fn infer(
        &self,
        slot: Slot,
        request: TensorRequest,
        named: bool,
    ) -> Result<TensorAnswer> {
        let mut counted = Counted::begin(self, named);
        let answered = self.run_tensors(slot, request, &mut counted).await;
        let timing = counted.end(answered.as_ref().err());
        answered.map(|outputs| TensorAnswer { outputs, timing })
    }

    async fn run(
        &self,
        slot: Slot,
        pool: &CpuPool,
        request: Request,
        counted: &mut Counted<'_>,
    ) -> Result<mar_handler::Response> {
        let loaded = self.opened().await?;
        let plan = &loaded.plan;
        // The wait for the version to load has its own limit, so the request's begins here.
        let arrived = Instant::now();
        let deadline = arrived + plan.response_timeout;
        let id = request.id.clone();
        let request = Arc::new(request);
        let wait = loaded.wait(arrived, None);
        let place = Place::new(slot);
        let queued = {
            let bytes = request.parts.iter().map(|part| part.data.len()).sum();
            let (loaded, request) = (Arc::clone(&loaded), Arc::clone(&request));
            let (brief, place) = (loaded.handler.preprocess_is_brief(bytes), place.lent());
            let terms = wait.terms;
            // Whoever decodes it queues it, because waking this thread in between takes as long as a small picture.
            let preprocess = move || {
                let inputs = loaded.handler.preprocess(&request)?;
                let took = arrived.elapsed();
                let work = Work::of_handler(inputs, loaded.shares_batches());
                let (job, pending) = Job::new(id, work, terms);
                place.push(job);
                Ok((pending, took))
            };
            pool.run_or_hand_over(brief, "preprocess", deadline, preprocess).await
        };
        counted.timing.rows = 1;
        counted.timing.preprocess = arrived.elapsed();
        let (pending, took) = queued?;
        counted.timing.preprocess = took;
        let outputs = self.outputs(pending, wait, counted).await?;
        let encoding = Instant::now();
        // Encoding is the last stage: it has as long as a whole request, so that one which came back from
        // its worker just in time is not lost.
        let deadline = encoding + plan.response_timeout;
        let bytes = outputs.iter().map(|output| output.bytes().len()).sum();
        let brief = loaded.handler.postprocess_is_brief(bytes);
        let postprocess = move || loaded.handler.postprocess(outputs, &request);
        let response = pool.run_or_hand_over(brief, "postprocess", deadline, postprocess).await;
        counted.timing.postprocess = encoding.elapsed();
        response
    }

    async fn run_tensors(
        &self,
        slot: Slot,
        request: TensorRequest,
        counted: &mut Counted<'_>,
    ) -> Result<Vec<Tensor>> {
        let loaded = self.opened().await?;
        let wait = loaded.wait(Instant::now(), Some(&request));
        let TensorRequest { id, inputs, .. } = request;
        let rows = loaded.interface.rows(&inputs)?;
        counted.timing.rows = rows;
        let shares = loaded.interface.batched && loaded.shares_batches();
        let work = Work { lane: Lane::Network, inputs, rows, shares };
        let (job, pending) = Job::new(id, work, wait.terms);
        slot.push(job);
        self.outputs(pending, wait, counted).await
    }

    /// What a worker makes of a job that waits in the queue.
    async fn outputs(
        &self,
        pending: Pending,
        wait: Wait,
        counted: &mut Counted<'_>,
    ) -> Result<Vec<Tensor>> {
        let done = self.answer(pending, wait).await?;
        counted.timing.queue = done.queue;
        counted.timing.inference = done.batch.total();
        counted.timing.batch = done.batch;
        Ok(done.outputs)
    }

    /// Waits for what a worker makes of a job.
    async fn answer(&self, mut pending: Pending, wait: Wait) -> Result<Done> {
        // A job that was begun when its time in the queue is over may take until the overall deadline.
        for until in [wait.terms.deadline, wait.end] {
            match timeout_at(until.into(), &mut pending.reply).await {
                Ok(Ok(answer)) => return answer,
                // The queue drops a job whose time is over.
                _ if !pending.has_started() => return Err(wait.too_long(&self.name)),
                Ok(Err(_)) => {
                    let message = format!("Worker died. Model \"{}\": send again", self.name);
                    return Err(Error::new(ErrorCode::WorkerDied, message));
                }
                Err(_) => {}
            }
        }
        let message = format!(
            "Worker died. Model \"{}\" gave no answer within {} s (responseTimeout)",
            self.name,
            wait.end.saturating_duration_since(wait.terms.arrived).as_secs_f32()
        );
        Err(Error::new(ErrorCode::WorkerDied, message))
    }

    /// What the version is made of, once it is loaded.
    async fn opened(&self) -> Result<Arc<Loaded>> {
        let mut state = self.state();
        if state == VersionState::Loading {
            state = self.no_longer_loading().await?;
        }
        match (state, self.loaded.get()) {
            (VersionState::Failed(reason), _) => Err(Error::new(
                ErrorCode::Unavailable,
                format!(
                    "model \"{}\" version \"{}\" did not load: {reason}",
                    self.name, self.version
                ),
            )),
            // A request that is in is answered, whatever becomes of the version meanwhile.
            (_, Some(loaded)) => Ok(Arc::clone(loaded)),
            (_, None) => Err(self.going_away()),
        }
    }

    /// Waits until it is loaded, or will not be.
    async fn no_longer_loading(&self) -> Result<VersionState> {
        let begun = Instant::now();
        let mut states = self.state.subscribe();
        loop {
            let limit = self.plan().map_or(self.startup_timeout, |plan| plan.startup_timeout);
            let loaded = states.wait_for(|state| *state != VersionState::Loading);
            match timeout_at((begun + limit).into(), loaded).await {
                Ok(state) => return Ok(state.map_or(VersionState::Unloaded, |state| state.clone())),
                // Meanwhile it may be known to take longer.
                Err(_) if self.plan().is_some_and(|plan| plan.startup_timeout > limit) => {}
                Err(_) => return Err(self.still_loading(limit)),
            }
        }
    }

    fn still_loading(&self, waited: Duration) -> Error {
        let message = format!(
            "model \"{}\" version \"{}\" is still loading after {} s (startupTimeout); send again later",
            self.name,
            self.version,
            waited.as_secs_f32()
        );
        Error::new(ErrorCode::Overloaded, message)
    }

    pub(crate) fn going_away(&self) -> Error {
        let message = format!("model \"{}\" is being unloaded", self.name);
        Error::new(ErrorCode::Unavailable, message)
    }

    fn refusal(&self, refused: Refused) -> Error {
        let (name, version) = (&self.name, &self.version);
        let (code, message) = match refused {
            Refused::Full => (
                ErrorCode::Overloaded,
                format!(
                    "model \"{name}\" version \"{version}\" has {} requests waiting and takes no more; send again later, or give it more workers or a larger job_queue_size",
                    self.queue.load().0
                ),
            ),
            Refused::Busy => (
                ErrorCode::Overloaded,
                format!(
                    "model \"{name}\" version \"{version}\" has no idle worker, and takes requests only where one is (useJobTicket); send again later"
                ),
            ),
            Refused::NoWorkers => (ErrorCode::Unavailable, self.no_workers()),
            Refused::Closed => return self.going_away(),
        };
        Error::new(code, message)
    }

    fn no_workers(&self) -> String {
        let (name, version) = (&self.name, &self.version);
        let failed = self.workers().into_iter().find_map(|worker| worker.reason);
        match (failed, self.state().reason()) {
            (Some(reason), _) => {
                format!("model \"{name}\" version \"{version}\" has no worker left: {reason}")
            }
            (None, Some(reason)) => {
                format!("model \"{name}\" version \"{version}\" did not load: {reason}")
            }
            (None, None) => format!(
                "model \"{name}\" version \"{version}\" has no worker to serve it; scale it up with PUT /models/{name}?min_worker=1"
            ),
        }
    }
}

impl<'a> Counted<'a> {
    fn begin(version: &'a ModelVersion, named: bool) -> Self {
        version.events.received(named);
        Self {
            version,
            named,
            arrived: Instant::now(),
            timing: Timing::default(),
            outcome: Outcome::Abandoned,
        }
    }

    /// Counts it as ended now, with this error or an answer.
    fn end(mut self, error: Option<&Error>) -> Timing {
        self.outcome = error.map_or(Outcome::Answered, |error| Outcome::Refused(error.code()));
        self.timing.total = self.arrived.elapsed();
        self.timing
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.timing.total = self.arrived.elapsed();
        self.version.events.finished(self.named, self.outcome, &self.timing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchPolicy;
    use crate::events::NoEvents;

    #[tokio::test]
    async fn a_request_to_a_version_that_never_opens_is_answered() {
        let policy = BatchPolicy::of(1, Duration::ZERO);
        let rules = QueueRules { capacity: 1, policy, idle_only: false };
        let identity = Identity {
            name: "m".into(),
            version: "1".into(),
            url: String::new(),
            archive: PathBuf::new(),
            at_startup: false,
            network: None,
            startup_timeout: Duration::from_millis(20),
        };
        let workshop = Workshop::open(1, Duration::ZERO).unwrap();
        let version = ModelVersion::loading(identity, rules, Arc::new(NoEvents), workshop);
        let pool = CpuPool::new(1).unwrap();
        let slot = version.reserve().unwrap().unwrap();
        let answer = version.predict(slot, &pool, Request::default(), false);
        let error =
            tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Overloaded);
        assert!(error.message().contains("still loading after 0.02 s"), "{error}");
        assert!(version.reserve().unwrap().is_ok(), "its place is free again");
        version.workshop.close();
    }
}
