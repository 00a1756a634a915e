//! Every figure by name: its kind, unit, labels and help. Nothing else in the server spells them.

pub(crate) mod triton;

use Kind::{Counter, Gauge, Histogram};

/// What a figure does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values by size.
    Histogram,
}

impl Kind {
    /// As the page's `# TYPE` lines have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

/// One figure, whatever its labels' values.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: &'static str,
    /// In the order in which they are written.
    pub(crate) labels: &'static [&'static str],
    /// What it means; `None` for TorchServe's, which have its wording.
    meaning: Option<&'static str>,
}

impl Family {
    const fn torchserve(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, kind, unit, labels, meaning: None }
    }

    const fn ours(
        name: &'static str,
        kind: Kind,
        unit: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self { name, kind, unit, labels, meaning: Some(meaning) }
    }

    /// The text of its `# HELP` line.
    pub(crate) fn help(&self) -> String {
        self.meaning.map_or_else(
            || {
                format!(
                    "Torchserve prometheus {} metric with unit: {}",
                    self.kind.name(),
                    self.unit
                )
            },
            str::to_owned,
        )
    }

    /// Whether TorchServe has it too.
    pub(crate) fn is_torchserves(&self) -> bool {
        self.meaning.is_none()
    }

    /// Whether Triton has it under this name.
    pub(crate) fn is_tritons(&self) -> bool {
        self.name.starts_with("nv_")
    }

    /// Whether it is one of the three that TorchServe's mode `legacy` keeps on the endpoint.
    pub(crate) fn is_legacy(&self) -> bool {
        self.name.starts_with("ts_")
    }
}

const HOST: &[&str] = &["Level", "Hostname"];
const WORKER: &[&str] = &["WorkerName", "Level", "Hostname"];
const MODEL: &[&str] = &["ModelName", "Level", "Hostname"];
const REQUEST: &[&str] = &["model_name", "model_version", "hostname"];
const VERSION: &[&str] = &["model_name", "model_version"];
const NONE: &[&str] = &[];

pub(crate) const REQUESTS_2XX: Family = Family::torchserve("Requests2XX", Counter, "Count", HOST);
pub(crate) const REQUESTS_4XX: Family = Family::torchserve("Requests4XX", Counter, "Count", HOST);
pub(crate) const REQUESTS_5XX: Family = Family::torchserve("Requests5XX", Counter, "Count", HOST);
pub(crate) const TS_REQUESTS: Family =
    Family::torchserve("ts_inference_requests_total", Counter, "Count", REQUEST);
pub(crate) const TS_INFERENCE_LATENCY: Family =
    Family::torchserve("ts_inference_latency_microseconds", Counter, "Microseconds", REQUEST);
pub(crate) const TS_QUEUE_LATENCY: Family =
    Family::torchserve("ts_queue_latency_microseconds", Counter, "Microseconds", REQUEST);
pub(crate) const QUEUE_TIME: Family = Family::torchserve("QueueTime", Gauge, "Milliseconds", HOST);
pub(crate) const WORKER_THREAD_TIME: Family =
    Family::torchserve("WorkerThreadTime", Gauge, "Milliseconds", HOST);
pub(crate) const WORKER_LOAD_TIME: Family =
    Family::torchserve("WorkerLoadTime", Gauge, "Milliseconds", WORKER);
pub(crate) const HANDLER_TIME: Family = Family::torchserve("HandlerTime", Gauge, "ms", MODEL);
pub(crate) const PREDICTION_TIME: Family = Family::torchserve("PredictionTime", Gauge, "ms", MODEL);
pub(crate) const CPU_UTILIZATION: Family =
    Family::torchserve("CPUUtilization", Gauge, "Percent", HOST);
pub(crate) const MEMORY_UTILIZATION: Family =
    Family::torchserve("MemoryUtilization", Gauge, "Percent", HOST);
pub(crate) const MEMORY_USED: Family = Family::torchserve("MemoryUsed", Gauge, "Megabytes", HOST);
pub(crate) const MEMORY_AVAILABLE: Family =
    Family::torchserve("MemoryAvailable", Gauge, "Megabytes", HOST);
pub(crate) const DISK_UTILIZATION: Family =
    Family::torchserve("DiskUtilization", Gauge, "Percent", HOST);
pub(crate) const DISK_USAGE: Family = Family::torchserve("DiskUsage", Gauge, "Gigabytes", HOST);
pub(crate) const DISK_AVAILABLE: Family =
    Family::torchserve("DiskAvailable", Gauge, "Gigabytes", HOST);

