//! `GET /models/{model}[/{version}|/all]`: what a version is, how its workers are.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use mar_engine::{
    Device, Engine, Error, ErrorCode, Execution, ModelVersion, SamplesReport, VersionState,
    WorkerInfo, WorkerState,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::parameters::Parameters;
use super::{Target, error, json};
use crate::rest::Shared;

/// `GET /models/{model}[/{version}|/all]`.
pub(super) async fn describe(
    shared: web::Data<Shared>,
    target: web::Path<Target>,
    request: HttpRequest,
) -> HttpResponse {
    let customized = Parameters::of_query(&request).truth("customized", false);
    match versions(&shared.engine, &target.model, target.version.as_deref(), customized) {
        Ok(described) => json::response(StatusCode::OK, &described),
        Err(failure) => error::response(&failure),
    }
}

/// One version, the default where none is named, or `all` of them: always an array. Where `customized`,
/// what the handler tells of it as well.
///
/// # Errors
/// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`]; [`ErrorCode::Unavailable`] where no worker
/// could tell more.
pub(crate) fn versions(
    engine: &Engine,
    model: &str,
    version: Option<&str>,
    customized: bool,
) -> Result<Vec<Described>, Error> {
    let versions = match version {
        Some("all") => engine.model(model)?.versions,
        version => vec![engine.version(model, version)?],
    };
    let customized = customized && version != Some("all");
    if customized && let Some(version) = versions.iter().find(|version| !version.is_serving()) {
        let why = reason(&version.state(), &version.workers());
        let why = why.map_or_else(|| "scale it up first".to_owned(), |why| format!("as {why}"));
        let message = format!("model \"{model}\" has no worker that could describe it; {why}");
        return Err(Error::new(ErrorCode::Unavailable, message));
    }
    Ok(versions.iter().map(|version| described(version, customized)).collect())
}

/// A version in TorchServe's words and order; `state` and what follows at the end are ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "TorchServe's members")]
pub(crate) struct Described {
    model_name: String,
    model_version: String,
    model_url: String,
    runtime: &'static str,
    min_workers: usize,
    max_workers: usize,
    batch_size: usize,
    max_batch_delay: u128,
    response_timeout: u64,
    startup_timeout: u64,
    max_retry_timeout_in_sec: u64,
    client_timeout_in_mills: u128,
    parallel_type: &'static str,
    parallel_level: usize,
    device_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ids: Option<Vec<usize>>,
    continuous_batching: bool,
    use_job_ticket: bool,
    use_venv: bool,
    stateful: bool,
    #[serde(rename = "sequenceMaxIdleMSec")]
    sequence_max_idle: usize,
    #[serde(rename = "sequenceTimeoutMSec")]
    sequence_timeout: usize,
    max_num_sequence: usize,
    max_sequence_job_queue_size: usize,
    loaded_at_startup: bool,
    workers: Vec<DescribedWorker>,
    job_queue_status: JobQueueStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    customized_metadata: Option<Map<String, Value>>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Execution>,
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<SamplesReport>,
}

/// A worker in TorchServe's words and order; `device`, `state` and what follows at the end are ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribedWorker {
    id: String,
    start_time: String,
    status: &'static str,
    memory_usage: u64,
    pid: u32,
    gpu: bool,
    gpu_usage: &'static str,
    device: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<Execution>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JobQueueStatus {
    remaining_capacity: usize,
    pending_requests: usize,
}

fn described(version: &ModelVersion, customized: bool) -> Described {
    let workers = version.workers();
    let (pending_requests, remaining_capacity) = version.queue_load();
    let (min_workers, max_workers) = version.worker_limits();
    let plan = version.plan();
    let gpu = plan.is_some_and(|plan| plan.devices.iter().any(|device| *device != Device::Cpu));
    let state = version.state();
    Described {
        model_name: version.name().to_owned(),
        model_version: version.version().to_owned(),
        model_url: version.url().to_owned(),
        // TorchServe's clients expect the word; what runs the model is no Python.
        runtime: "python",
        min_workers,
        max_workers,
        batch_size: plan.map_or(1, |plan| plan.batch_size),
        max_batch_delay: plan.map_or(0, |plan| plan.max_batch_delay.as_millis()),
        response_timeout: plan.map_or(0, |plan| plan.response_timeout.as_secs()),
        startup_timeout: plan.map_or(0, |plan| plan.startup_timeout.as_secs()),
        max_retry_timeout_in_sec: plan.map_or(0, |plan| plan.max_retry_timeout.as_secs()),
        client_timeout_in_mills: plan
            .and_then(|plan| plan.client_timeout)
            .map_or(0, |time| time.as_millis()),
        parallel_type: "",
        parallel_level: 0,
        device_type: if gpu { "gpu" } else { "cpu" },
        device_ids: plan.and_then(|plan| plan.device_ids.clone()),
        continuous_batching: false,
        use_job_ticket: plan.is_some_and(|plan| plan.use_job_ticket),
        use_venv: false,
        stateful: false,
        sequence_max_idle: 0,
        sequence_timeout: 0,
        max_num_sequence: 1,
        max_sequence_job_queue_size: 1,
        loaded_at_startup: version.loaded_at_startup(),
        workers: workers.iter().map(described_worker).collect(),
        job_queue_status: JobQueueStatus { remaining_capacity, pending_requests },
        customized_metadata: customized.then(|| version.customized().unwrap_or_default()),
        state: state.name(),
        reason: reason(&state, &workers),
        batch_size_reason: plan
            .and_then(|plan| plan.batch_limit.as_ref())
            .map(|limit| limit.reason.clone()),
        execution: version.execution(),
        samples: version.samples(),
    }
}

/// Why the version does not serve, or why one of its workers does not.
fn reason(state: &VersionState, workers: &[WorkerInfo]) -> Option<String> {
    let of_version = state.reason().map(str::to_owned);
    of_version.or_else(|| workers.iter().find_map(|worker| worker.reason.clone()))
}

fn described_worker(worker: &WorkerInfo) -> DescribedWorker {
    DescribedWorker {
        id: worker.id.to_string(),
        start_time: Timestamp::try_from(worker.started)
            .map(|time| format!("{time:.3}"))
            .unwrap_or_default(),
        status: if worker.state == WorkerState::Ready { "READY" } else { "UNLOADING" },
        memory_usage: resident_bytes(),
        pid: std::process::id(),
        gpu: worker.device != Device::Cpu,
        gpu_usage: "N/A",
        device: worker.device.to_string(),
        state: worker.state.to_string(),
        reason: worker.reason.clone(),
        execution: worker.execution.clone(),
    }
}

/// Resident memory of this process, which its workers share; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * rustix::param::page_size() as u64)
}
