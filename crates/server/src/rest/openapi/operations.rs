//! What each port answers, as data. The identifiers of operations are TorchServe's where it has them.

use serde_json::{Value, json};

/// A method on a path.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) path: &'static str,
    /// In lower case, as OpenAPI has it. Inference takes every method; one stands for all.
    pub(super) method: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) body: Content,
    pub(super) answers: &'static [Answer],
    pub(super) deprecated: bool,
}

/// A parameter of the query; `kind` is OpenAPI's type, `array` one of strings.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) about: &'static str,
    pub(super) required: bool,
}

/// A status, when it comes, and what comes with it. Errors are every operation's.
#[derive(Debug)]
pub(super) struct Answer(pub(super) u16, pub(super) &'static str, pub(super) Content);

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    Text,
    /// Whatever the handler makes.
    Any,
    /// Whatever the handler takes, whole or as a form.
    Inputs,
    /// JSON of the schema of this name.
    Json(&'static str),
    /// JSON of the schema of this name, alone or with the bytes of tensors behind it.
    Tensors(&'static str),
}

pub(super) const fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        path,
        method: "get",
        id,
        summary,
        query: &[],
        body: Content::Nothing,
        answers: &[],
        deprecated: false,
    }
}

const fn prediction(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "post",
        body: Content::Inputs,
        answers: PREDICTED,
        ..get(path, id, summary)
    }
}

const fn explanation(path: &'static str, id: &'static str) -> Operation {
    const NEVER: &[Answer] =
        &[Answer(501, "explanations need Python and are not computed", Content::Json("Error"))];
    Operation { answers: NEVER, ..prediction(path, id, "explain a prediction") }
}

const fn kserve(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    const ANSWER: &[Answer] = &[Answer(
        200,
        "one prediction an instance, or the outputs where inputs were sent",
        Content::Json("Predictions"),
    )];
    let body = Content::Json("Instances");
    Operation { body, answers: ANSWER, ..prediction(path, id, summary) }
}

const fn legacy(path: &'static str, id: &'static str) -> Operation {
    Operation {
        deprecated: true,
        ..prediction(path, id, "predict; the query's parameters are inputs")
    }
}

const fn parameter(name: &'static str, kind: &'static str, about: &'static str) -> Parameter {
    Parameter { name, kind, about, required: false }
}

const PREDICTED: &[Answer] = &[Answer(200, "the handler's response", Content::Any)];
const DESCRIBED: &[Answer] = &[Answer(200, "this document", Content::Json("Document"))];
const ROOT: Operation = Operation {
    method: "options",
    answers: DESCRIBED,
    ..get("/", "apiDescription", "describe this port")
};
const API_DESCRIPTION: Operation = Operation {
    answers: DESCRIBED,
    ..get("/api-description", "api-description", "describe this port")
};

const MODEL_READY: Operation = Operation {
    answers: &[Answer(200, "whether a worker serves it", Content::Json("ModelReady"))],
    ..get("/v1/models/{model_name}", "modelReady", "ask whether a model is ready, as KServe asks")
};

