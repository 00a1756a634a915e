//! Registers, scales and unloads models, answers requests, and ends in good order.

mod outside;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mar_handler::{Device, Error, ErrorCode, Registration, Request, Response, Result, Runtime};

use crate::batch::BatchPolicy;
use crate::config::{EngineConfig, Overrides};
use crate::crew::Scaling;
use crate::events::{Events, Timing};
use crate::in_flight::{InFlight, Ticket};
use crate::network::Network;
use crate::open::{Opener, Source};
use crate::pool::{CpuPool, panicked};
use crate::queue::{QueueRules, Slot};
use crate::registry::{ModelEntry, Registry};
use crate::version::{Identity, ModelVersion, VersionState};
use crate::work_dir::WorkDir;
use crate::workshop::Workshop;
pub use outside::NetworkFile;

/// The version shown for an archive whose manifest could not be read.
const UNKNOWN_VERSION: &str = "unknown";

/// Every model there is, and what runs them.
pub struct Engine {
    config: EngineConfig,
    opener: Opener,
    registry: Registry,
    pool: CpuPool,
    workshop: Arc<Workshop>,
    work_dir: WorkDir,
    in_flight: InFlight,
    starting: AtomicBool,
    draining: AtomicBool,
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

/// An archive to serve, and how.
#[derive(Clone, Debug, Default)]
pub struct LoadRequest {
    /// The file or folder.
    pub archive: PathBuf,
    /// Where it came from, as it was asked for; at the server's start, its file's name by default.
    pub url: String,
    /// The network itself, where it lies in no archive; `archive` is the folder that it was found in then.
    pub network: Option<Arc<Network>>,
    /// The name to serve it under, where it is not to be the manifest's.
    pub name: Option<String>,
    /// What goes before the archive's own settings.
    pub overrides: Overrides,
    /// Workers at least and at most, whatever the archive says: a version that comes back as it was.
    pub workers: Option<(usize, usize)>,
    /// Whether it is loaded at the server's start.
    pub at_startup: bool,
    /// Whether it takes the place of the version of the same name and number, once it serves; with as many
    /// workers, where nothing else is said.
    pub replace: bool,
}

/// A version that is registered, and its workers on their way.
#[derive(Debug)]
pub struct Registered {
    /// The version.
    pub version: Arc<ModelVersion>,
    scaling: Scaling,
    replaces: bool,
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
        let work_dir = WorkDir::create(&config.temp_dir)?;
        let pool = CpuPool::new(config.cpu_threads)?;
        let workshop = Workshop::open(config.cores, config.backoff_step)?;
        Ok(Self {
            config,
            opener: Opener { handlers, runtimes },
            registry: Registry::default(),
            pool,
            workshop,
            work_dir,
            in_flight: InFlight::new(),
            starting: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            events,
        })
    }

