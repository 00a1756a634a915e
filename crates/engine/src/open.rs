//! From an archive to what a version is made of: handler, runtime, settings. A network without an archive is
//! the business of `network`.

mod network;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar::{Archive, Manifest};
use mar_handler::{
    Context, Device, Error, ErrorCode, Handler, LoadSpec, Registration, Result, Runtime, Signature,
};
use serde_json::{Map, Value};

use crate::config::{EngineConfig, Overrides};
use crate::engine::LoadRequest;
use crate::infer::Interface;
use crate::interface::known;
use crate::model_cache;
use crate::network::Network;
use crate::plan::{BatchLimit, Layers, Machine, Plan};
use crate::samples::KnownAnswers;
use crate::version::{Loaded, ModelVersion};
use crate::weights::Weights;

/// An archive in a folder, and who serves it.
pub(crate) struct Unpacked {
    pub(crate) registration: Registration,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// The weights' file.
    pub(crate) file: PathBuf,
    /// `model-config.yaml`.
    pub(crate) settings: Map<String, Value>,
}

/// What there is to open archives with.
pub(crate) struct Opener {
    pub(crate) handlers: Vec<Registration>,
    pub(crate) runtimes: Vec<Arc<dyn Runtime>>,
}

/// What is to be served.
pub(crate) enum Source {
    Archive(Box<Archive>),
    Network(Arc<Network>),
}

impl Source {
    /// Opens what a request names.
    pub(crate) fn of(request: &LoadRequest) -> Result<Self> {
        if let Some(network) = &request.network {
            return Ok(Self::Network(Arc::clone(network)));
        }
        let archive = Archive::open(&request.archive).map_err(|error| invalid(&error))?;
        Ok(Self::Archive(Box::new(archive)))
    }

    /// Its name and version, by its own word.
    pub(crate) fn identity(&self, path: &Path) -> (String, String) {
        match self {
            Self::Archive(archive) => {
                let model = &archive.manifest().model;
                (model.model_name.clone(), model.model_version.clone())
            }
            Self::Network(network) => {
                let folder = path.file_name().unwrap_or_default().to_string_lossy();
                (folder.into_owned(), network.version.clone())
            }
        }
    }
}

impl Opener {
    /// Makes what a version is made of; an archive is unpacked into `model_dir`.
    pub(crate) fn open(
        &self,
        source: &Source,
        version: &ModelVersion,
        request: &LoadRequest,
        (config, model_dir): (&EngineConfig, PathBuf),
    ) -> Result<Loaded> {
        match source {
            Source::Archive(archive) => {
                self.open_archive(archive, version, request, (config, model_dir))
            }
            Source::Network(network) => self.open_network(network, version, request, config),
        }
    }

    fn open_archive(
        &self,
        archive: &Archive,
        version: &ModelVersion,
        request: &LoadRequest,
        (config, model_dir): (&EngineConfig, PathBuf),
    ) -> Result<Loaded> {
        let overrides = &request.overrides;
        let handlers = [overrides.handler.as_deref(), config.default_handler.as_deref()];
        let Unpacked { registration, runtime, file, settings } =
            self.unpack(archive, handlers, &model_dir)?;
        let none = Overrides::default();
        let listed = config.listed.get(version.name()).and_then(|of| of.get(version.version()));
        let layers = Layers {
            overrides,
            archive: &settings,
            listed: listed.unwrap_or(&none),
            defaults: &config.defaults,
            at_startup: version.loaded_at_startup(),
        };
        let mut plan = Plan::resolve(layers, machine(config, runtime.as_ref()))?;
        if let Some((min, max)) = request.workers {
            (plan.min_workers, plan.max_workers) = (min, max);
        }
        let signature = known(&settings, runtime.signature(&file)?)?;
        let options = options(runtime.as_ref(), &settings)?;
        understood(runtime.as_ref(), (&options, true), &plan.devices)?;
        let context = Context {
            model_name: version.name().to_owned(),
            model_version: version.version().to_owned(),
            ..context(&archive.manifest().model, &model_dir, settings, signature)
        };
        let handler = registration.initialize(&context)?;
        let interface = Interface::of_archive(context.signature, handler.as_ref());
        if let Some(fixed) = &interface.fixed {
            fixed.limit(&mut plan);
        }
        if let Some(BatchLimit { asked, reason }) = &plan.batch_limit {
            let (model, holds) = (version.name(), plan.batch_size);
            log::warn!("model {model}: batch size {holds} where {asked} is asked for: {reason}");
        }
        let samples = KnownAnswers::open(plan.verify_samples, &model_dir)?;
        Ok(Loaded {
            labels: labels(handler.as_ref()),
            handler,
            cache: cache(runtime.as_ref(), config),
            runtime,
            file,
            options,
            unpacked: Some(model_dir),
            plan,
            interface,
            network: None,
            samples,
            weights: Weights::default(),
        })
    }

