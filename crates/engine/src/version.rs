//! One version of one model: its state, its queue, its workers, and a request's way through them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use mar_handler::{Error, ErrorCode, Handler, Request, Response, Result};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::pool::CpuPool;
use crate::queue::{Job, JobQueue, Refused};
use crate::worker::WorkerInfo;

/// Where a version is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Being unpacked and opened; requests wait.
    Loading,
    /// Serving.
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
    archive: PathBuf,
    state: watch::Sender<VersionState>,
    queue: Arc<JobQueue>,
    handler: OnceLock<SharedHandler>,
    workers: Mutex<Vec<RunningWorker>>,
}

/// A handler that many threads use. Handlers need not print themselves.
struct SharedHandler(Arc<dyn Handler>);

impl std::fmt::Debug for SharedHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handler")
    }
}

#[derive(Debug)]
pub(crate) struct RunningWorker {
    pub(crate) info: Arc<Mutex<WorkerInfo>>,
    pub(crate) thread: JoinHandle<()>,
}

impl ModelVersion {
    pub(crate) fn loading(
        name: String,
        version: String,
        archive: &Path,
        job_queue_size: usize,
    ) -> Self {
        Self {
            name,
            version,
            archive: archive.to_owned(),
            state: watch::Sender::new(VersionState::Loading),
            queue: JobQueue::new(job_queue_size),
            handler: OnceLock::new(),
            workers: Mutex::default(),
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

    /// The file or folder it came from.
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// Where it is in its life.
    pub fn state(&self) -> VersionState {
        self.state.borrow().clone()
    }

    /// Its workers as they are now.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.workers.lock().iter().map(|worker| worker.info.lock().clone()).collect()
    }

    /// How many requests wait, and how many more may.
    pub fn queue_load(&self) -> (usize, usize) {
        self.queue.load()
    }

    pub(crate) fn queue(&self) -> &Arc<JobQueue> {
        &self.queue
    }

    pub(crate) fn become_ready(&self, handler: Arc<dyn Handler>, workers: Vec<RunningWorker>) {
        *self.workers.lock() = workers;
        // Set once: a version is loaded once in its life.
        drop(self.handler.set(SharedHandler(handler)));
        self.state.send_replace(VersionState::Ready);
    }

    pub(crate) fn become_failed(&self, reason: &Error) {
        self.state.send_replace(VersionState::Failed(reason.to_string()));
    }

    /// Refuses new requests and lets the workers end once the queue is empty.
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

    /// Waits for the workers' threads. Blocks for as long as a forward pass takes.
    pub(crate) fn join(&self) {
        let workers = std::mem::take(&mut *self.workers.lock());
        for worker in workers {
            if worker.thread.join().is_err() {
                log::error!("{}: the worker's thread panicked", worker.info.lock().name);
            }
        }
        self.state.send_if_modified(|state| {
            let draining = *state == VersionState::Draining;
            if draining {
                *state = VersionState::Unloaded;
            }
            draining
        });
    }

    /// One request: a place in the queue, preprocess, a worker, postprocess.
    pub(crate) async fn predict(&self, pool: &CpuPool, request: Request) -> Result<Response> {
        let slot = self.queue.reserve().map_err(|refused| self.refusal(refused))?;
        let handler = self.ready_handler().await?;
        let request = Arc::new(request);
        let inputs = {
            let (handler, request) = (Arc::clone(&handler), Arc::clone(&request));
            pool.run("preprocess", move || handler.preprocess(&request)).await?
        };
        let (reply, answer) = oneshot::channel();
        slot.push(Job { inputs, reply });
        let outputs = answer.await.unwrap_or_else(|_| {
            let message = format!("the worker of model \"{}\" ended; send again", self.name);
            Err(Error::new(ErrorCode::WorkerDied, message))
        })?;
        pool.run("postprocess", move || handler.postprocess(outputs, &request)).await
    }

    /// The handler, once the version is loaded.
    async fn ready_handler(&self) -> Result<Arc<dyn Handler>> {
        let mut states = self.state.subscribe();
        let state = states
            .wait_for(|state| *state != VersionState::Loading)
            .await
            .map_or(VersionState::Unloaded, |state| state.clone());
        match (state, self.handler.get()) {
            (VersionState::Ready, Some(SharedHandler(handler))) => Ok(Arc::clone(handler)),
            (VersionState::Failed(reason), _) => Err(Error::new(
                ErrorCode::Unavailable,
                format!(
                    "model \"{}\" version \"{}\" did not load: {reason}",
                    self.name, self.version
                ),
            )),
            _ => Err(self.refusal(Refused::Closed)),
        }
    }

    fn refusal(&self, refused: Refused) -> Error {
        let message = match refused {
            Refused::Full => {
                let (waiting, _) = self.queue.load();
                format!(
                    "model \"{}\" has {waiting} requests waiting and takes no more; send again later or start with a larger --job-queue-size",
                    self.name
                )
            }
            Refused::Closed => format!("model \"{}\" is being unloaded", self.name),
        };
        Error::new(ErrorCode::Unavailable, message)
    }
}
