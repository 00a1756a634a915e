//! What the Open Inference Protocol answers below `/v2`, as data, with the JSON of its requests and answers.

use serde_json::{Map, Value, json};

use super::operations::{Answer, Content, Operation, get};

const fn told(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
) -> Operation {
    Operation { answers, ..get(path, id, summary) }
}

/// What is asked by a body, which may be left out where nothing in it is needed.
const fn asked(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Content,
    answers: &'static [Answer],
) -> Operation {
    Operation { method: "post", body, answers, ..get(path, id, summary) }
}

const MODEL: &str = "/v2/models/{model_name}";
const VERSION: &str = "/v2/models/{model_name}/versions/{model_version}";

const CONFIGURED: &str = "a configuration, as Triton has it";

const SERVER: &[Answer] = &[Answer(200, "what it is", Content::Json("ServerMetadata"))];
const LIVE: &[Answer] = &[Answer(200, "it does", Content::Json("Live"))];
const SERVER_READY: &[Answer] = &[
    Answer(200, "every model serves", Content::Json("Ready")),
    Answer(503, "a model does not serve; /readyz tells which", Content::Json("Ready")),
];
const NAMES: &[Answer] = &[Answer(200, "all of them", Content::Json("ModelNames"))];
const METADATA: &[Answer] = &[Answer(200, "what it is", Content::Json("ModelMetadata"))];
const READY: &[Answer] = &[
    Answer(200, "it serves", Content::Json("ModelServes")),
    Answer(503, "it does not", Content::Json("InferenceError")),
];
const CONFIGURATION: &[Answer] =
    &[Answer(200, "as config.pbtxt has it", Content::Json("ModelConfiguration"))];
const STATISTICS: &[Answer] = &[Answer(200, "what was counted", Content::Json("ModelStatistics"))];
const INFERRED: &[Answer] =
    &[Answer(200, "the outputs, as JSON or behind it", Content::Tensors("InferenceResponse"))];
const INDEX: &[Answer] =
    &[Answer(200, "all of them, or those that serve", Content::Json("RepositoryIndex"))];
const LOADED: &[Answer] = &[
    Answer(200, "it serves", Content::Json("ModelLoaded")),
    Answer(503, "models may not be loaded here", Content::Json("InferenceError")),
];
const UNLOADED: &[Answer] = &[
    Answer(200, "no new request reaches it", Content::Json("ModelUnloaded")),
    Answer(503, "models may not be unloaded here", Content::Json("InferenceError")),
];
const LOG: &[Answer] = &[Answer(200, "what is logged", Content::Json("LogSettings"))];
const TRACE: &[Answer] = &[Answer(200, "what is traced", Content::Json("TraceSettings"))];
const SET_TRACE: &[Answer] = &[
    Answer(200, "what is traced", Content::Json("TraceSettings")),
    Answer(501, "it cannot be traced so", Content::Json("InferenceError")),
];
const DONE: &[Answer] = &[Answer(200, "done", Content::Nothing)];
const REGIONS: &[Answer] = &[Answer(200, "what is registered", Content::Json("SystemRegions"))];
const DEVICE_REGIONS: &[Answer] = &[Answer(200, "none, ever", Content::Json("DeviceRegions"))];

const fn infer(path: &'static str, id: &'static str) -> Operation {
    let summary = "run a network on tensors, or a handler on encoded inputs";
    asked(path, id, summary, Content::Tensors("InferenceRequest"), INFERRED)
}

const fn set_trace(path: &'static str, id: &'static str) -> Operation {
    asked(path, id, "change what is traced", Content::Json("TraceChanges"), SET_TRACE)
}

