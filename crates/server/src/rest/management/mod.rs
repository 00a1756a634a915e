//! The management port: which models there are, and who may come, grow and go.

pub(crate) mod describe;
pub(crate) mod list;
pub(crate) mod parameters;
pub(crate) mod register;
pub(crate) mod scale;
pub(crate) mod versions;

use actix_web::guard::Guard;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, guard, web};
use mar_engine::{Error, ErrorCode};
use serde::{Deserialize, Serialize};

use super::common::RequestId;
use super::{Shared, body, error, json};
use crate::fetch::FetchError;

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
pub(crate) type Answer = (StatusCode, String);

/// Who asked for something, for the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// What was asked for.
    pub(crate) path: String,
    /// The server's identifier of the request.
    pub(crate) id: String,
}

impl Asked {
    fn by(request: &HttpRequest) -> Self {
        Self { path: request.path().to_owned(), id: RequestId::of(request) }
    }
}

/// Why something was not done, whichever protocol asked for it.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It was not allowed at the start.
    NotAllowed(&'static str),
    /// There is no archive to register.
    Fetch(FetchError),
    /// It failed, or what was asked for is wrong.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What TorchServe says where workers come or go behind the answer.
fn processing() -> Answer {
    (StatusCode::ACCEPTED, "Processing worker updates...".into())
}

/// Runs what blocks on a thread of its own kind. A failure that is not the client's is logged.
async fn done(
    asked: &Asked,
    work: impl FnOnce() -> Result<Answer, Error> + Send + 'static,
) -> Result<Answer, Refused> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(cut_off()));
    done.map_err(|failure| {
        error::log_failure(&failure, &asked.path, &asked.id);
        Refused::Failed(failure)
    })
}

/// The work panicked, or the server ends.
fn cut_off() -> Error {
    Error::new(ErrorCode::Internal, "the request was cut off; the log says why")
}

/// What REST answers.
fn respond(done: Result<Answer, Refused>) -> HttpResponse {
    match done {
        Ok((code, status)) => json::response(code, &Status { status: &status }),
        Err(Refused::NotAllowed(message)) => error::not_allowed(message),
        Err(Refused::Fetch(failure)) => failure.response(),
        Err(Refused::Failed(failure)) => error::response(&failure),
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

/// Refuses what changes the list of models, where that was not allowed at the start.
fn gate(shared: &Shared) -> Result<(), Refused> {
    if shared.settings.access.model_api {
        return Ok(());
    }
    Err(Refused::NotAllowed(
        "registering and unregistering models is off; start with --enable-model-api or enable_model_api=true",
    ))
}
