//! Whether the server lives, and whether a load balancer should send requests here: `/ping` as TorchServe
//! has it, `/livez` and `/readyz` for Kubernetes.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use mar_engine::{Engine, ModelVersion, VersionState, WorkerState};
use serde::Serialize;

use super::{error, json};

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
}

/// `Healthy` while every model's default version has the workers that it should, those counted that load
/// or are to load again, as TorchServe has it; `Unhealthy` with status 500 once one could not be loaded or
/// was given up, or the server is going down.
pub(super) fn ping(engine: &Engine) -> HttpResponse {
    let healthy = !engine.is_draining()
        && engine.lost_device().is_none()
        && engine.models().iter().all(|(_, model)| is_healthy(&model.default));
    if healthy {
        json::response(StatusCode::OK, &Health { status: "Healthy" })
    } else {
        json::response(StatusCode::INTERNAL_SERVER_ERROR, &Health { status: "Unhealthy" })
    }
}

fn is_healthy(version: &ModelVersion) -> bool {
    let (min_workers, _) = version.worker_limits();
    let given_up = |worker: &WorkerState| *worker == WorkerState::Failed;
    match version.state() {
        VersionState::Loading => true,
        VersionState::Failed(_) => false,
        VersionState::Draining | VersionState::Unloaded | VersionState::Ready => {
            worker_states(version).iter().filter(|worker| !given_up(worker)).count() >= min_workers
        }
    }
}

/// The process answers, which is all that this asks.
pub(super) fn live() -> HttpResponse {
    json::response(StatusCode::OK, &Health { status: "live" })
}

#[derive(Debug, Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<Unready>,
}

#[derive(Debug, Serialize)]
struct Unready {
    model: String,
    version: String,
    reason: String,
}

/// `ready` while every version that should serve has a worker that does; else 503 with those that do
/// not, and why.
pub(super) fn ready(engine: &Engine) -> HttpResponse {
    let reason = if engine.is_draining() {
        Some("the server is shutting down")
    } else if engine.lost_device().is_some() {
        Some("a device is lost; the server has to start anew")
    } else {
        None
    };
    let versions = engine.models().into_iter().flat_map(|(_, model)| model.versions);
    let models: Vec<Unready> = versions
        .filter(|version| should_serve(version))
        .filter_map(|version| {
            let reason = hindrance(&version.state(), &worker_states(&version))?;
            let (model, version) = (version.name().to_owned(), version.version().to_owned());
            Some(Unready { model, version, reason })
        })
        .collect();
    if reason.is_none() && models.is_empty() {
        json::response(StatusCode::OK, &Readiness { status: "ready", reason, models })
    } else {
        let readiness = Readiness { status: "not ready", reason, models };
        json::response(StatusCode::SERVICE_UNAVAILABLE, &readiness)
    }
}

#[derive(Debug, Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

/// KServe's question: whether a model's default version has a worker that serves.
pub(super) fn model_ready(engine: &Engine, name: &str) -> HttpResponse {
    match engine.version(name, None) {
        Ok(version) => {
            json::response(StatusCode::OK, &ModelReady { name, ready: version.is_serving() })
        }
        Err(failure) => error::response(&failure),
    }
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

fn worker_states(version: &ModelVersion) -> Vec<WorkerState> {
    version.workers().into_iter().map(|worker| worker.state).collect()
}

/// Why a version in this state, with these workers, does not serve; `None` where it does.
fn hindrance(state: &VersionState, workers: &[WorkerState]) -> Option<String> {
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
        let ready = |workers: &[WorkerState]| hindrance(&VersionState::Ready, workers);
        assert_eq!(ready(&[BackingOff(3), Ready]), None);
        assert_eq!(ready(&[]).unwrap(), "it has no workers");
        let reason = ready(&[Starting, BackingOff(3), Stopped]).unwrap();
        for words in ["is loading its model", "went down 3 times", "has stopped"] {
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(hindrance(&VersionState::Loading, &[]).unwrap(), "it is being loaded");
        let failed = VersionState::Failed("the weights are broken".into());
        assert_eq!(hindrance(&failed, &[]).unwrap(), "it did not load: the weights are broken");
    }
}
