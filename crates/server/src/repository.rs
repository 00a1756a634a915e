//! The model store's archives, and the models of repositories, as the Open Inference Protocol's clients load and
//! unload them: by a name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar_engine::{Engine, Error, ErrorCode, LoadRequest, ModelVersion, Result, VersionState};
use mar_oip::triton::Repositories;
use mar_oip::{Quoted, Repository};
use mar_proto::inference::ModelConfig;

use crate::fetch::{self, Resolved};
use crate::settings::snapshot::Kind;
use crate::settings::{ModelSource, ModelStore, Settings, models};
use crate::snapshots::Snapshots;

/// Endings of archives' files.
const ENDINGS: [&str; 3] = [".mar", ".model", ".tar.gz"];

/// The archives of a model store, and whatever else the engine has: it answers for every name.
#[derive(Debug)]
pub(crate) struct Archives {
    store: ModelStore,
    /// What is loaded at the start: a name may be another there than the archive's.
    sources: Vec<ModelSource>,
    snapshots: Arc<Snapshots>,
}

impl Archives {
    /// Those of the settings' store.
    pub(crate) fn new(settings: &Settings, snapshots: Arc<Snapshots>) -> Self {
        Self { store: settings.store.clone(), sources: settings.models.clone(), snapshots }
    }

    /// The file or folder that a name stands for: what is loaded under it now, what the settings load under
    /// it, else the archive that is called so.
    fn find(&self, engine: &Engine, name: &str) -> Result<PathBuf> {
        let loaded = engine.version(name, None).ok().map(|version| version.archive().to_owned());
        let named = self.sources.iter().filter(|source| source.name.as_deref() == Some(name));
        let mut known = loaded.into_iter().chain(named.map(|source| source.path.clone()));
        if let Some(path) = known.find(|path| path.exists()) {
            return Ok(path);
        }
        let listed = self.store.listed.get(name).into_iter().flatten();
        let files = listed.filter_map(|(_, listed)| listed.mar_name.clone());
        let called = ENDINGS.iter().map(|ending| format!("{name}{ending}"));
        for file in files.chain(called).chain([name.to_owned()]) {
            // Only a name: of a path it would take the last part.
            if let (false, Ok(found)) = (file.contains('/'), fetch::resolve(&file, &self.store)) {
                return Ok(found.path);
            }
        }
        let message = format!(
            "the model store has neither an archive nor a model folder of the name {}; put NAME.mar there, or a folder NAME with a version",
            Quoted(name)
        );
        Err(Error::new(ErrorCode::ModelNotFound, message))
    }
}

/// The models of repositories, with a snapshot after each change.
#[derive(Debug)]
pub(crate) struct Models {
    repositories: Arc<Repositories>,
    snapshots: Arc<Snapshots>,
}

impl Models {
    pub(crate) fn new(repositories: &Arc<Repositories>, snapshots: &Arc<Snapshots>) -> Self {
        Self { repositories: Arc::clone(repositories), snapshots: Arc::clone(snapshots) }
    }
}

impl Repository for Models {
    fn names(&self) -> Vec<String> {
        self.repositories.names()
    }

    fn has(&self, name: &str) -> bool {
        self.repositories.has(name)
    }

    fn load(&self, engine: &Engine, name: &str, configuration: Option<&str>) -> Result<()> {
        self.repositories.load(engine, name, configuration)?;
        self.snapshots.write(engine, Kind::Snapshot);
        Ok(())
    }

    fn take_out(&self, engine: &Engine, name: &str) -> Result<Vec<Arc<ModelVersion>>> {
        let taken = self.repositories.take_out(engine, name)?;
        self.snapshots.write(engine, Kind::Snapshot);
        Ok(taken)
    }

    fn failure(&self, name: &str) -> Option<String> {
        self.repositories.failure(name)
    }

    fn configuration(&self, name: &str) -> Option<ModelConfig> {
        self.repositories.configuration(name)
    }
}

impl Repository for Archives {
    fn names(&self) -> Vec<String> {
        let found = models::everything(&self.store.dir).unwrap_or_default();
        found.iter().filter_map(|source| archive_name(&source.path)).collect()
    }

    fn has(&self, _: &str) -> bool {
        true
    }

    fn load(&self, engine: &Engine, name: &str, configuration: Option<&str>) -> Result<()> {
        let archive = self.find(engine, name)?;
        if configuration.is_some() {
            return Err(Error::invalid_input(format!(
                "parameter config: {name} is an archive and has its settings in model-config.yaml; register it by POST /models to change batch_size and its like"
            )));
        }
        let url = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let request = LoadRequest {
            archive,
            url,
            name: Some(name.to_owned()),
            replace: true,
            ..LoadRequest::default()
        };
        let version = engine.finish(engine.register(&request)?)?;
        let number = version.version();
        if let (0, Some(plan)) = (version.worker_limits().1, version.plan()) {
            // Whoever loads a model this way expects it to serve: one a device, as at the start.
            let workers = plan.devices.len();
            engine.scale(name, Some(number), (workers, workers), None)?.wait()?;
        }
        engine.set_default(name, number)?;
        for other in engine.model(name)?.versions {
            if matches!(other.state(), VersionState::Failed(_)) && other.version() != number {
                // What did not load before has loaded now.
                engine.unload(&engine.take_out(name, Some(other.version()))?)?;
            }
        }
        self.snapshots.write(engine, Kind::Snapshot);
        Ok(())
    }

    fn take_out(&self, engine: &Engine, name: &str) -> Result<Vec<Arc<ModelVersion>>> {
        let taken = mar_oip::take_out(engine, name)?;
        self.snapshots.write(engine, Kind::Snapshot);
        for version in &taken {
            Resolved::registered(version.url(), version.archive()).discard();
        }
        Ok(taken)
    }
}

/// The name that a file or folder of the store is loaded by; `None` where it is no archive.
fn archive_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    match ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)) {
        Some(stem) => Some(stem.to_owned()),
        None => path.join("MAR-INF").is_dir().then(|| name.to_owned()),
    }
}
