//! Loading the models of a start.

use std::path::Path;

use anyhow::{Context, Result};
use mar_engine::{Engine, LoadRequest, VersionState};

use crate::fetch;
use crate::settings::{ModelSource, ModelStore, Settings};

/// Loads every archive and sets the default versions; whether all of them serve.
pub(crate) fn load(engine: &Engine, settings: &Settings) -> bool {
    let mut all = true;
    for source in &settings.models {
        let loaded = request(source, &settings.store).and_then(|request| {
            engine.load_as(&request).with_context(|| file_name(&request.archive))
        });
        match loaded {
            Ok(version) => match version.state() {
                VersionState::Failed(reason) => {
                    all = false;
                    log::error!("model {} did not load: {reason}", version.name());
                }
                _ => log::info!("model {} {} is ready", version.name(), version.version()),
            },
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

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
