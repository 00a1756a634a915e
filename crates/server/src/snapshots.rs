//! Writing down which models there are, so that the next start finds them.

use std::path::PathBuf;

use mar_engine::{Engine, ModelEntry, ModelVersion, Overrides, VersionState};
use parking_lot::Mutex;

use crate::settings::models::Models;
use crate::settings::snapshot::{self, Kind};
use crate::settings::{Listed, Settings};

/// Where snapshots go, and what they repeat of the settings.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: Option<Folder>,
    effective: Vec<(String, String)>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Whether the models of the start are all loaded. Locked while a snapshot is written, so that the
    /// newest holds what was changed last.
    started: Mutex<bool>,
}

impl Snapshots {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            folder: settings
                .snapshots
                .clone()
                .map(|path| Folder { path, started: Mutex::default() }),
            effective: settings.effective.clone(),
        }
    }

    /// Writes one of all models as they are now. Blocks. One that cannot be written is told of in the log:
    /// what was done to the models is done all the same. None is written before that of the start, as it
    /// would forget the models that are still to come.
    pub(crate) fn write(&self, engine: &Engine, kind: Kind) {
        let Some(folder) = &self.folder else { return };
        let mut started = folder.started.lock();
        *started |= kind == Kind::Startup;
        if !*started {
            return;
        }
        let models = models(engine);
        match snapshot::write(&folder.path, kind, &self.effective, &models) {
            Ok(path) => log::debug!("snapshot {}", path.display()),
            Err(error) => log::error!("no snapshot was written: {error:#}"),
        }
    }
}

/// Every version whose archive could be opened, or is there to be tried again.
fn models(engine: &Engine) -> Models {
    let listed = |model: &ModelEntry| {
        let of_model = model.versions.iter().filter_map(|version| {
            let default = version.version() == model.default.version();
            Some((version.version().to_owned(), listed(version, default)?))
        });
        of_model.collect()
    };
    engine.models().iter().map(|(name, model)| (name.clone(), listed(model))).collect()
}

fn listed(version: &ModelVersion, default_version: bool) -> Option<Listed> {
    let mar_name = Some(version.archive().file_name()?.to_string_lossy().into_owned());
    let Some(plan) = version.plan() else {
        // One that did not load is tried again by the next start, which reads what it says itself: the
        // start that first named it is the only one that does. What is not there would end that start.
        let failed = matches!(version.state(), VersionState::Failed(_));
        let again = failed && version.archive().exists();
        return again.then(|| Listed { mar_name, ..Listed::default() });
    };
    let (min_workers, max_workers) = version.worker_limits();
    Some(Listed {
        default_version,
        mar_name,
        overrides: Overrides {
            handler: plan.handler.clone(),
            min_workers: Some(min_workers),
            max_workers: Some(max_workers),
            batch_size: Some(plan.batch_limit.as_ref().map_or(plan.batch_size, |it| it.asked)),
            max_batch_delay: Some(plan.max_batch_delay),
            response_timeout: Some(plan.response_timeout),
            startup_timeout: Some(plan.startup_timeout),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mar_engine::{EngineConfig, NoEvents};

    use super::*;

    #[test]
    fn a_start_that_is_cut_short_forgets_nothing_of_the_last_run() {
        let folder = tempfile::tempdir().unwrap();
        let config = EngineConfig { temp_dir: folder.path().into(), ..EngineConfig::default() };
        let engine = Engine::new(config, Vec::new(), Vec::new(), Arc::new(NoEvents)).unwrap();
        let path = folder.path().join("config");
        let settings = Settings { snapshots: Some(path.clone()), ..Settings::default() };
        let snapshots = Snapshots::new(&settings);
        let written = || std::fs::read_dir(&path).map_or(0, Iterator::count);
        for (kind, number) in [
            (Kind::Snapshot, 0),
            (Kind::Shutdown, 0),
            (Kind::Startup, 1),
            (Kind::Snapshot, 2),
            (Kind::Shutdown, 3),
        ] {
            snapshots.write(&engine, kind);
            assert_eq!(written(), number, "{kind:?}");
        }
    }
}
