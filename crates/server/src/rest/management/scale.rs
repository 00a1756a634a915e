//! `PUT /models/{model}[/{version}]`: a model gets more workers, or fewer.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use mar_engine::{Error, ErrorCode};

use super::parameters::Parameters;
use super::{Answer, Asked, Refused, Target, processing, respond, worker_failure};
use crate::rest::Shared;

/// How many workers a model is to have.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub(crate) model: String,
    /// The default version where `None`.
    pub(crate) version: Option<String>,
    pub(crate) min: i64,
    /// As many as `min` where `None`.
    pub(crate) max: Option<i64>,
    /// The first so many of its devices alone.
    pub(crate) devices: Option<usize>,
    /// Whether to wait until the new ones have loaded.
    pub(crate) synchronous: bool,
}

pub(super) async fn scale(
    shared: web::Data<Shared>,
    target: web::Path<Target>,
    request: HttpRequest,
) -> HttpResponse {
    let parameters = Parameters::of_query(&request);
    let Target { model, version } = target.into_inner();
    let wanted = Scale {
        model,
        version: version.or_else(|| parameters.text("model_version").map(str::to_owned)),
        min: parameters.number("min_worker").unwrap_or(1),
        max: parameters.number("max_worker"),
        devices: parameters.positive("number_gpu"),
        synchronous: parameters.truth("synchronous", false),
    };
    respond(scaled(&shared, wanted, &Asked::by(&request)).await)
}

/// Gives a model so many workers.
///
/// # Errors
/// Why it does not get them.
pub(crate) async fn scaled(
    shared: &Shared,
    wanted: Scale,
    asked: &Asked,
) -> Result<Answer, Refused> {
    let Scale { model, version, min, max, devices, synchronous } = wanted;
    let max = max.unwrap_or(min);
    // TorchServe fails on a negative number; its test collection expects the status.
    let min = usize::try_from(min).map_err(|_| {
        let message = format!("min_worker is {min}; give a whole number from 0");
        Error::new(ErrorCode::Internal, message)
    })?;
    let max = usize::try_from(max).ok().filter(|max| *max >= min).ok_or_else(|| {
        Error::invalid_input(format!(
            "max_worker is {max}; it cannot be less than min_worker, {min}"
        ))
    })?;
    let shared = shared.clone();
    let work = move || {
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
    };
    super::done(asked, work).await
}
