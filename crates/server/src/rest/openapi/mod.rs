//! Descriptions of the ports in OpenAPI, made from the tables in [`operations`].
//!
//! OpenAPI 3.0, which is what TorchServe sends and what most generators of clients read.

mod operations;
mod v2;

use std::future::ready;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};

use self::operations::{Answer, Content, Operation, Parameter};
use super::{error, json};

const JSON: &str = "application/json";

/// Describes the inference port.
pub(super) fn inference() -> HttpResponse {
    let operations = operations::INFERENCE.iter().chain(v2::V2);
    port("answers predictions", operations)
}

/// Describes the management port.
pub(super) fn management() -> HttpResponse {
    port("registers, scales and describes models", operations::MANAGEMENT)
}

/// Describes the metrics port.
pub(super) fn metrics() -> HttpResponse {
    port("tells what the server measured", operations::METRICS)
}

/// Describes what can be asked of one version of a model.
pub(super) fn model(name: &str, version: &str) -> HttpResponse {
    of_model(operations::INFERENCE, name, version)
}

/// Describes how one version of a model is managed.
pub(super) fn managed_model(name: &str, version: &str) -> HttpResponse {
    of_model(operations::MANAGEMENT, name, version)
}

fn of_model(operations: &[Operation], name: &str, version: &str) -> HttpResponse {
    let of_model = operations.iter().filter(|it| it.path.contains("{model_name}"));
    let mut paths = Map::new();
    for operation in of_model {
        // The template becomes this model's own path, and its parameters go.
        let path = operation.path.replace("{model_name}", &segment(name));
        let path = path.replace("{model_version}", &segment(version));
        add(&mut paths, path, operation);
    }
    let info = json!({
        "title": format!("model {name}"),
        "description": format!("version {version}, served by marserve"),
        "version": "1.0.0",
    });
    document(&info, &paths)
}

/// Mounts a port's description where TorchServe has it: `OPTIONS /` and `/api-description`. Not for the
/// inference port, which has it among its own paths.
pub(super) fn mount(config: &mut web::ServiceConfig, description: fn() -> HttpResponse) {
    let described = move || ready(description());
    let root = web::resource("/")
        .route(web::method(Method::OPTIONS).to(described))
        .default_service(web::route().to(error::method_not_allowed));
    config.service(root).route("/api-description", web::route().to(described));
}

fn port<'a>(purpose: &str, operations: impl IntoIterator<Item = &'a Operation>) -> HttpResponse {
    let mut paths = Map::new();
    for operation in operations {
        add(&mut paths, operation.path.to_owned(), operation);
    }
    let info = json!({
        "title": "marserve APIs",
        "description": format!("this port {purpose}"),
        "version": env!("CARGO_PKG_VERSION"),
    });
    document(&info, &paths)
}

fn document(info: &Value, paths: &Map<String, Value>) -> HttpResponse {
    let mut schemas = operations::schemas();
    if let Value::Object(schemas) = &mut schemas {
        schemas.extend(v2::schemas());
    }
    let document = json!({
        "openapi": "3.0.1",
        "info": info,
        "paths": paths,
        "components": { "schemas": schemas },
    });
    json::response(StatusCode::OK, &document)
}

/// Adds an operation to the item of its path.
fn add(paths: &mut Map<String, Value>, path: String, operation: &Operation) {
    let described = described(&path, operation);
    let item = paths.entry(path).or_insert_with(|| json!({}));
    if let Value::Object(item) = item {
        item.insert(operation.method.to_owned(), described);
    }
}

fn described(path: &str, operation: &Operation) -> Value {
    let mut described = json!({ "operationId": operation.id, "summary": operation.summary });
    let mut parameters: Vec<Value> = names(path).map(in_path).collect();
    parameters.extend(operation.query.iter().map(in_query));
    if !parameters.is_empty() {
        described["parameters"] = Value::from(parameters);
    }
    if operation.body != Content::Nothing {
        described["requestBody"] = json!({ "content": content(operation.body) });
    }
    let mut responses: Map<String, Value> = operation.answers.iter().map(response).collect();
    let error = if path == "/v2" || path.starts_with("/v2/") { "InferenceError" } else { "Error" };
    let failure = Answer(0, "an error", Content::Json(error));
    responses.insert("default".to_owned(), response(&failure).1);
    described["responses"] = Value::Object(responses);
    if operation.deprecated {
        described["deprecated"] = Value::from(true);
    }
    described
}

/// The names in the braces of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

fn in_path(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn in_query(Parameter { name, kind, about, required }: &Parameter) -> Value {
    let schema = match *kind {
        "array" => json!({ "type": "array", "items": { "type": "string" } }),
        kind => json!({ "type": kind }),
    };
    json!({
        "name": name, "in": "query", "required": required, "description": about, "schema": schema,
    })
}

fn response(Answer(status, about, body): &Answer) -> (String, Value) {
    let mut response = json!({ "description": about });
    if *body != Content::Nothing {
        response["content"] = content(*body);
    }
    (status.to_string(), response)
}

/// The media types that a body may have.
fn content(body: Content) -> Value {
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    match body {
        Content::Nothing => json!({}),
        Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Content::Any => json!({ "*/*": binary }),
        Content::Inputs => json!({
            "*/*": binary,
            "multipart/form-data": { "schema": { "$ref": "#/components/schemas/Form" } },
        }),
        Content::Json(schema) => {
            let reference = format!("#/components/schemas/{schema}");
            json!({ JSON: { "schema": { "$ref": reference } } })
        }
        Content::Tensors(schema) => {
            let reference = format!("#/components/schemas/{schema}");
            json!({
                JSON: { "schema": { "$ref": reference } },
                "application/octet-stream": binary,
            })
        }
    }
}

/// A name as a path carries it.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, SEGMENT).to_string()
}

/// All but what a segment may hold as it is (RFC 3986, unreserved).
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Paths of the inference port's description, for the tests of its routes.
#[cfg(test)]
pub(super) fn inference_paths() -> Vec<&'static str> {
    operations::INFERENCE.iter().map(|operation| operation.path).collect()
}

/// Paths below `/v2` with their methods, for the tests of their routes.
#[cfg(test)]
pub(super) fn v2_paths() -> Vec<(&'static str, &'static str)> {
    v2::V2.iter().map(|operation| (operation.path, operation.method)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_braces_are_parameters() {
        assert_eq!(names("/a/{b}/{c}:d").collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(names("/a").count(), 0);
    }

    #[test]
    fn a_name_that_a_path_cannot_hold_is_encoded() {
        assert_eq!(segment("a b/{c}~1.0-x_"), "a%20b%2F%7Bc%7D~1.0-x_");
    }
}
