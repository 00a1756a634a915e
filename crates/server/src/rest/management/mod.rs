//! The management port: which models there are, and who may come, grow and go.

mod describe;
mod list;
pub(super) mod parameters;
mod register;
mod scale;
mod versions;

use actix_web::guard::Guard;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use mar_engine::{Error, ErrorCode};
use serde::{Deserialize, Serialize};

use super::common::RequestId;
use super::{Shared, body, error, json};

pub(crate) fn mount(config: &mut web::ServiceConfig) {
    let resource = |path: &str| {
        web::resource(path).default_service(web::route().to(error::method_not_allowed))
    };
    config
        .service(
            resource("/models")
                .get(list::list)
                .route(web::post().guard(json_body()).to(register::from_json))
                .post(register::from_query),
        )
        .service(resource("/models/{model}/{version}/set-default").put(versions::set_default))
        .service(resource("/v1/models/{model}").get(versions::kserve_ready));
    for path in ["/models/{model}", "/models/{model}/{version}"] {
        config.service(
            resource(path)
                .get(describe::describe)
                .put(scale::scale)
                .delete(versions::unregister)
                .route(web::method(Method::OPTIONS).to(versions::options)),
        );
    }
}

/// A request whose body is JSON.
fn json_body() -> impl Guard {
    guard::fn_guard(|context| {
        let media_type = body::media_type(context.head().headers());
        media_type.is_some_and(|it| it.eq_ignore_ascii_case("application/json"))
    })
}

/// A model, and a version where one is named.
#[derive(Debug, Deserialize)]
struct Target {
    model: String,
    version: Option<String>,
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    status: &'a str,
}

/// A status code, and the sentence of a [`Status`].
type Answer = (StatusCode, String);

/// What TorchServe says where workers come or go behind the answer.
fn processing() -> Answer {
    (StatusCode::ACCEPTED, "Processing worker updates...".into())
}

/// Runs what blocks on a thread of its own kind, and answers with what it came to.
async fn answer(
    request: &HttpRequest,
    work: impl FnOnce() -> Result<Answer, Error> + Send + 'static,
) -> HttpResponse {
    let id = RequestId::of(request);
    match web::block(work).await {
        Ok(Ok((code, status))) => json::response(code, &Status { status: &status }),
        Ok(Err(failure)) => {
            error::log_failure(&failure, request.path(), &id);
            error::response(&failure)
        }
        Err(_) => error::internal("the request was cut off; the log says why"),
    }
}

/// A worker that did not load: TorchServe answers 500 whatever the reason, and 507 where memory ran out.
fn worker_failure(failure: &Error, name: &str, version: &str) -> Error {
    let code = match failure.code() {
        ErrorCode::OutOfMemory => ErrorCode::OutOfMemory,
        _ => ErrorCode::Internal,
    };
    let message = format!("Failed to start workers for model {name} version: {version}: {failure}");
    Error::new(code, message).caused_by(failure.clone())
}

/// Why nothing that changes the list of models is done, where that was not allowed at the start.
fn closed_gate(shared: &Shared) -> Option<HttpResponse> {
    (!shared.settings.access.model_api).then(|| {
        error::not_allowed(
            "registering and unregistering models is off; start with --enable-model-api or enable_model_api=true",
        )
    })
}
