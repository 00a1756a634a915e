//! Loading the models of a start.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use mar_engine::{Engine, LoadRequest, ModelVersion, VersionState};
use mar_oip::triton::{Repositories, is_model};

use crate::fetch;
use crate::settings::{ModelSource, ModelStore, Settings};

/// Loads every archive and every model of a repository, and sets the default versions; whether all of them
/// serve.
pub(crate) fn load(engine: &Engine, settings: &Settings, repositories: &Repositories) -> bool {
    let mut all = true;
    let mut seen = BTreeSet::new();
    for source in &settings.models {
        let of_repository = source.url.is_none() && is_model(&source.path);
        if of_repository && !seen.insert(name(source)) {
            // A snapshot names each of its versions, and a model that lies in two repositories was told of.
            continue;
        }
        let loaded = if of_repository {
            let loaded = repositories.load_at_start(engine, &source.path, source.name.as_deref());
            loaded.with_context(|| file_name(&source.path))
        } else {
            archive(engine, source, &settings.store).map(|version| vec![version])
        };
        match loaded {
            Ok(versions) => all &= versions.iter().all(|version| serves(version)),
            Err(error) => {
                all = false;
                log::error!("a model was not loaded: {error:#}");
            }
        }
    }
    for (name, versions) in &settings.store.listed {
        for (version, _) in versions.iter().filter(|(_, listed)| listed.default_version) {
            if let Err(error) = engine.set_default(name, version) {
                log::warn!("{version} is not the default version of {name}: {error}");
            }
        }
    }
    all
}

/// Whether a version serves, which the log is told.
fn serves(version: &ModelVersion) -> bool {
    if let VersionState::Failed(reason) = version.state() {
        log::error!("model {} did not load: {reason}", version.name());
        return false;
    }
    log::info!("model {} {} is ready", version.name(), version.version());
    true
}

fn archive(engine: &Engine, source: &ModelSource, store: &ModelStore) -> Result<Arc<ModelVersion>> {
    let request = request(source, store)?;
    engine.load_as(&request).with_context(|| file_name(&request.archive))
}

/// What the engine is asked to load; the archive is in the store from now on.
fn request(source: &ModelSource, store: &ModelStore) -> Result<LoadRequest> {
    let mut load = LoadRequest {
        archive: source.path.clone(),
        name: source.name.clone(),
        ..LoadRequest::default()
    };
    if let Some(url) = &source.url {
        load.archive = fetch::at_startup(url, store)?;
        load.url.clone_from(url);
    }
    let Some(listed) = &source.restored else { return Ok(load) };
    let overrides = listed.overrides.clone();
    let min = overrides.min_workers;
    let workers = min.map(|min| (min, overrides.max_workers.unwrap_or(min).max(min)));
    Ok(LoadRequest { overrides, workers, ..load })
}

/// The name that a model of a repository is served under.
fn name(source: &ModelSource) -> String {
    source.name.clone().unwrap_or_else(|| file_name(&source.path))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
