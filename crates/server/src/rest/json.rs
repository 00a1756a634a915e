//! The server's own JSON: indented by two spaces and ended by a line feed, as TorchServe sends it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

/// A value as a JSON response.
pub(crate) fn response(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            HttpResponse::build(status).content_type("application/json").body(body)
        }
        Err(error) => {
            log::error!("an answer has no JSON form: {error}");
            HttpResponse::InternalServerError().finish()
        }
    }
}
