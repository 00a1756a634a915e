//! The model repositories of a server: which models lie there, and how they get into the engine and out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar_engine::{
    Engine, Error, ErrorCode, LoadRequest, ModelVersion, Network, Result, VersionState,
};
use mar_proto::inference::ModelConfig;
use parking_lot::Mutex;

use super::layout::is_model;
use super::model::Model;
use crate::Repository;

/// The version shown for a model of which none could be read.
const UNKNOWN_VERSION: &str = "unknown";

/// Folders of models, and what became of those that were asked for.
#[derive(Debug, Default)]
pub struct Repositories {
    folders: Vec<PathBuf>,
    /// By the name that the model is served under.
    known: Mutex<BTreeMap<String, Known>>,
}

/// What is remembered of a model.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Of its last load that could be read.
    configuration: Option<ModelConfig>,
    /// Why the last load failed.
    failure: Option<String>,
}

impl Repositories {
    /// The repositories in these folders, in which archives may lie too.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, known: Mutex::default() }
    }

    /// The models that lie there, loaded or not.
    fn found(&self) -> Vec<String> {
        let entries = self.folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let models = entries.flatten().flatten().filter(|entry| is_model(&entry.path()));
        let names: BTreeSet<String> =
            models.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.into_iter().filter(|name| !name.starts_with('.')).collect()
    }

    /// Where a model lies.
    fn places(&self, name: &str) -> Vec<PathBuf> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        let places = self.folders.iter().filter(|_| plain).map(|folder| folder.join(name));
        places.filter(|place| is_model(place)).collect()
    }

    /// The one place where a model lies.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let mut places = self.places(name);
        match (places.pop(), places.pop()) {
            (Some(place), None) => Ok(place),
            (Some(second), Some(first)) => Err(Error::invalid_model(format!(
                "model \"{name}\" lies in more than one repository, as {} and {}; rename one of them",
                first.display(),
                second.display()
            ))),
            (None, _) => Err(Error::new(
                ErrorCode::ModelNotFound,
                format!("no model \"{name}\" lies in a model repository"),
            )),
        }
    }

    /// Loads a model at the server's start, under its own name or another. What cannot be served is
    /// registered too, so that the reason can be asked for. Blocks until every version is ready or has failed.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`] where the name and version is taken.
    pub fn load_at_start(
        &self,
        engine: &Engine,
        folder: &Path,
        name: Option<&str>,
    ) -> Result<Vec<Arc<ModelVersion>>> {
        let own = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.unwrap_or(&own);
        let request = LoadRequest {
            archive: folder.to_owned(),
            url: own.clone(),
            name: Some(name.to_owned()),
            at_startup: true,
            ..LoadRequest::default()
        };
        let failed = |version: &str, error: &Error| {
            // Whoever looks at it sees that it is no archive.
            let network = Network { version: version.to_owned(), ..Network::default() };
            let request = LoadRequest { network: Some(Arc::new(network)), ..request.clone() };
            engine.load_failed(&request, (name, version), error)
        };
        let model = self
            .place(&own)
            .and_then(|_| Model::read(folder, None, &|file| engine.look_into(file)));
        let model = match model {
            Ok(model) => model,
            Err(error) => {
                self.remember(name, None, Some(error.message()));
                return Ok(vec![failed(UNKNOWN_VERSION, &error)?]);
            }
        };
        warn(name, &model.warnings);
        let mut versions = Vec::new();
        for (number, network) in model.versions {
            versions.push(match network {
                Ok(network) => engine.load_as(&of(&request, network))?,
                Err(error) => failed(&number, &error)?,
            });
        }
        self.remember(name, Some(model.config), None);
        choose_default(engine, name, &versions)?;
        Ok(versions)
    }

    /// Each version takes the place of the one of its number once it serves, and those that are not wanted any
    /// more go. Where one does not load, what was served before goes on being served.
    fn load_anew(&self, engine: &Engine, name: &str, configuration: Option<&str>) -> Result<()> {
        let folder = self.place(name)?;
        let configuration = configuration.map(str::to_owned);
        let model = Model::read(&folder, configuration, &|file| engine.look_into(file))?;
        warn(name, &model.warnings);
        let request = LoadRequest {
            archive: folder,
            url: name.to_owned(),
            name: Some(name.to_owned()),
            replace: true,
            ..LoadRequest::default()
        };
        // All of them first: a version that cannot be read leaves every other as it was.
        let networks: Result<Vec<Network>> =
            model.versions.into_iter().map(|(_, network)| network).collect();
        let mut versions = Vec::new();
        for network in networks? {
            let registered = engine.register(&of(&request, network))?;
            versions.push(engine.finish(registered)?);
        }
        self.remember(name, Some(model.config), None);
        choose_default(engine, name, &versions)?;
        let wanted = |version: &Arc<ModelVersion>| {
            versions.iter().any(|wanted| wanted.version() == version.version())
        };
        for old in engine.model(name)?.versions.iter().filter(|version| !wanted(version)) {
            let old = engine.take_out(name, Some(old.version()))?;
            if let Err(error) = engine.unload(&old) {
                log::warn!("{error}");
            }
        }
        Ok(())
    }

    fn remember(&self, name: &str, configuration: Option<ModelConfig>, failure: Option<&str>) {
        let failure = failure.map(str::to_owned);
        self.known.lock().insert(name.to_owned(), Known { configuration, failure });
    }
}

impl Repository for Repositories {
    fn names(&self) -> Vec<String> {
        self.found()
    }

    fn has(&self, name: &str) -> bool {
        !self.places(name).is_empty()
    }

    fn load(&self, engine: &Engine, name: &str, configuration: Option<&str>) -> Result<()> {
        let loaded = self.load_anew(engine, name, configuration);
        if let Err(error) = &loaded {
            let failure = Some(error.message().to_owned());
            self.known.lock().entry(name.to_owned()).or_default().failure = failure;
        }
        loaded
    }

    fn failure(&self, name: &str) -> Option<String> {
        self.known.lock().get(name)?.failure.clone()
    }

    fn configuration(&self, name: &str) -> Option<ModelConfig> {
        self.known.lock().get(name)?.configuration.clone()
    }
}

/// The request for one of a model's networks.
fn of(request: &LoadRequest, network: Network) -> LoadRequest {
    let workers = network.instances.iter().map(|group| group.count * group.devices.len()).sum();
    // Not as many as the one has that it takes the place of: the configuration says how many.
    let workers = request.replace.then_some((workers, workers));
    LoadRequest { network: Some(Arc::new(network)), workers, ..request.clone() }
}

/// The highest version that serves answers where a client names none.
fn choose_default(engine: &Engine, name: &str, versions: &[Arc<ModelVersion>]) -> Result<()> {
    let serves = |version: &&Arc<ModelVersion>| !matches!(version.state(), VersionState::Failed(_));
    let best = versions.iter().rev().find(serves).or(versions.last());
    best.map_or(Ok(()), |best| engine.set_default(name, best.version()))
}

fn warn(name: &str, warnings: &[String]) {
    for warning in warnings {
        log::warn!("model {name}: {warning}");
    }
}