/// Whoever may not load models is told so by 503, and what is not to be had is told by 501.
pub(super) const V2: &[Operation] = &[
    told("/v2", "v2_server", "what the server is and can", SERVER),
    told("/v2/health/live", "v2_live", "whether the server lives", LIVE),
    told("/v2/health/ready", "v2_ready", "whether requests should be sent here", SERVER_READY),
    told("/v2/models", "v2_models", "the names that can be asked for", NAMES),
    told(MODEL, "v2_model", "what a model is", METADATA),
    told(VERSION, "v2_version", "what a version is", METADATA),
    told("/v2/models/{model_name}/ready", "v2_model_ready", "whether a model serves", READY),
    told(
        "/v2/models/{model_name}/versions/{model_version}/ready",
        "v2_version_ready",
        "whether a version serves",
        READY,
    ),
    infer("/v2/models/{model_name}/infer", "v2_infer"),
    infer("/v2/models/{model_name}/versions/{model_version}/infer", "v2_version_infer"),
    told("/v2/models/{model_name}/config", "v2_config", CONFIGURED, CONFIGURATION),
    told(
        "/v2/models/{model_name}/versions/{model_version}/config",
        "v2_version_config",
        CONFIGURED,
        CONFIGURATION,
    ),
    told("/v2/models/stats", "v2_all_statistics", "statistics of every version", STATISTICS),
    told("/v2/models/{model_name}/stats", "v2_statistics", "statistics of a model", STATISTICS),
    told(
        "/v2/models/{model_name}/versions/{model_version}/stats",
        "v2_version_statistics",
        "statistics of a version",
        STATISTICS,
    ),
    asked(
        "/v2/repository/index",
        "v2_index",
        "every model, loaded or not",
        Content::Json("IndexRequest"),
        INDEX,
    ),
    asked(
        "/v2/repository/models/{model_name}/load",
        "v2_load",
        "load a model, or load it anew",
        Content::Json("LoadRequest"),
        LOADED,
    ),
    asked(
        "/v2/repository/models/{model_name}/unload",
        "v2_unload",
        "unload a model",
        Content::Json("UnloadRequest"),
        UNLOADED,
    ),
    told("/v2/logging", "v2_log", "what is logged", LOG),
    asked("/v2/logging", "v2_set_log", "change what is logged", Content::Json("LogChanges"), LOG),
    told("/v2/trace/setting", "v2_trace", "what is traced: nothing", TRACE),
    set_trace("/v2/trace/setting", "v2_set_trace"),
    told(
        "/v2/models/{model_name}/trace/setting",
        "v2_model_trace",
        "what is traced: nothing",
        TRACE,
    ),
    set_trace("/v2/models/{model_name}/trace/setting", "v2_set_model_trace"),
    told("/v2/systemsharedmemory/status", "v2_regions", "regions of shared memory", REGIONS),
    told(
        "/v2/systemsharedmemory/region/{region_name}/status",
        "v2_region",
        "a region of shared memory",
        REGIONS,
    ),
    asked(
        "/v2/systemsharedmemory/region/{region_name}/register",
        "v2_register_region",
        "make a region of shared memory known",
        Content::Json("RegionRequest"),
        DONE,
    ),
    asked(
        "/v2/systemsharedmemory/region/{region_name}/unregister",
        "v2_unregister_region",
        "forget a region of shared memory",
        Content::Nothing,
        DONE,
    ),
    asked(
        "/v2/systemsharedmemory/unregister",
        "v2_unregister_regions",
        "forget every region of shared memory",
        Content::Nothing,
        DONE,
    ),
    told(
        "/v2/cudasharedmemory/status",
        "v2_device_regions",
        "regions of a device's memory",
        DEVICE_REGIONS,
    ),
];

/// The schemas that [`V2`] refers to.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = asked_schemas();
    schemas.extend(told_schemas());
    schemas
}

