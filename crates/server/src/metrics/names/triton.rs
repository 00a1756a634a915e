//! Triton's figures, under its names.

use super::Kind::{Counter, Gauge};
use super::{Family, NONE};

const VERSION: &[&str] = &["model", "version"];

const fn counter(name: &'static str, unit: &'static str, meaning: &'static str) -> Family {
    Family::ours(name, Counter, unit, VERSION, meaning)
}

pub(crate) const SUCCESS: Family = counter(
    "nv_inference_request_success",
    "Count",
    "Requests that were answered since the version was loaded.",
);
pub(crate) const FAILURE: Family = Family::ours(
    "nv_inference_request_failure",
    Counter,
    "Count",
    &["model", "version", "reason"],
    "Requests that were not answered since the version was loaded, by whose fault it was.",
);
pub(crate) const COUNT: Family = counter(
    "nv_inference_count",
    "Count",
    "Rows of the requests that were answered; a request to a handler has one.",
);
pub(crate) const EXEC_COUNT: Family =
    counter("nv_inference_exec_count", "Count", "Batches that were run.");
pub(crate) const REQUEST_DURATION: Family = counter(
    "nv_inference_request_duration_us",
    "Microseconds",
    "Time of the requests that were answered, from their arrival to their end.",
);
pub(crate) const QUEUE_DURATION: Family = counter(
    "nv_inference_queue_duration_us",
    "Microseconds",
    "Time of the requests that were answered in the queue.",
);
pub(crate) const COMPUTE_INPUT: Family = counter(
    "nv_inference_compute_input_duration_us",
    "Microseconds",
    "Time in which their inputs were made ready.",
);
pub(crate) const COMPUTE_INFER: Family = counter(
    "nv_inference_compute_infer_duration_us",
    "Microseconds",
    "Time in which the network ran for them.",
);
pub(crate) const COMPUTE_OUTPUT: Family = counter(
    "nv_inference_compute_output_duration_us",
    "Microseconds",
    "Time in which their outputs were taken apart.",
);
pub(crate) const PENDING: Family = Family::ours(
    "nv_inference_pending_request_count",
    Gauge,
    "Count",
    VERSION,
    "Requests that hold a place in the queue now.",
);
pub(crate) const CPU_UTILIZATION: Family = Family::ours(
    "nv_cpu_utilization",
    Gauge,
    "Share",
    NONE,
    "Share of the processors' time that was not idle since the last reading, from 0 to 1.",
);
pub(crate) const CPU_MEMORY_TOTAL: Family =
    Family::ours("nv_cpu_memory_total_bytes", Gauge, "Bytes", NONE, "Memory of the machine.");
pub(crate) const CPU_MEMORY_USED: Family = Family::ours(
    "nv_cpu_memory_used_bytes",
    Gauge,
    "Bytes",
    NONE,
    "Memory of the machine that is not available.",
);

/// What is counted of versions, in the page's order.
pub(crate) const OF_VERSIONS: [&Family; 10] = [
    &SUCCESS,
    &FAILURE,
    &COUNT,
    &EXEC_COUNT,
    &REQUEST_DURATION,
    &QUEUE_DURATION,
    &COMPUTE_INPUT,
    &COMPUTE_INFER,
    &COMPUTE_OUTPUT,
    &PENDING,
];
