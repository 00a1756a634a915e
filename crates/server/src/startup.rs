//! Loading the models of a start.

use std::path::Path;

use mar_engine::{Engine, LoadRequest, VersionState};

use crate::settings::{ModelSource, Settings};

/// Loads every archive and sets the default versions; whether all of them serve.
pub(crate) fn load(engine: &Engine, settings: &Settings) -> bool {
    let mut all = true;
    for source in &settings.models {
        match engine.load_as(&request(source)) {
            Ok(version) => match version.state() {
                VersionState::Failed(reason) => {
                    all = false;
                    log::error!("model {} did not load: {reason}", version.name());
                }
                _ => log::info!("model {} {} is ready", version.name(), version.version()),
            },
            Err(error) => {
                all = false;
                log::error!("{} was not loaded: {error}", file_name(&source.path));
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

fn request(source: &ModelSource) -> LoadRequest {
    let load = LoadRequest {
        archive: source.path.clone(),
        name: source.name.clone(),
        ..LoadRequest::default()
    };
    let Some(listed) = &source.restored else { return load };
    let overrides = listed.overrides.clone();
    let min = overrides.min_workers;
    let workers = min.map(|min| (min, overrides.max_workers.unwrap_or(min).max(min)));
    LoadRequest { overrides, workers, ..load }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