fn object(required: &[&str], members: &Value) -> Value {
    let mut object = json!({ "type": "object", "properties": members });
    // An empty list is no valid description.
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// All of its members are always there.
fn whole(members: &Value) -> Value {
    let required: Vec<&str> =
        members.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    object(&required, members)
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn collected(schemas: Value) -> Map<String, Value> {
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

/// What clients send.
fn asked_schemas() -> Map<String, Value> {
    let datatype = json!({ "type": "string", "enum": [
        "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
        "FP32", "FP64", "BF16", "BYTES",
    ] });
    let parameters = json!({
        "type": "object",
        "additionalProperties": { "oneOf": [truth(), { "type": "number" }, text()] },
    });
    // A setting of traces has one value; null puts it back to it.
    let only = |value: &str| json!({ "type": "string", "enum": [value, null], "nullable": true });
    collected(json!({
        "Datatype": datatype,
        "Parameters": parameters,
        "InferenceRequest": object(&["inputs"], &json!({
            "id": text(),
            "parameters": schema("Parameters"),
            "inputs": list(&object(&["name", "shape", "datatype"], &json!({
                "name": text(),
                "shape": list(&count()),
                "datatype": schema("Datatype"),
                "parameters": schema("Parameters"),
                "data": list(&json!({})),
            }))),
            "outputs": list(&object(&["name"], &json!({
                "name": text(),
                "parameters": schema("Parameters"),
            }))),
        })),
        "IndexRequest": object(&[], &json!({ "ready": truth() })),
        "LoadRequest": object(&[], &json!({ "parameters": {
            "type": "object",
            "properties": { "config": text() },
            "additionalProperties": false,
        } })),
        "UnloadRequest": object(&[], &json!({ "parameters": {
            "type": "object",
            "properties": { "unload_dependents": truth() },
            "additionalProperties": false,
        } })),
        "LogChanges": object(&[], &json!({
            "log_file": { "type": "string", "enum": [""] },
            "log_info": truth(),
            "log_warning": truth(),
            "log_error": truth(),
            "log_verbose_level": { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 },
            "log_format": { "type": "string", "enum": ["default"] },
        })),
        "TraceChanges": {
            "type": "object",
            "properties": {
                "trace_level": {
                    "type": "array",
                    "items": { "type": "string", "enum": ["OFF"] },
                    "nullable": true,
                },
                "trace_rate": only("1000"),
                "trace_count": only("-1"),
                "log_frequency": only("0"),
                "trace_file": only(""),
                "trace_mode": only("triton"),
            },
            "additionalProperties": false,
        },
        "RegionRequest": object(&["key", "byte_size"], &json!({
            "key": text(),
            "offset": count(),
            "byte_size": count(),
        })),
    }))
}

/// What the server tells.
fn told_schemas() -> Map<String, Value> {
    let side = json!({ "type": "integer", "minimum": -1 });
    let tensor = whole(&json!({
        "name": text(),
        "datatype": schema("Datatype"),
        "shape": list(&side),
    }));
    let tally = || schema("Tally");
    let batch_parts = json!({
        "batch_size": count(),
        "compute_input": tally(),
        "compute_infer": tally(),
        "compute_output": tally(),
    });
    let texts = json!({ "type": "object", "additionalProperties": text() });
    collected(json!({
        "InferenceError": whole(&json!({ "error": text() })),
        "ServerMetadata": whole(&json!({
            "name": text(),
            "version": text(),
            "extensions": list(&text()),
        })),
        "Live": whole(&json!({ "live": truth() })),
        "Ready": whole(&json!({ "ready": truth() })),
        "ModelNames": whole(&json!({ "models": list(&text()) })),
        "ModelServes": whole(&json!({ "name": text(), "ready": truth() })),
        "ModelMetadata": object(&["name", "versions", "platform", "inputs", "outputs"], &json!({
            "name": text(),
            "versions": list(&text()),
            "platform": text(),
            "inputs": list(&tensor),
            "outputs": list(&tensor),
            "properties": texts,
        })),
        "ModelConfiguration": object(
            &["name", "platform", "backend", "max_batch_size", "input", "output", "instance_group"],
            &json!({
                "name": text(),
                "platform": text(),
                "backend": text(),
                "max_batch_size": count(),
                "input": list(&schema("ConfiguredTensor")),
                "output": list(&schema("ConfiguredTensor")),
                "instance_group": list(&json!({ "type": "object" })),
                "dynamic_batching": { "type": "object" },
            }),
        ),
        "ConfiguredTensor": object(&["name", "data_type", "dims"], &json!({
            "name": text(),
            "data_type": { "type": "string", "pattern": "^TYPE_" },
            "dims": list(&side),
        })),
        "Tally": whole(&json!({ "count": count(), "ns": count() })),
        "ModelStatistics": whole(&json!({ "model_stats": list(&whole(&json!({
            "name": text(),
            "version": text(),
            "last_inference": count(),
            "inference_count": count(),
            "execution_count": count(),
            "inference_stats": whole(&json!({
                "success": tally(),
                "fail": tally(),
                "queue": tally(),
                "compute_input": tally(),
                "compute_infer": tally(),
                "compute_output": tally(),
                "cache_hit": tally(),
                "cache_miss": tally(),
            })),
            "response_stats": { "type": "object" },
            "batch_stats": list(&whole(&batch_parts)),
            "memory_usage": list(&json!({ "type": "object" })),
        }))) })),
        "InferenceResponse": object(&["model_name", "outputs"], &json!({
            "id": text(),
            "model_name": text(),
            "model_version": text(),
            "parameters": schema("Parameters"),
            "outputs": list(&object(&["name", "datatype", "shape"], &json!({
                "name": text(),
                "datatype": schema("Datatype"),
                "shape": list(&count()),
                "parameters": schema("Parameters"),
                "data": list(&json!({})),
            }))),
        })),
        "RepositoryIndex": list(&object(&["name"], &json!({
            "name": text(),
            "version": text(),
            "state": { "type": "string", "enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"] },
            "reason": text(),
        }))),
        "ModelLoaded": whole(&json!({ "name": text(), "load": truth() })),
        "ModelUnloaded": whole(&json!({ "name": text(), "unload": truth() })),
        "LogSettings": whole(&json!({
            "log_file": text(),
            "log_info": truth(),
            "log_warning": truth(),
            "log_error": truth(),
            "log_verbose_level": count(),
            "log_format": text(),
        })),
        "TraceSettings": whole(&json!({
            "trace_level": list(&text()),
            "trace_rate": text(),
            "trace_count": text(),
            "log_frequency": text(),
            "trace_file": text(),
            "trace_mode": text(),
        })),
        "SystemRegions": list(&whole(&json!({
            "name": text(),
            "key": text(),
            "offset": count(),
            "byte_size": count(),
        }))),
        "DeviceRegions": list(&whole(&json!({
            "name": text(),
            "device_id": count(),
            "byte_size": count(),
        }))),
    }))
}