    /// Unpacks an archive into `model_dir`, once there is a handler and a runtime for it. The handler is the
    /// first of `handlers` that is given, else the manifest's, else the second.
    pub(crate) fn unpack(
        &self,
        archive: &Archive,
        [instead, otherwise]: [Option<&str>; 2],
        model_dir: &Path,
    ) -> Result<Unpacked> {
        let manifest = archive.manifest();
        let named = instead.or(manifest.model.handler.as_deref());
        let registration = self.handler(named.or(otherwise))?;
        let weights = weights(manifest)?;
        let runtime = self.runtime(weights)?;
        archive.extract(model_dir).map_err(|error| invalid(&error))?;
        let settings = match &manifest.model.config_file {
            Some(file) => {
                mar::read_config(&model_dir.join(file)).map_err(|error| invalid(&error))?
            }
            None => Map::new(),
        };
        self.warn_of_sections(runtime.as_ref(), weights, &settings);
        Ok(Unpacked { registration, runtime, file: model_dir.join(weights), settings })
    }

    /// Tells of the sections of runtimes that do not open these weights, and so never read them.
    fn warn_of_sections(&self, own: &dyn Runtime, weights: &str, settings: &Map<String, Value>) {
        let others =
            self.runtimes.iter().filter_map(|other| Some((other.section()?, other.name())));
        for (section, name) in others {
            if Some(section) != own.section() && settings.contains_key(section) {
                log::warn!(
                    "{section}: in model-config.yaml has no effect: {weights} is run by {}, and not by {name}",
                    own.name()
                );
            }
        }
    }

    pub(crate) fn handler(&self, name: Option<&str>) -> Result<Registration> {
        let known = || self.handlers.iter().map(Registration::name).collect::<Vec<_>>().join(", ");
        let Some(name) = name else {
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

    pub(crate) fn runtime(&self, weights: &str) -> Result<Arc<dyn Runtime>> {
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
}

/// What the machine has for a runtime, as far as it may be used.
fn machine(config: &EngineConfig, runtime: &dyn Runtime) -> Machine {
    let cuda_devices = runtime.cuda_devices();
    Machine {
        cuda_devices: config.max_cuda_devices.map_or(cuda_devices, |n| n.min(cuda_devices)),
        runtime: runtime.name(),
    }
}

/// The labels among what a handler tells of its model.
fn labels(handler: &dyn Handler) -> Option<Arc<[String]>> {
    let labels = handler.describe().shift_remove("labels")?;
    serde_json::from_value::<Vec<String>>(labels).ok().map(Into::into)
}

/// The folder where a runtime may keep what it makes of files.
fn cache(runtime: &dyn Runtime, config: &EngineConfig) -> Option<PathBuf> {
    model_cache::usable(config.model_cache.as_deref().filter(|_| runtime.keeps_files())?)
}

/// What the handler of an archive may know where no server gives it another name.
pub(crate) fn context(
    model: &mar::ManifestModel,
    model_dir: &Path,
    config: Map<String, Value>,
    signature: Signature,
) -> Context {
    Context {
        model_name: model.model_name.clone(),
        model_version: model.model_version.clone(),
        model_dir: model_dir.to_owned(),
        config,
        manifest: model.extra.clone(),
        signature,
    }
}

/// What an archive's `model-config.yaml` asks of the runtime: its section.
pub(crate) fn options(
    runtime: &dyn Runtime,
    settings: &Map<String, Value>,
) -> Result<Map<String, Value>> {
    let section = runtime.section().and_then(|name| Some((name, settings.get(name)?)));
    match section {
        None | Some((_, Value::Null)) => Ok(Map::new()),
        Some((_, Value::Object(options))) => Ok(options.clone()),
        Some((name, _)) => Err(Error::invalid_model(format!(
            "{name}: in model-config.yaml is not a mapping; write one key a line below it"
        ))),
    }
}

/// Asks a runtime whether it understands the options of a model on any of these devices.
///
/// # Errors
/// The runtime's own, with the archive's section before it where it comes from one.
pub(crate) fn understood(
    runtime: &dyn Runtime,
    (options, from_archive): (&Map<String, Value>, bool),
    devices: &[Device],
) -> Result<()> {
    let devices: HashSet<Device> = devices.iter().copied().collect();
    for device in devices {
        let spec = LoadSpec { device, options: options.clone(), ..LoadSpec::new("") };
        runtime.check_options(&spec).map_err(|error| {
            let section = runtime.section().filter(|_| from_archive);
            let place = section.map(|name| format!("{name}: in model-config.yaml: "));
            let message = format!("{}{}", place.unwrap_or_default(), error.message());
            Error::new(error.code(), message)
        })?;
    }
    Ok(())
}

/// The weights' file name in a manifest.
pub(crate) fn weights(manifest: &Manifest) -> Result<&str> {
    if let Some(model_file) = &manifest.model.model_file {
        return Err(Error::invalid_model(format!(
            "{model_file} is an eager model, which needs Python; export it with torch.jit.trace and pack it without --model-file"
        )));
    }
    manifest.model.serialized_file.as_deref().ok_or_else(|| {
        Error::invalid_model("the manifest names no weights; pack them with --serialized-file")
    })
}

/// An archive that cannot be read is told from one that can be, and does not say what it should.
pub(crate) fn invalid(error: &mar::Error) -> Error {
    use mar::Error as Mar;
    let unreadable = matches!(
        error,
        Mar::Io { .. } | Mar::UnknownFormat { .. } | Mar::Damaged { .. } | Mar::DamagedEntry { .. }
    );
    if unreadable {
        Error::new(ErrorCode::Internal, error.one_line())
    } else {
        Error::invalid_model(error.one_line())
    }
}
