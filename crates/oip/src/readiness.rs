//! Whether a server and its models should be sent requests, and why not where they should not.

use mar_engine::{
    Engine, Error, ErrorCode, Interface, ModelVersion, Result, VersionState, WorkerState,
};
use serde::Serialize;

use crate::Service;

/// Why a server is not ready; ready where nothing hinders it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What hinders the server as a whole.
    pub reason: Option<&'static str>,
    /// The versions that should serve and do not.
    pub models: Vec<Unready>,
}

/// A version that should serve and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unready {
    /// Its model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// What it waits for, or what went wrong.
    pub reason: String,
}

impl Readiness {
    /// How an engine is now: ready while every version that should serve has a worker that does.
    pub fn of(engine: &Engine) -> Self {
        let reason = if engine.is_draining() {
            Some("the server is shutting down")
        } else if engine.lost_device().is_some() {
            Some("a device is lost; the server has to start anew")
        } else if engine.is_starting() {
            Some("models are still to be loaded")
        } else {
            None
        };
        let versions = engine.models().into_iter().flat_map(|(_, model)| model.versions);
        let models = versions
            .filter(|version| should_serve(version))
            .filter_map(|version| {
                let reason = hindrance(&version)?;
                let (model, version) = (version.name().to_owned(), version.version().to_owned());
                Some(Unready { model, version, reason })
            })
            .collect();
        Self { reason, models }
    }

    /// Whether nothing hinders it.
    pub fn is_ready(&self) -> bool {
        self.reason.is_none() && self.models.is_empty()
    }
}

impl Service {
    /// Whether requests should be sent here.
    pub fn server_ready(&self) -> bool {
        Readiness::of(self.engine()).is_ready()
    }

    /// Whether a model, or its handler, has a worker that serves.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`].
    pub fn model_ready(&self, name: &str, version: Option<&str>) -> Result<bool> {
        let version = self.find(name, version)?.version;
        Ok(!self.engine().is_draining() && hindrance(&version).is_none())
    }
}

/// What a version's network takes and gives, once it is loaded.
///
/// # Errors
/// [`ErrorCode::Unavailable`] where it did not load, or has not yet.
pub(crate) fn opened(version: &ModelVersion) -> Result<Interface> {
    let why = match (version.plan(), version.state()) {
        (_, VersionState::Failed(reason)) => format!("did not load: {reason}"),
        (Some(_), _) => return Ok(version.interface().cloned().unwrap_or_default()),
        (None, VersionState::Loading | VersionState::Ready) => {
            "is still loading; ask again later".to_owned()
        }
        (None, VersionState::Draining | VersionState::Unloaded) => "is being unloaded".to_owned(),
    };
    let (name, version) = (version.name(), version.version());
    let message = format!("model \"{name}\" version \"{version}\" {why}");
    Err(Error::new(ErrorCode::Unavailable, message))
}

/// Whether a version is meant to answer: not one that is being unloaded.
fn should_serve(version: &ModelVersion) -> bool {
    let (min_workers, _) = version.worker_limits();
    match version.state() {
        VersionState::Draining | VersionState::Unloaded => false,
        VersionState::Loading | VersionState::Failed(_) => true,
        // One that was registered without workers, or scaled down to none, is not meant to.
        VersionState::Ready => min_workers > 0,
    }
}

/// Why a version does not serve; `None` where it does.
pub(crate) fn hindrance(version: &ModelVersion) -> Option<String> {
    let workers: Vec<_> = version.workers().into_iter().map(|worker| worker.state).collect();
    reason(&version.state(), &workers)
}

/// Why a version in this state, with these workers, does not serve.
fn reason(state: &VersionState, workers: &[WorkerState]) -> Option<String> {
    match state {
        VersionState::Loading => Some("it is being loaded".to_owned()),
        VersionState::Failed(reason) => Some(format!("it did not load: {reason}")),
        _ if workers.contains(&WorkerState::Ready) => None,
        _ if workers.is_empty() => Some("it has no workers".to_owned()),
        _ => Some(workers.iter().copied().map(told).collect::<Vec<_>>().join(", ")),
    }
}

fn told(worker: WorkerState) -> String {
    match worker {
        WorkerState::Starting => "a worker is loading its model".to_owned(),
        WorkerState::BackingOff(failures) => {
            format!(
                "a worker went down {failures} times in a row and waits before it loads its model again"
            )
        }
        WorkerState::Failed => "a worker was given up; scale the model to start others".to_owned(),
        WorkerState::Ready => "a worker is ready".to_owned(),
        WorkerState::Stopped => "a worker has stopped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_is_ready_is_enough_and_anything_less_has_a_reason() {
        use WorkerState::{BackingOff, Ready, Starting, Stopped};
        let ready = |workers: &[WorkerState]| reason(&VersionState::Ready, workers);
        assert_eq!(ready(&[BackingOff(3), Ready]), None);
        assert_eq!(ready(&[]).unwrap(), "it has no workers");
        let hindered = ready(&[Starting, BackingOff(3), Stopped]).unwrap();
        for words in ["is loading its model", "went down 3 times", "has stopped"] {
            assert!(hindered.contains(words), "{hindered}");
        }
        assert_eq!(reason(&VersionState::Loading, &[]).unwrap(), "it is being loaded");
        let failed = VersionState::Failed("the weights are broken".into());
        assert_eq!(reason(&failed, &[]).unwrap(), "it did not load: the weights are broken");
    }
}