pub(crate) const RECEIVED: Family = Family::ours(
    "marserve_requests_received_total",
    Counter,
    "Count",
    VERSION,
    "Requests that chose this version, however they ended.",
);
pub(crate) const ANSWERED: Family = Family::ours(
    "marserve_requests_answered_total",
    Counter,
    "Count",
    VERSION,
    "Requests that ended with the handler's response.",
);
pub(crate) const REFUSED: Family = Family::ours(
    "marserve_requests_refused_total",
    Counter,
    "Count",
    &["model_name", "model_version", "code"],
    "Requests that ended with an error, by its kind.",
);
pub(crate) const ABANDONED: Family = Family::ours(
    "marserve_requests_abandoned_total",
    Counter,
    "Count",
    VERSION,
    "Requests whose client went away before the end.",
);
pub(crate) const REQUEST_SECONDS: Family = Family::ours(
    "marserve_request_seconds",
    Histogram,
    "Seconds",
    VERSION,
    "Time of an answered request in the engine, from its arrival to its response.",
);
pub(crate) const STAGE_SECONDS: Family = Family::ours(
    "marserve_stage_seconds",
    Histogram,
    "Seconds",
    &["model_name", "model_version", "stage"],
    "Time of a request in each stage that it reached, however it ended.",
);
pub(crate) const BATCH_SIZE: Family = Family::ours(
    "marserve_batch_size",
    Histogram,
    "Count",
    VERSION,
    "Requests in one forward pass.",
);
pub(crate) const WORKER_LOSSES: Family = Family::ours(
    "marserve_worker_losses_total",
    Counter,
    "Count",
    VERSION,
    "Workers that went down: a panic, or no end within the response time-out.",
);
pub(crate) const QUEUE_DEPTH: Family = Family::ours(
    "marserve_queue_depth",
    Gauge,
    "Count",
    VERSION,
    "Requests that hold a place in the queue now.",
);
pub(crate) const QUEUE_CAPACITY: Family = Family::ours(
    "marserve_queue_capacity",
    Gauge,
    "Count",
    VERSION,
    "Places in the queue; one request more is refused.",
);
pub(crate) const WORKERS: Family = Family::ours(
    "marserve_workers",
    Gauge,
    "Count",
    &["model_name", "model_version", "state"],
    "Workers now, by what they are doing.",
);
pub(crate) const MODEL_STATE: Family = Family::ours(
    "marserve_model_state",
    Gauge,
    "Count",
    &["model_name", "model_version", "state"],
    "1 for the state that the version is in, 0 for the others.",
);
pub(crate) const SAMPLES: Family = Family::ours(
    "marserve_samples",
    Gauge,
    "Count",
    &["model_name", "model_version", "result"],
    "Known answers of the archive, by what came of them when the model was loaded.",
);
pub(crate) const IN_FLIGHT: Family = Family::ours(
    "marserve_requests_in_flight",
    Gauge,
    "Count",
    NONE,
    "Requests that were taken in and are not answered yet.",
);
pub(crate) const PROCESS_CPU: Family = Family::ours(
    "process_cpu_seconds_total",
    Counter,
    "Seconds",
    NONE,
    "Processor time that the server has used, user and system.",
);
pub(crate) const PROCESS_RESIDENT: Family = Family::ours(
    "process_resident_memory_bytes",
    Gauge,
    "Bytes",
    NONE,
    "Memory of the server that is in RAM.",
);
pub(crate) const PROCESS_VIRTUAL: Family = Family::ours(
    "process_virtual_memory_bytes",
    Gauge,
    "Bytes",
    NONE,
    "Address space of the server.",
);
pub(crate) const PROCESS_THREADS: Family =
    Family::ours("process_threads", Gauge, "Count", NONE, "Threads of the server.");
pub(crate) const PROCESS_OPEN_FDS: Family = Family::ours(
    "process_open_fds",
    Gauge,
    "Count",
    NONE,
    "Files and sockets that the server has open.",
);
pub(crate) const PROCESS_MAX_FDS: Family = Family::ours(
    "process_max_fds",
    Gauge,
    "Count",
    NONE,
    "Files and sockets that the server may have open.",
);
pub(crate) const PROCESS_START: Family = Family::ours(
    "process_start_time_seconds",
    Gauge,
    "Seconds",
    NONE,
    "When the server was started, in seconds since 1970.",
);

/// Read from the system, and left out where that is not wanted.
pub(crate) const SYSTEM: [&Family; 10] = [
    &CPU_UTILIZATION,
    &MEMORY_UTILIZATION,
    &MEMORY_USED,
    &MEMORY_AVAILABLE,
    &DISK_UTILIZATION,
    &DISK_USAGE,
    &DISK_AVAILABLE,
    &triton::CPU_UTILIZATION,
    &triton::CPU_MEMORY_TOTAL,
    &triton::CPU_MEMORY_USED,
];

/// Everything else, in the page's order.
pub(crate) const ALWAYS: [&Family; 32] = [
    &REQUESTS_2XX,
    &REQUESTS_4XX,
    &REQUESTS_5XX,
    &TS_REQUESTS,
    &TS_INFERENCE_LATENCY,
    &TS_QUEUE_LATENCY,
    &QUEUE_TIME,
    &WORKER_THREAD_TIME,
    &WORKER_LOAD_TIME,
    &HANDLER_TIME,
    &PREDICTION_TIME,
    &RECEIVED,
    &ANSWERED,
    &REFUSED,
    &ABANDONED,
    &REQUEST_SECONDS,
    &STAGE_SECONDS,
    &BATCH_SIZE,
    &WORKER_LOSSES,
    &QUEUE_DEPTH,
    &QUEUE_CAPACITY,
    &WORKERS,
    &MODEL_STATE,
    &SAMPLES,
    &IN_FLIGHT,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_THREADS,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_START,
];
