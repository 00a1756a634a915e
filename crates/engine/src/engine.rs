//! Loads archives, answers requests, and ends in good order.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use mar::{Archive, Manifest};
use mar_handler::{
    Context, Device, Error, ErrorCode, Handler, LoadSpec, Registration, Request, Response, Result,
    Runtime,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::config::EngineConfig;
use crate::events::{Events, Timing};
use crate::in_flight::{InFlight, Ticket};
use crate::pool::CpuPool;
use crate::registry::{ModelEntry, Registry};
use crate::version::{ModelVersion, RunningWorker};
use crate::work_dir::WorkDir;
use crate::worker::{Worker, WorkerInfo, WorkerState};

/// The version shown for an archive whose manifest could not be read.
const UNKNOWN_VERSION: &str = "unknown";

/// Every model there is, and what runs them.
pub struct Engine {
    config: EngineConfig,
    handlers: Vec<Registration>,
    runtimes: Vec<Arc<dyn Runtime>>,
    registry: Registry,
    pool: CpuPool,
    work_dir: WorkDir,
    in_flight: InFlight,
    draining: AtomicBool,
    #[expect(dead_code, reason = "versions ask it for their listener once they count")]
    events: Arc<dyn Events>,
}

/// A request that the engine has taken in and will see to its end.
#[derive(Debug)]
pub struct Admission {
    _ticket: Ticket,
}

/// A response, and where its time went.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The handler's response.
    pub response: Response,
    /// The time it took, stage by stage.
    pub timing: Timing,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without models.
    ///
    /// # Errors
    /// Where the threads or the folder for unpacked archives cannot be made.
    pub fn new(
        config: EngineConfig,
        handlers: Vec<Registration>,
        runtimes: Vec<Arc<dyn Runtime>>,
        events: Arc<dyn Events>,
    ) -> Result<Self> {
        let work_dir = WorkDir::create(&config.temp_dir).map_err(|error| {
            Error::new(
                ErrorCode::Internal,
                format!("cannot make a folder in {}: {error}", config.temp_dir.display()),
            )
            .caused_by(error)
        })?;
        let pool = CpuPool::new(config.cpu_threads)?;
        Ok(Self {
            config,
            handlers,
            runtimes,
            registry: Registry::default(),
            pool,
            work_dir,
            in_flight: InFlight::new(),
            draining: AtomicBool::new(false),
            events,
        })
    }

    /// Loads an archive under the name given, else under its manifest's. Blocks until the version is
    /// ready or has failed, and registers it either way, so that the reason can be asked for.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`] where that name and version is taken; nothing is registered then.
    pub fn load(&self, name: Option<&str>, archive_path: &Path) -> Result<Arc<ModelVersion>> {
        let opened = Archive::open(archive_path).map_err(|error| invalid(&error));
        let (manifest_name, version) = match &opened {
            Ok(archive) => {
                let model = &archive.manifest().model;
                (model.model_name.clone(), model.model_version.clone())
            }
            Err(_) => (file_stem(archive_path), UNKNOWN_VERSION.to_owned()),
        };
        let name = name.map_or(manifest_name, str::to_owned);
        let version = Arc::new(ModelVersion::loading(
            name,
            version,
            archive_path,
            self.config.defaults.job_queue_size,
        ));
        self.registry.add(Arc::clone(&version))?;
        match opened.and_then(|archive| self.open(&archive, &version)) {
            Ok((handler, worker)) => version.become_ready(handler, vec![worker]),
            Err(error) => version.become_failed(&error),
        }
        Ok(version)
    }

    /// Unpacks an archive, makes its handler and starts its worker.
    fn open(
        &self,
        archive: &Archive,
        version: &ModelVersion,
    ) -> Result<(Arc<dyn Handler>, RunningWorker)> {
        let manifest = archive.manifest();
        let registration = self.handler(manifest)?;
        let weights = weights(manifest)?;
        let runtime = self.runtime(weights)?;
        let model_dir = self.work_dir.fresh();
        archive.extract(&model_dir).map_err(|error| invalid(&error))?;
        let config = match &manifest.model.config_file {
            Some(file) => {
                mar::read_config(&model_dir.join(file)).map_err(|error| invalid(&error))?
            }
            None => Map::new(),
        };
        let device = device(&config, runtime.as_ref())?;
        let file = model_dir.join(weights);
        let context = Context {
            model_name: version.name().to_owned(),
            model_version: version.version().to_owned(),
            model_dir,
            config,
        };
        let handler: Arc<dyn Handler> = Arc::from(registration.initialize(&context)?);
        let spec = LoadSpec { file, device, intra_op_threads: self.config.cores };
        let worker = self.start_worker(version, &handler, runtime, spec)?;
        Ok((handler, worker))
    }

    fn start_worker(
        &self,
        version: &ModelVersion,
        handler: &Arc<dyn Handler>,
        runtime: Arc<dyn Runtime>,
        spec: LoadSpec,
    ) -> Result<RunningWorker> {
        let info = Arc::new(Mutex::new(WorkerInfo {
            name: format!("{}-{}-{}-0", version.name(), version.version(), spec.device),
            device: spec.device,
            state: WorkerState::Starting,
            started: SystemTime::now(),
        }));
        let worker = Worker {
            runtime,
            spec,
            handler: Arc::clone(handler),
            queue: Arc::clone(version.queue()),
            info: Arc::clone(&info),
            backoff_step: self.config.backoff_step,
        };
        let (first_load, loaded) = mpsc::sync_channel(1);
        let thread = worker.spawn(first_load)?;
        loaded.recv().unwrap_or_else(|_| {
            Err(Error::new(ErrorCode::Internal, "the worker ended before its model was loaded"))
        })?;
        Ok(RunningWorker { info, thread })
    }

    fn handler(&self, manifest: &Manifest) -> Result<Registration> {
        let known = || self.handlers.iter().map(Registration::name).collect::<Vec<_>>().join(", ");
        let Some(name) = &manifest.model.handler else {
            return Err(Error::invalid_model(format!(
                "the manifest names no handler; pack it with --handler, one of: {}",
                known()
            )));
        };
        self.handlers.iter().find(|handler| handler.name() == name).copied().ok_or_else(|| {
            let hint = if name.contains(".py") || name.contains(':') {
                "; Python handlers are not run"
            } else {
                ""
            };
            Error::invalid_model(format!("no handler \"{name}\"{hint}; known: {}", known()))
        })
    }

    fn runtime(&self, weights: &str) -> Result<Arc<dyn Runtime>> {
        let extension = Path::new(weights).extension().unwrap_or_default().to_string_lossy();
        let opens = |runtime: &&Arc<dyn Runtime>| {
            runtime.extensions().iter().any(|known| known.eq_ignore_ascii_case(&extension))
        };
        self.runtimes.iter().find(opens).cloned().ok_or_else(|| {
            let known: Vec<String> = self
                .runtimes
                .iter()
                .flat_map(|runtime| runtime.extensions().iter().map(|e| format!(".{e}")))
                .collect();
            Error::invalid_model(format!(
                "no runtime here opens {weights}; this build opens: {}",
                if known.is_empty() { "nothing".into() } else { known.join(", ") }
            ))
        })
    }

    /// Takes a request in, before its body is read: it counts as on its way until the admission is
    /// dropped, so that a shutdown lets it finish.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where the server is going down.
    pub fn admit(&self) -> Result<Admission> {
        let ticket = self.in_flight.enter();
        if self.is_draining() {
            return Err(Error::new(ErrorCode::Unavailable, "the server is shutting down"));
        }
        Ok(Admission { _ticket: ticket })
    }

    /// Answers one admitted request to a model.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`]; [`ErrorCode::Unavailable`] where
    /// the queue is full or the version did not load; else what the handler or the model reports.
    pub async fn predict(
        &self,
        _admission: &Admission,
        model: &str,
        version: Option<&str>,
        request: Request,
    ) -> Result<Answered> {
        let response = self.registry.version(model, version)?.predict(&self.pool, request).await?;
        Ok(Answered { response, timing: Timing::default() })
    }

    /// Every model, by name.
    pub fn models(&self) -> Vec<(String, ModelEntry)> {
        self.registry.models()
    }

    /// One model.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`].
    pub fn model(&self, name: &str) -> Result<ModelEntry> {
        self.registry.model(name)
    }

    /// One version of a model; the default where none is named.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`].
    pub fn version(&self, name: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
        self.registry.version(name, version)
    }

    /// How many requests are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// Whether the engine takes no more requests.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Refuses new requests, lets those on their way finish, and ends the workers. `Err` with the
    /// number still on their way where `grace` was not enough; their workers are left to the end of
    /// the process.
    pub async fn drain(self: &Arc<Self>, grace: Duration) -> Result<(), usize> {
        self.draining.store(true, Ordering::Release);
        let in_time = tokio::time::timeout(grace, self.in_flight.empty()).await.is_ok();
        let versions: Vec<_> = self.models().into_iter().flat_map(|(_, m)| m.versions).collect();
        for version in &versions {
            version.close();
        }
        if !in_time {
            return Err(self.in_flight());
        }
        let joined = tokio::task::spawn_blocking(move || versions.iter().for_each(|v| v.join()));
        match tokio::time::timeout(grace, joined).await {
            Ok(_) => Ok(()),
            Err(_) => Err(0),
        }
    }

    /// Removes the unpacked archives, once nothing is to be loaded again.
    pub fn remove_files(&self) {
        self.work_dir.remove();
    }
}

