//! `PUT /models/{model}[/{version}]`: a model gets more workers, or fewer.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::parameters::Parameters;
use super::{Target, error, processing, worker_failure};
use crate::rest::Shared;

pub(super) async fn scale(
    shared: web::Data<Shared>,
    target: web::Path<Target>,
    request: HttpRequest,
) -> HttpResponse {
    let parameters = Parameters::of_query(&request);
    let Target { model, version } = target.into_inner();
    let version = version.or_else(|| parameters.text("model_version").map(str::to_owned));
    let min = parameters.number("min_worker").unwrap_or(1);
    let max = parameters.number("max_worker").unwrap_or(min);
    // TorchServe fails on a negative number; its test collection expects the status.
    let Ok(min) = usize::try_from(min) else {
        return error::internal(&format!("min_worker is {min}; give a whole number from 0"));
    };
    let Some(max) = usize::try_from(max).ok().filter(|max| *max >= min) else {
        return error::bad_request(&format!(
            "max_worker is {max}; it cannot be less than min_worker, {min}"
        ));
    };
    let devices = parameters.positive("number_gpu");
    let synchronous = parameters.truth("synchronous", false);

    super::answer(&request, move || {
        let scaling = shared.engine.scale(&model, version.as_deref(), (min, max), devices)?;
        shared.changed();
        if !synchronous {
            return Ok(processing());
        }
        let found = scaling.version().version().to_owned();
        scaling.wait().map_err(|failure| worker_failure(&failure, &model, &found))?;
        shared.changed();
        let of_version =
            version.map_or_else(String::new, |version| format!(", version: {version}"));
        Ok((StatusCode::OK, format!("Workers scaled to {min} for model: {model}{of_version}")))
    })
    .await
}
