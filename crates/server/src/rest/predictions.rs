//! `/predictions/{model}[/{version}[/{path}]]`, with any method, as TorchServe has it.

use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use mar_engine::{Header, Request, Response};
use serde::Deserialize;

use super::common::RequestId;
use super::{Shared, body, error};

#[derive(Debug, Deserialize)]
struct Target {
    model: String,
    version: Option<String>,
    #[serde(default)]
    url_path: String,
}

pub(crate) fn mount(config: &mut web::ServiceConfig) {
    config
        .route("/", web::route().to(error::method_not_allowed))
        .route("/predictions/{model}", web::route().to(predict))
        .route("/predictions/{model}/{version}", web::route().to(predict))
        .route("/predictions/{model}/{version}/{url_path:.*}", web::route().to(predict));
}

async fn predict(
    shared: web::Data<Shared>,
    target: web::Path<Target>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let outcome = admitted(&shared, target.into_inner(), &request, payload).await;
    outcome.unwrap_or_else(|refused| refused)
}

async fn admitted(
    shared: &Shared,
    Target { model, version, url_path }: Target,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, HttpResponse> {
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let refused = |error: mar_engine::Error| {
        error::log_failure(&error, &model, &id);
        error::response(&error)
    };
    let (engine, version) = (&shared.engine, version.as_deref());
    let admission = engine.admit().map_err(refused)?;
    // Before the body is read: a model that is not there costs no upload.
    engine.version(&model, version).map_err(refused)?;
    let parts = body::parts(request, payload, shared.settings.max_request_size).await?;
    let asked = Request { id: id.clone(), url_path, headers: headers(request), parts };
    let answered = engine.predict(&admission, &model, version, asked).await.map_err(refused)?;
    Ok(answer(answered.response))
}

/// The client's headers; a value that is not text is left out.
fn headers(request: &HttpRequest) -> Vec<Header> {
    request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

/// A handler's response; no content type where the handler gave none.
fn answer(response: Response) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::OK);
    let mut answer = HttpResponse::build(status);
    for header in response.headers {
        answer.append_header(header);
    }
    if let Some(content_type) = response.content_type {
        answer.content_type(content_type);
    }
    answer.body(response.body)
}