    /// Opens an archive, registers it as a version and starts its workers. Blocks while it is unpacked,
    /// not while the workers load; see [`Engine::finish`].
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`] where the archive cannot be served, [`ErrorCode::Conflict`] where that
    /// name and version is taken. Nothing is registered then.
    pub fn register(&self, request: &LoadRequest) -> Result<Registered> {
        let source = Source::of(request)?;
        let (name, version) = source.identity(&request.archive);
        let name = request.name.clone().unwrap_or(name);
        let version = self.version_of(request, name, version);
        let mut request = request.clone();
        if !request.replace {
            self.registry.add(Arc::clone(&version))?;
        } else if request.workers.is_none() && request.overrides.min_workers.is_none() {
            // As many as the one that it replaces has now.
            let old = self.registry.version(version.name(), Some(version.version())).ok();
            request.workers = old.map(|old| old.worker_limits());
        }
        let started = self.start(&source, &version, &request);
        match started {
            Ok(scaling) => Ok(Registered { version, scaling, replaces: request.replace }),
            Err(error) => {
                self.discard(&version);
                Err(error)
            }
        }
    }

    /// Waits until the workers of a registered version have loaded. Where it replaces another, it takes
    /// over then, without a request lost: what the old one has it answers, and what comes goes to the new
    /// one. Blocks.
    ///
    /// # Errors
    /// The first failure of a worker; the version is gone then, and the one that it was to replace goes on
    /// serving.
    pub fn finish(&self, registered: Registered) -> Result<Arc<ModelVersion>> {
        let Registered { version, scaling, replaces } = registered;
        if let Err(error) = scaling.wait() {
            self.discard(&version);
            return Err(error);
        }
        if replaces {
            let old = self.registry.put(Arc::clone(&version));
            // What was asked for is done, however the old one ends.
            if let Some(Err(error)) = old.map(|old| self.unload(&old)) {
                log::warn!("{error}");
            }
            if self.is_draining() {
                // The end that began meanwhile did not see this one.
                version.close();
            }
        }
        Ok(version)
    }

    /// Loads an archive at the server's start, under its own name or another. See
    /// [`Engine::load_as`].
    ///
    /// # Errors
    /// Those of [`Engine::load_as`].
    pub fn load(&self, name: Option<&str>, archive: &Path) -> Result<Arc<ModelVersion>> {
        self.load_as(&LoadRequest {
            archive: archive.to_owned(),
            name: name.map(str::to_owned),
            ..LoadRequest::default()
        })
    }

    /// Loads an archive at the server's start. Blocks until the version is ready or has failed, and
    /// registers it either way, so that the reason can be asked for.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`] where that name and version is taken; nothing is registered then.
    pub fn load_as(&self, request: &LoadRequest) -> Result<Arc<ModelVersion>> {
        let path = &request.archive;
        let opened = Source::of(request);
        let (own_name, version) = match &opened {
            Ok(source) => source.identity(path),
            Err(_) => (file_stem(path), UNKNOWN_VERSION.to_owned()),
        };
        let mut request = LoadRequest { at_startup: true, ..request.clone() };
        if request.url.is_empty() {
            request.url = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        let name = request.name.clone().unwrap_or(own_name);
        let version = self.version_of(&request, name, version);
        self.registry.add(Arc::clone(&version))?;
        match opened.and_then(|source| self.start(&source, &version, &request)) {
            // A worker that fails says so in the version's state, and tries again.
            Ok(scaling) => scaling.wait_for_state(),
            Err(error) => version.become_failed(&error),
        }
        Ok(version)
    }

    fn version_of(
        &self,
        request: &LoadRequest,
        name: String,
        version: String,
    ) -> Arc<ModelVersion> {
        let defaults = &self.config.defaults;
        let rules = QueueRules {
            capacity: defaults.job_queue_size,
            policy: BatchPolicy::of(1, Duration::ZERO),
            idle_only: false,
        };
        let events = self.events.version(&name, &version);
        let identity = Identity {
            name,
            version,
            url: request.url.clone(),
            archive: request.archive.clone(),
            at_startup: request.at_startup,
            network: request.network.clone(),
            startup_timeout: defaults.startup_timeout,
        };
        Arc::new(ModelVersion::loading(identity, rules, events, Arc::clone(&self.workshop)))
    }

    /// Opens what is to be served and sends its first workers out.
    fn start(
        &self,
        source: &Source,
        version: &Arc<ModelVersion>,
        request: &LoadRequest,
    ) -> Result<Scaling> {
        // After it was registered: the end that began before now may not have seen it.
        self.refuse_if_draining()?;
        let model_dir = self.work_dir.fresh();
        let open = || self.opener.open(source, version, request, (&self.config, model_dir.clone()));
        let opened = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
            Err(Error::invalid_model(panicked("initialize", panic.as_ref()).message()))
        });
        let loaded = opened.inspect_err(|_| remove_folder(&model_dir))?;
        let (min, max) = (loaded.plan.min_workers, loaded.plan.max_workers);
        version.open(loaded);
        self.workshop.watch_over(version);
        version.scale(min, max, None)
    }

    /// Undoes a registration.
    fn discard(&self, version: &Arc<ModelVersion>) {
        self.registry.forget(version);
        // Nobody waits here for workers that still load.
        version.close();
        if let Some(folder) = version.folder() {
            remove_folder(&folder);
        }
    }

    /// Sets a version's limits of workers: starts some where there are fewer than `min`, ends the newest
    /// where there are more than `max`. `devices` limits new ones to the first so many of its devices.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`]; [`ErrorCode::Unavailable`] where the
    /// version is not loaded.
    pub fn scale(
        &self,
        name: &str,
        version: Option<&str>,
        (min, max): (usize, usize),
        devices: Option<usize>,
    ) -> Result<Scaling> {
        self.registry.version(name, version)?.scale(min, max, devices)
    }

    /// Makes a version the one that answers where a client names none.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`].
    pub fn set_default(&self, name: &str, version: &str) -> Result<()> {
        self.registry.set_default(name, version)
    }

    /// Takes a version out, the default where none is named: no new request reaches it. It is to be
    /// unloaded then; see [`Engine::unload`].
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`]; [`ErrorCode::DefaultVersion`] where
    /// others are there.
    pub fn take_out(&self, name: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
        self.registry.remove(name, version)
    }

    /// Ends a version that was taken out: the requests it has are answered, its workers end, its files go.
    /// Blocks.
    ///
    /// # Errors
    /// [`ErrorCode::Timeout`] where its workers did not end in time.
    pub fn unload(&self, version: &Arc<ModelVersion>) -> Result<()> {
        version.close();
        let ended = version.ended_within(self.config.unload_timeout);
        if let Some(folder) = version.folder() {
            remove_folder(&folder);
        }
        version.release_memory();
        if ended {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Timeout,
            format!(
                "model \"{}\" version \"{}\" is unregistered, but its workers did not end within {} s (unregister_model_timeout)",
                version.name(),
                version.version(),
                self.config.unload_timeout.as_secs_f32()
            ),
        ))
    }

    /// Takes a request in, before its body is read: it counts as on its way until the admission is
    /// dropped, so that a shutdown lets it finish.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where the server is going down.
    pub fn admit(&self) -> Result<Admission> {
        let ticket = self.in_flight.enter();
        self.refuse_if_draining()?;
        Ok(Admission { _ticket: ticket })
    }

    fn refuse_if_draining(&self) -> Result<()> {
        if self.is_draining() {
            return Err(Error::new(ErrorCode::Unavailable, "the server is shutting down"));
        }
        Ok(())
    }

    /// Answers one admitted request to a model.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`]; [`ErrorCode::Overloaded`] where the
    /// queue is full; [`ErrorCode::Unavailable`] where the version did not load or has no worker; else
    /// what the handler or the model reports.
    pub async fn predict(
        &self,
        _admission: &Admission,
        model: &str,
        version: Option<&str>,
        request: Request,
    ) -> Result<Answered> {
        let (found, slot) = self.place(model, version)?;
        found.predict(slot, &self.pool, request, version.is_some()).await
    }

    /// The version that is meant, and a place in its queue.
    pub(crate) fn place(
        &self,
        model: &str,
        version: Option<&str>,
    ) -> Result<(Arc<ModelVersion>, Slot)> {
        let named = version.is_some();
        let mut left: Option<Arc<ModelVersion>> = None;
        loop {
            let found = self.registry.version(model, version)?;
            match found.reserve() {
                Some(Ok(slot)) => return Ok((found, slot)),
                Some(Err(error)) => {
                    found.refused(named, &error);
                    return Err(error);
                }
                // It was found an instant before it went: another may have taken its place.
                None if left.as_ref().is_none_or(|left| !Arc::ptr_eq(left, &found)) => {
                    left = Some(found);
                }
                None => {
                    let error = found.going_away();
                    found.refused(named, &error);
                    return Err(error);
                }
            }
        }
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

    /// The device that answers nothing any more, if there is one: the process has to start anew.
    pub fn lost_device(&self) -> Option<Device> {
        *self.workshop.lost().borrow()
    }

    /// Returns once a device is lost.
    pub async fn device_lost(&self) -> Device {
        let mut lost = self.workshop.lost();
        loop {
            if let Some(device) = *lost.borrow_and_update() {
                return device;
            }
            if lost.changed().await.is_err() {
                // The engine has gone, and with it every device's workers.
                std::future::pending::<()>().await;
            }
        }
    }

    /// How many requests are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// Whether models of the server's start are still to be loaded.
    pub fn is_starting(&self) -> bool {
        self.starting.load(Ordering::Acquire)
    }

    /// Says whether models of the server's start are still to be loaded: nobody else knows of one that comes
    /// after the one that is being loaded.
    pub fn set_starting(&self, starting: bool) {
        self.starting.store(starting, Ordering::Release);
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
        let until = Instant::now() + grace;
        let in_time = tokio::time::timeout(grace, self.in_flight.empty()).await.is_ok();
        let versions = self.close_all();
        if !in_time {
            return Err(self.in_flight());
        }
        let ended = tokio::task::spawn_blocking(move || {
            versions.iter().all(|version| {
                version.ended_within(until.saturating_duration_since(Instant::now()))
            })
        });
        match ended.await {
            Ok(true) => Ok(()),
            _ => Err(0),
        }
    }

    fn close_all(&self) -> Vec<Arc<ModelVersion>> {
        let versions: Vec<_> = self.models().into_iter().flat_map(|(_, m)| m.versions).collect();
        for version in &versions {
            version.close();
        }
        versions
    }

    /// Removes the unpacked archives, once nothing is to be loaded again.
    pub fn remove_files(&self) {
        self.work_dir.remove();
    }
}