pub(super) const INFERENCE: &[Operation] = &[
    ROOT,
    Operation {
        answers: &[Answer(200, "the process answers", Content::Json("Status"))],
        ..get("/", "alive", "whether the server lives, as KServe asks")
    },
    Operation {
        answers: &[
            Answer(200, "every model serves or loads", Content::Json("Status")),
            Answer(500, "a model does not serve", Content::Json("Status")),
        ],
        ..get("/ping", "ping", "health, as TorchServe has it")
    },
    Operation {
        answers: &[Answer(200, "the process answers", Content::Json("Status"))],
        ..get("/livez", "live", "whether the server lives")
    },
    Operation {
        answers: &[
            Answer(200, "every model serves", Content::Json("Readiness")),
            Answer(503, "which models do not serve, and why", Content::Json("Readiness")),
        ],
        ..get("/readyz", "ready", "whether requests should be sent here")
    },
    prediction("/predictions/{model_name}", "predictions", "predict by the default version"),
    prediction(
        "/predictions/{model_name}/{model_version}",
        "version_predictions",
        "predict by one version",
    ),
    prediction(
        "/predictions/{model_name}/{model_version}/{url_path}",
        "path_predictions",
        "predict; the handler is told the rest of the path, which may have slashes",
    ),
    explanation("/explanations/{model_name}", "explanations"),
    explanation("/explanations/{model_name}/{model_version}", "version_explanations"),
    explanation("/explanations/{model_name}/{model_version}/{url_path}", "path_explanations"),
    MODEL_READY,
    Operation {
        answers: &[Answer(200, "whether a worker serves it", Content::Json("ModelReady"))],
        ..get(
            "/v1/models/{model_name}/versions/{model_version}",
            "versionReady",
            "ask whether a version is ready",
        )
    },
    Operation {
        answers: &[Answer(200, "the names of all models", Content::Json("Models"))],
        ..get("/v1/models", "kserve_v1_models", "list the models, as KServe does")
    },
    kserve("/v1/models/{model_name}:predict", "kserve_v1_predict", "predict many instances"),
    kserve(
        "/v1/models/{model_name}/versions/{model_version}:predict",
        "kserve_v1_version_predict",
        "predict many instances by one version",
    ),
    explanation("/v1/models/{model_name}:explain", "kserve_v1_explain"),
    explanation(
        "/v1/models/{model_name}/versions/{model_version}:explain",
        "kserve_v1_version_explain",
    ),
    Operation {
        query: &[parameter("model_name", "string", "the model, where there are several")],
        ..prediction("/invocations", "invocations", "predict, as SageMaker asks")
    },
    prediction(
        "/models/{model_name}/invoke",
        "invoke",
        "predict, as SageMaker asks where an endpoint has many models",
    ),
    legacy("/{model_name}/predict", "predict"),
    legacy("/{model_name}/{model_version}/predict", "version_predict"),
    API_DESCRIPTION,
];

const MODEL: &str = "/models/{model_name}";
const VERSION: &str = "/models/{model_name}/{model_version}";

const SCALING: &[Parameter] = &[
    parameter("min_worker", "integer", "workers at least; 1 by default"),
    parameter("max_worker", "integer", "workers at most; min_worker by default"),
    parameter("synchronous", "boolean", "answer once the workers are there; false by default"),
    parameter("model_version", "string", "the version, where the path names none"),
    parameter("number_gpu", "integer", "new workers on the first so many of its devices alone"),
];
const STATUS: &[Answer] = &[Answer(200, "done", Content::Json("Status"))];
const SCALED: &[Answer] =
    &[Answer(200, "done", Content::Json("Status")), Answer(202, "begun", Content::Json("Status"))];

const fn describe(path: &'static str, id: &'static str) -> Operation {
    const ANSWER: &[Answer] =
        &[Answer(200, "the versions asked for", Content::Json("ModelDescriptions"))];
    const QUERY: &[Parameter] =
        &[parameter("customized", "boolean", "with what its handler tells; false by default")];
    Operation { query: QUERY, answers: ANSWER, ..get(path, id, "describe a model") }
}

const fn scale(path: &'static str, id: &'static str) -> Operation {
    let summary = "change the number of workers";
    Operation { method: "put", query: SCALING, answers: SCALED, ..get(path, id, summary) }
}

const fn unregister(path: &'static str, id: &'static str) -> Operation {
    Operation { method: "delete", answers: STATUS, ..get(path, id, "unload a version") }
}

