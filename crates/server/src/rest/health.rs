//! Whether the server lives, and whether a load balancer should send requests here: `/ping` as TorchServe
//! has it, `/livez` and `/readyz` for Kubernetes.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use mar_engine::{Engine, ModelVersion, VersionState, WorkerState};
use mar_oip::{Readiness, Unready};
use serde::Serialize;

use super::{error, json};

const HEALTHY: &str = "Healthy";

/// How the server is, in a word.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    status: &'static str,
}

/// `Healthy` while every model's default version has the workers that it should, those counted that load
/// or are to load again, as TorchServe has it; `Unhealthy` with status 500 once one could not be loaded or
/// was given up, or the server is going down.
pub(super) fn ping(engine: &Engine) -> HttpResponse {
    let health = health(engine);
    let healthy = health.status == HEALTHY;
    let status = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    json::response(status, &health)
}

/// What `/ping` answers.
pub(crate) fn health(engine: &Engine) -> Health {
    let healthy = !engine.is_draining()
        && engine.lost_device().is_none()
        && engine.models().iter().all(|(_, model)| is_healthy(&model.default));
    Health { status: if healthy { HEALTHY } else { "Unhealthy" } }
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

/// The same in KServe's words, whose clients ask at the root.
pub(super) fn alive() -> HttpResponse {
    json::response(StatusCode::OK, &Health { status: "alive" })
}

#[derive(Debug, Serialize)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<Unready>,
}

/// `ready` while every version that should serve has a worker that does; else 503 with those that do
/// not, and why.
pub(super) fn ready(engine: &Engine) -> HttpResponse {
    let readiness = Readiness::of(engine);
    let (code, status) = if readiness.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let Readiness { reason, models } = readiness;
    json::response(code, &Ready { status, reason, models })
}

/// What KServe's clients read of a model, and what TensorFlow Serving's do.
#[derive(Debug, Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
    model_version_status: Vec<VersionStatus<'a>>,
}

#[derive(Debug, Serialize)]
struct VersionStatus<'a> {
    version: &'a str,
    state: &'static str,
    status: Status,
}

#[derive(Debug, Serialize)]
struct Status {
    error_code: &'static str,
    error_message: String,
}

/// Whether a version has a worker that serves, the default one where none is named, and the state of that one or
/// of all.
pub(super) fn model_ready(engine: &Engine, name: &str, version: Option<&str>) -> HttpResponse {
    let told = || -> mar_engine::Result<HttpResponse> {
        let asked = engine.version(name, version)?;
        let versions = match version {
            Some(_) => vec![Arc::clone(&asked)],
            None => engine.model(name)?.versions,
        };
        let model_version_status = versions.iter().map(|version| status(version)).collect();
        let ready = asked.is_serving();
        Ok(json::response(StatusCode::OK, &ModelReady { name, ready, model_version_status }))
    };
    told().unwrap_or_else(|failure| error::response(&failure))
}

fn status(version: &ModelVersion) -> VersionStatus<'_> {
    let (state, error_code, error_message) = match version.state() {
        VersionState::Loading => ("LOADING", "OK", String::new()),
        VersionState::Ready => ("AVAILABLE", "OK", String::new()),
        VersionState::Draining => ("UNLOADING", "OK", String::new()),
        VersionState::Unloaded => ("END", "OK", String::new()),
        VersionState::Failed(reason) => ("END", "UNKNOWN", reason),
    };
    VersionStatus {
        version: version.version(),
        state,
        status: Status { error_code, error_message },
    }
}

#[derive(Debug, Serialize)]
struct Models {
    models: Vec<String>,
}

/// The names of all models, as KServe's clients ask.
pub(super) fn models(engine: &Engine) -> HttpResponse {
    let models = engine.models().into_iter().map(|(name, _)| name).collect();
    json::response(StatusCode::OK, &Models { models })
}

fn worker_states(version: &ModelVersion) -> Vec<WorkerState> {
    version.workers().into_iter().map(|worker| worker.state).collect()
}