impl Drop for Engine {
    /// Its threads end by themselves once they have done what they do now.
    fn drop(&mut self) {
        self.close_all();
        // Not before: until the end of an engine a worker that hangs is given up.
        self.workshop.close();
    }
}

impl Registered {
    /// How many workers are on their way.
    pub fn workers(&self) -> usize {
        self.scaling.starting()
    }
}

impl ModelVersion {
    /// The settings hold from now on.
    pub(crate) fn open(&self, loaded: crate::version::Loaded) {
        self.queue.set_rules(loaded.plan.queue_rules());
        let waits_for_workers = loaded.plan.min_workers > 0;
        // Set once: a version is loaded once in its life.
        drop(self.loaded.set(Arc::new(loaded)));
        if !waits_for_workers {
            // Nothing is to be loaded before somebody scales it up.
            self.change_state(|state| {
                (*state == VersionState::Loading).then_some(VersionState::Ready)
            });
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        self.loaded.get().and_then(|loaded| loaded.unpacked.clone())
    }

    fn release_memory(&self) {
        if let Some(loaded) = self.loaded.get() {
            loaded.runtime.release_memory();
        }
    }
}

fn remove_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            log::warn!("cannot remove {}: {error}", folder.display());
        }
        _ => {}
    }
}

/// The name of an archive that names no model: its file's, up to the first dot.
fn file_stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