/// The weights' file name in a manifest.
fn weights(manifest: &Manifest) -> Result<&str> {
    if let Some(model_file) = &manifest.model.model_file {
        return Err(Error::invalid_model(format!(
            "{model_file} is an eager model, which needs Python; export it with torch.jit.trace and pack it without --model-file"
        )));
    }
    manifest.model.serialized_file.as_deref().ok_or_else(|| {
        Error::invalid_model("the manifest names no weights; pack them with --serialized-file")
    })
}

/// Where a version runs: `deviceType` of `model-config.yaml`, else CUDA where there is any.
fn device(config: &Map<String, Value>, runtime: &dyn Runtime) -> Result<Device> {
    let cuda = runtime.cuda_devices();
    match config.get("deviceType").map(|value| value.as_str().unwrap_or("not a word")) {
        Some("cpu") => Ok(Device::Cpu),
        Some("gpu") if cuda == 0 => Err(Error::invalid_model(format!(
            "deviceType in model-config.yaml is gpu, and {} finds no CUDA device",
            runtime.name()
        ))),
        Some("gpu") => Ok(Device::Cuda(0)),
        None | Some("") if cuda > 0 => Ok(Device::Cuda(0)),
        None | Some("") => Ok(Device::Cpu),
        Some(_) => Err(Error::invalid_model(format!(
            "deviceType in model-config.yaml is {}; use cpu or gpu",
            config["deviceType"]
        ))),
    }
}

fn invalid(error: &mar::Error) -> Error {
    Error::invalid_model(error.to_string())
}

/// The name of an archive that names no model: its file's, up to the first dot.
fn file_stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
