//! `/models` on the management port: what is loaded, and how it is.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use mar_engine::{Device, ModelVersion, WorkerInfo, WorkerState};
use serde::{Deserialize, Serialize};

use super::{Shared, error, json};

/// Models a page of the list holds at most.
const PAGE: usize = 100;

pub(crate) fn mount(config: &mut web::ServiceConfig) {
    let get = |path: &str| {
        web::resource(path).default_service(web::route().to(error::method_not_allowed))
    };
    config
        .service(get("/").get(error::method_not_allowed))
        .service(get("/models").get(list))
        .service(get("/models/{model}").get(describe))
        .service(get("/models/{model}/{version}").get(describe));
}

#[derive(Debug, Deserialize)]
struct Paging {
    limit: Option<String>,
    next_page_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
    models: Vec<Listed>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    model_name: String,
    model_url: String,
}

/// Default versions, sorted by name. The next page's token is there whenever the page is full, even
/// where it is the last, as TorchServe has it.
async fn list(shared: web::Data<Shared>, paging: web::Query<Paging>) -> HttpResponse {
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<i64>().ok());
    let limit = number(&paging.limit).map_or(PAGE, |limit| {
        usize::try_from(limit).ok().filter(|limit| *limit <= PAGE).unwrap_or(PAGE)
    });
    let start = number(&paging.next_page_token).map_or(0, |t| usize::try_from(t).unwrap_or(0));
    let models = shared.engine.models();
    let end = start.saturating_add(limit);
    let page = List {
        next_page_token: (end <= models.len()).then(|| end.to_string()),
        models: models
            .into_iter()
            .skip(start)
            .take(limit)
            .map(|(name, model)| Listed { model_name: name, model_url: url(&model.default) })
            .collect(),
    };
    json::response(StatusCode::OK, &page)
}

#[derive(Debug, Deserialize)]
struct Target {
    model: String,
    version: Option<String>,
}

/// One version, the default where none is named, or `all` of them: always an array.
async fn describe(shared: web::Data<Shared>, target: web::Path<Target>) -> HttpResponse {
    let versions = match target.version.as_deref() {
        Some("all") => shared.engine.model(&target.model).map(|model| model.versions),
        version => shared.engine.version(&target.model, version).map(|version| vec![version]),
    };
    match versions {
        Ok(versions) => {
            let described: Vec<_> = versions.iter().map(|version| described(version)).collect();
            json::response(StatusCode::OK, &described)
        }
        Err(error) => error::response(&error),
    }
}

/// A version in TorchServe's words and order; `state` and `reason` at the end are ours.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    model_name: String,
    model_version: String,
    model_url: String,
    runtime: &'static str,
    min_workers: usize,
    max_workers: usize,
    batch_size: usize,
    device_type: &'static str,
    loaded_at_startup: bool,
    workers: Vec<DescribedWorker>,
    job_queue_status: JobQueueStatus,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

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
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JobQueueStatus {
    remaining_capacity: usize,
    pending_requests: usize,
}

fn described(version: &ModelVersion) -> Described {
    let workers = version.workers();
    let (pending_requests, remaining_capacity) = version.queue_load();
    let gpu = workers.iter().any(|worker| worker.device != Device::Cpu);
    let state = version.state();
    Described {
        model_name: version.name().to_owned(),
        model_version: version.version().to_owned(),
        model_url: url(version),
        // TorchServe's clients expect the word; what runs the model is no Python.
        runtime: "python",
        min_workers: 1,
        max_workers: 1,
        batch_size: 1,
        device_type: if gpu { "gpu" } else { "cpu" },
        loaded_at_startup: true,
        workers: workers
            .iter()
            .enumerate()
            .map(|(i, worker)| described_worker(i, worker))
            .collect(),
        job_queue_status: JobQueueStatus { remaining_capacity, pending_requests },
        state: state.name(),
        reason: state.reason().map(str::to_owned),
    }
}

fn described_worker(index: usize, worker: &WorkerInfo) -> DescribedWorker {
    DescribedWorker {
        // TorchServe numbers its workers from 9000.
        id: (9000 + index).to_string(),
        start_time: Timestamp::try_from(worker.started)
            .map(|time| format!("{time:.3}"))
            .unwrap_or_default(),
        status: if worker.state == WorkerState::Ready { "READY" } else { "UNLOADING" },
        memory_usage: resident_bytes(),
        pid: std::process::id(),
        gpu: worker.device != Device::Cpu,
        gpu_usage: "N/A",
    }
}

/// Resident memory of this process, which its workers share; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * rustix::param::page_size() as u64)
}

/// An archive's file name, which is what TorchServe shows as its URL.
fn url(version: &ModelVersion) -> String {
    version.archive().file_name().unwrap_or_default().to_string_lossy().into_owned()
}