pub(super) const MANAGEMENT: &[Operation] = &[
    ROOT,
    Operation {
        query: &[
            parameter("limit", "integer", "models at most; 100 by default and at most"),
            parameter("next_page_token", "string", "the last page's nextPageToken"),
        ],
        answers: &[Answer(200, "a page of models", Content::Json("ModelList"))],
        ..get("/models", "listModels", "list the models")
    },
    Operation {
        method: "post",
        query: &[
            Parameter {
                required: true,
                ..parameter("url", "string", "the archive's name in the model store, or its URL")
            },
            parameter("model_name", "string", "the manifest's by default"),
            parameter("handler", "string", "the manifest's by default"),
            parameter("runtime", "string", "python, python3 or LSP; makes no difference"),
            parameter("batch_size", "integer", "requests in a batch at most; 1 by default"),
            parameter("max_batch_delay", "integer", "milliseconds a batch waits; 100 by default"),
            parameter("initial_workers", "integer", "workers at the start"),
            parameter("synchronous", "boolean", "answer once they are there; true by default"),
            parameter("response_timeout", "integer", "seconds; 120 by default"),
            parameter("startup_timeout", "integer", "seconds; 120 by default"),
            parameter("s3_sse_kms", "boolean", "true is not supported"),
            parameter(
                "replace",
                "boolean",
                "take the place of the same version without a request lost",
            ),
        ],
        answers: SCALED,
        ..get("/models", "registerModel", "load a model")
    },
    describe(MODEL, "describeModel"),
    scale(MODEL, "setAutoScale"),
    unregister(MODEL, "unregisterModel"),
    describe(VERSION, "version_describeModel"),
    scale(VERSION, "version_setAutoScale"),
    unregister(VERSION, "version_unregisterModel"),
    Operation {
        method: "put",
        answers: STATUS,
        ..get(
            "/models/{model_name}/{model_version}/set-default",
            "setDefault",
            "make a version the default one",
        )
    },
    MODEL_READY,
    Operation {
        query: &[Parameter {
            required: true,
            ..parameter("type", "string", "inference or management")
        }],
        answers: &[Answer(200, "the new token is in the key file", Content::Text)],
        ..get("/token", "token", "renew a token, with the API key, where tokens are asked for")
    },
    API_DESCRIPTION,
];

pub(super) const METRICS: &[Operation] = &[
    ROOT,
    Operation {
        query: &[parameter("name[]", "array", "only figures of these names")],
        answers: &[Answer(200, "Prometheus' text format", Content::Text)],
        ..get("/metrics", "metrics", "what was measured")
    },
    API_DESCRIPTION,
];

/// The JSON that operations refer to.
pub(super) fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let integer = json!({ "type": "integer" });
    let object = |members: Value| json!({ "type": "object", "properties": members });
    let list = |of: Value| json!({ "type": "array", "items": of });
    let execution = json!({
        "type": "object",
        "required": ["runtime"],
        "properties": { "runtime": text },
        "additionalProperties": true,
    });
    let listed = object(json!({ "modelName": text, "modelUrl": text }));
    let unready = object(json!({ "model": text, "version": text, "reason": text }));
    json!({
        "Document": { "type": "object" },
        "Error": object(json!({ "code": integer, "type": text, "message": text })),
        "Form": {
            "type": "object",
            "properties": { "data": { "type": "string", "format": "binary" } },
            "additionalProperties": true,
        },
        "Instances": {
            "type": "object",
            "anyOf": [{ "required": ["instances"] }, { "required": ["inputs"] }],
            "properties": { "instances": list(json!({})), "inputs": {}, "signature_name": text },
        },
        "ModelDescriptions": list(object(json!({
            "modelName": text,
            "modelVersion": text,
            "modelUrl": text,
            "minWorkers": integer,
            "maxWorkers": integer,
            "batchSize": integer,
            "workers": list(object(json!({ "id": text, "status": text, "execution": execution }))),
            "batchSizeReason": text,
            "execution": execution,
            "samples": object(json!({
                "mode": text,
                "verdict": text,
                "replayed": integer,
                "differing": integer,
                "of": integer,
                "first_difference": object(json!({
                    "sample": text,
                    "stage": text,
                    "figures": text,
                })),
                "reason": text,
            })),
        }))),
        "ModelList": object(json!({ "nextPageToken": text, "models": list(listed) })),
        "ModelReady": object(json!({
            "name": text,
            "ready": { "type": "boolean" },
            "model_version_status": list(object(json!({
                "version": text,
                "state": text,
                "status": object(json!({ "error_code": text, "error_message": text })),
            }))),
        })),
        "Models": object(json!({ "models": list(text.clone()) })),
        "Predictions": object(json!({ "predictions": list(json!({})), "outputs": {} })),
        "Readiness": object(json!({ "status": text, "reason": text, "models": list(unready) })),
        "Status": object(json!({ "status": text })),
    })
}
