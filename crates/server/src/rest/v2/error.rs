//! Errors of the Open Inference Protocol over HTTP: `{"error": "..."}`, of type `application/json` exactly,
//! and of Triton's status codes.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use mar_engine::{Error, ErrorCode};
use serde::Serialize;

use crate::access::Denied;

#[derive(Debug, Serialize)]
struct Body<'a> {
    error: &'a str,
}

/// What a kind of failure is to this protocol's clients.
fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidInput
        | ErrorCode::Conflict
        | ErrorCode::InvalidModel
        | ErrorCode::DefaultVersion => StatusCode::BAD_REQUEST,
        ErrorCode::ModelNotFound | ErrorCode::VersionNotFound => StatusCode::NOT_FOUND,
        ErrorCode::Overloaded | ErrorCode::Timeout | ErrorCode::Unavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorCode::PredictionFailed
        | ErrorCode::WorkerDied
        | ErrorCode::OutOfMemory
        | ErrorCode::DeviceLost
        | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error of the service.
pub(super) fn response(error: &Error) -> HttpResponse {
    let mut response = body(status(error.code()), error.message());
    if error.code() == ErrorCode::Overloaded {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// An error of this status.
pub(super) fn body(status: StatusCode, message: &str) -> HttpResponse {
    let body = serde_json::to_vec(&Body { error: message }).unwrap_or_default();
    HttpResponse::build(status).content_type("application/json").body(body)
}

/// A body that is larger than the server takes.
pub(super) fn too_large(limit: usize) -> HttpResponse {
    body(
        StatusCode::PAYLOAD_TOO_LARGE,
        &format!("the body is larger than max_request_size, which is {limit} bytes"),
    )
}

/// A body in an encoding that nobody here reads.
pub(super) fn unknown_encoding() -> HttpResponse {
    let mut response = body(
        StatusCode::NOT_IMPLEMENTED,
        "this Content-Encoding is not taken; send gzip, deflate or none",
    );
    response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
    response
}

/// The key is missing, wrong or expired.
pub(in crate::rest) fn unauthorized(denied: &Denied) -> HttpResponse {
    let mut response = body(StatusCode::UNAUTHORIZED, &denied.to_string());
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A path that leads nowhere.
pub(super) fn no_such_path() -> HttpResponse {
    body(StatusCode::NOT_FOUND, "Not Found")
}

/// A path that exists, asked with a method that it does not take.
pub(super) fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let mut response = body(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
