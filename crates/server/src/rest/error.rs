//! Errors on the wire: TorchServe's status codes and its JSON with `code`, `type` and `message`.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use mar_engine::{Error, ErrorCode};
use serde::Serialize;

use super::{Shared, json, surface};
use crate::access::Denied;

/// The body of every error that the server makes.
#[derive(Debug, Serialize)]
struct Body<'a> {
    code: u16,
    r#type: &'a str,
    message: &'a str,
}

/// What a kind of failure is over HTTP: the status, and the class name that TorchServe's clients know.
fn http(code: ErrorCode) -> (StatusCode, &'static str) {
    match code {
        ErrorCode::InvalidInput => (StatusCode::BAD_REQUEST, "BadRequestException"),
        ErrorCode::ModelNotFound => (StatusCode::NOT_FOUND, "ModelNotFoundException"),
        ErrorCode::VersionNotFound => (StatusCode::NOT_FOUND, "ModelVersionNotFoundException"),
        ErrorCode::Conflict => (StatusCode::CONFLICT, "ConflictStatusException"),
        ErrorCode::InvalidModel => (StatusCode::BAD_REQUEST, "InvalidModelException"),
        ErrorCode::DefaultVersion => (StatusCode::FORBIDDEN, "InvalidModelVersionException"),
        ErrorCode::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
        ErrorCode::Timeout => (StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException"),
        ErrorCode::Unsupported => (StatusCode::NOT_IMPLEMENTED, "NotImplementedException"),
        ErrorCode::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
        ErrorCode::PredictionFailed => (StatusCode::SERVICE_UNAVAILABLE, "InternalServerException"),
        ErrorCode::WorkerDied => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
        ErrorCode::OutOfMemory => (StatusCode::INSUFFICIENT_STORAGE, "InternalServerException"),
        ErrorCode::DeviceLost => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
        ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
    }
}

/// An error of the engine or of a handler.
pub(crate) fn response(error: &Error) -> HttpResponse {
    let (status, class) = http(error.code());
    let mut response = body(status, class, error.message());
    if error.code() == ErrorCode::Overloaded {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A line in the log where the failure is not the client's: its message to the client, its causes here.
pub(crate) fn log_failure(error: &Error, model: &str, request_id: &str) {
    let (status, _) = http(error.code());
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE
        || error.code() == ErrorCode::PredictionFailed
    {
        log::error!(request_id; "{model}: {error}");
    }
    log::debug!(request_id; "{model}: {error:?}");
}

/// An error of a class that TorchServe's clients know.
pub(crate) fn body(status: StatusCode, class: &str, message: &str) -> HttpResponse {
    json::response(status, &Body { code: status.as_u16(), r#type: class, message })
}

/// The body was larger than the server takes. TorchServe answers this one without a body.
pub(crate) fn too_large() -> HttpResponse {
    HttpResponse::PayloadTooLarge().finish()
}

/// The body did not arrive or does not parse.
pub(crate) fn bad_request(message: &str) -> HttpResponse {
    body(StatusCode::BAD_REQUEST, "BadRequestException", message)
}

/// The key is missing, wrong or expired. TorchServe answers 400, not 401.
pub(crate) fn invalid_key(denied: &Denied) -> HttpResponse {
    body(StatusCode::BAD_REQUEST, "InvalidKeyException", &denied.to_string())
}

/// What was asked for is not to be had on this server.
pub(crate) fn not_allowed(message: &str) -> HttpResponse {
    body(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedException", message)
}

/// A fault that is not the client's, or that TorchServe does not lay at the client's door.
pub(crate) fn internal(message: &str) -> HttpResponse {
    body(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException", message)
}

/// A path that leads nowhere.
pub(crate) async fn no_such_path(request: HttpRequest) -> HttpResponse {
    let shared = request.app_data::<web::Data<Shared>>();
    let served = shared.map_or(&[][..], |shared| &shared.surfaces);
    let path = match request.path() {
        // `CONNECT` has an address and no path.
        "" => request.uri().to_string(),
        path => path.to_owned(),
    };
    let message = format!("nothing at {path}; {}", surface::advice(&path, served));
    body(StatusCode::NOT_FOUND, "ResourceNotFoundException", &message)
}

/// A path that exists, asked with a method that it does not take.
pub(crate) async fn method_not_allowed(request: HttpRequest) -> HttpResponse {
    not_allowed(&format!("{} is not allowed on {}", request.method(), request.path()))
}
