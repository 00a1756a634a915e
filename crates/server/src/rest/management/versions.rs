//! A model goes, another version becomes the default, and KServe's question whether one is ready.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{Answer, Asked, Refused, Target, error, gate, respond};
use crate::fetch::Resolved;
use crate::rest::{Shared, health, openapi};

/// `DELETE /models/{model}[/{version}]`.
pub(super) async fn unregister(
    shared: web::Data<Shared>,
    target: web::Path<Target>,
    request: HttpRequest,
) -> HttpResponse {
    let Target { model, version } = target.into_inner();
    respond(unregistered(&shared, (model, version), &Asked::by(&request)).await)
}

/// Takes a version out, the default where none is named, and ends it.
///
/// # Errors
/// Why it stays.
pub(crate) async fn unregistered(
    shared: &Shared,
    (model, version): (String, Option<String>),
    asked: &Asked,
) -> Result<Answer, Refused> {
    gate(shared)?;
    let shared = shared.clone();
    let work = move || {
        let version = shared.engine.take_out(&model, version.as_deref())?;
        // From now on, however long its workers take.
        shared.changed();
        Resolved::registered(version.url(), version.archive()).discard();
        shared.engine.unload(&version)?;
        Ok((StatusCode::OK, format!("Model \"{model}\" unregistered")))
    };
    super::done(asked, work).await
}

/// `PUT /models/{model}/{version}/set-default`.
pub(super) async fn set_default(
    shared: web::Data<Shared>,
    target: web::Path<(String, String)>,
    request: HttpRequest,
) -> HttpResponse {
    respond(default_set(&shared, target.into_inner(), &Asked::by(&request)).await)
}

/// Makes a version its model's default.
///
/// # Errors
/// Why it does not become that.
pub(crate) async fn default_set(
    shared: &Shared,
    (model, version): (String, String),
    asked: &Asked,
) -> Result<Answer, Refused> {
    let shared = shared.clone();
    let work = move || {
        shared.engine.set_default(&model, &version)?;
        shared.changed();
        let text =
            format!("Default version successfully updated for model \"{model}\" to \"{version}\"");
        Ok((StatusCode::OK, text))
    };
    super::done(asked, work).await
}

/// `GET /v1/models/{model}`, which the inference port has as well.
pub(super) async fn kserve_ready(
    shared: web::Data<Shared>,
    model: web::Path<String>,
) -> HttpResponse {
    health::model_ready(&shared.engine, &model, None)
}

/// `OPTIONS /models/{model}[/{version}]`: the description of what can be asked here.
pub(super) async fn options(shared: web::Data<Shared>, target: web::Path<Target>) -> HttpResponse {
    match shared.engine.version(&target.model, target.version.as_deref()) {
        Ok(version) => openapi::managed_model(version.name(), version.version()),
        Err(failure) => error::response(&failure),
    }
}
