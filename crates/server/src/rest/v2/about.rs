//! What the server and its models tell of themselves over HTTP: health, metadata, configuration, statistics.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use mar_engine::{Error, ErrorCode};
use mar_oip::{ModelStatistics, Service};
use serde::Serialize;

use super::{ModelPath, error};

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    Server,
    Live,
    Ready,
    /// The names of all models.
    Models,
    Model(ModelPath),
    ModelReady(ModelPath),
    Configuration(ModelPath),
    /// Of one model, or of all.
    Statistics(Option<ModelPath>),
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
}

#[derive(Serialize)]
struct Models {
    models: Vec<String>,
}

#[derive(Serialize)]
struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

#[derive(Serialize)]
struct Statistics {
    model_stats: Vec<ModelStatistics>,
}

impl Call {
    /// What a path below `/v2` asks for; `None` where it is nothing of this kind.
    pub(super) fn of(segments: &[&str]) -> Option<Self> {
        Some(match *segments {
            [] => Self::Server,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["models"] => Self::Models,
            ["models", "stats"] => Self::Statistics(None),
            ["models", model] => Self::Model(ModelPath::of(model, None)),
            ["models", model, "versions", version] => {
                Self::Model(ModelPath::of(model, Some(version)))
            }
            ["models", model, verb] => Self::of_model(ModelPath::of(model, None), verb)?,
            ["models", model, "versions", version, verb] => {
                Self::of_model(ModelPath::of(model, Some(version)), verb)?
            }
            _ => return None,
        })
    }

    fn of_model(path: ModelPath, verb: &str) -> Option<Self> {
        Some(match verb {
            "ready" => Self::ModelReady(path),
            "config" => Self::Configuration(path),
            "stats" => Self::Statistics(Some(path)),
            _ => return None,
        })
    }
}

/// Answers it.
pub(super) fn answer(service: &Service, call: &Call) -> HttpResponse {
    let answered = match call {
        Call::Server => Ok(json(&service.server_metadata())),
        Call::Live => Ok(json(&Live { live: true })),
        Call::Ready => {
            let ready = service.server_ready();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Ok(HttpResponse::build(status).json(Ready { ready }))
        }
        Call::Models => Ok(json(&Models { models: service.models() })),
        Call::Model(path) => {
            service.model_metadata(&path.model, path.version()).map(|told| json(&told))
        }
        Call::ModelReady(path) => model_ready(service, path),
        Call::Configuration(path) => service
            .model_config(&path.model, path.version())
            .and_then(|config| service.config_json(&config))
            .map(|told| json(&told)),
        Call::Statistics(of) => {
            let name = of.as_ref().map(|path| path.model.as_str());
            let version = of.as_ref().and_then(ModelPath::version);
            service.statistics(name, version).map(|model_stats| json(&Statistics { model_stats }))
        }
    };
    answered.unwrap_or_else(|failure| error::response(&failure))
}

/// Ready, or an error: clients look at the status, and some at what is in the body.
fn model_ready(service: &Service, path: &ModelPath) -> mar_engine::Result<HttpResponse> {
    let name = path.model.as_str();
    if service.model_ready(name, path.version())? {
        return Ok(json(&ModelReady { name, ready: true }));
    }
    let message = format!("model \"{name}\" is not ready; /v2/repository/index tells why");
    Err(Error::new(ErrorCode::Unavailable, message))
}

fn json(value: &impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(value)
}

/// A number for each kind of call, for the test of what is described.
#[cfg(test)]
pub(super) fn kind(call: &Call) -> usize {
    match call {
        Call::Server => 0,
        Call::Live => 1,
        Call::Ready => 2,
        Call::Models => 3,
        Call::Model(_) => 4,
        Call::ModelReady(_) => 5,
        Call::Configuration(_) => 6,
        Call::Statistics(_) => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ask_for_the_server_a_model_or_all_of_them() {
        let of =
            |path: &str| Call::of(&path.split('/').filter(|it| !it.is_empty()).collect::<Vec<_>>());
        let path = |version: Option<&str>| ModelPath::of("m@handler", version);
        for (asked, call) in [
            ("", Call::Server),
            ("health/live", Call::Live),
            ("health/ready", Call::Ready),
            ("models", Call::Models),
            ("models/stats", Call::Statistics(None)),
            ("models/m@handler", Call::Model(path(None))),
            ("models/m@handler/versions/1.0", Call::Model(path(Some("1.0")))),
            ("models/m@handler/ready", Call::ModelReady(path(None))),
            ("models/m@handler/versions/2/config", Call::Configuration(path(Some("2")))),
            ("models/m@handler/stats", Call::Statistics(Some(path(None)))),
        ] {
            assert_eq!(of(asked), Some(call), "{asked}");
        }
        for nowhere in ["health", "models/m/x", "models/m/versions", "models/m/versions/1/x"] {
            assert_eq!(of(nowhere), None, "{nowhere}");
        }
    }
}
