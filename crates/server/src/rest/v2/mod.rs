//! The Open Inference Protocol over HTTP: which path below `/v2` asks for what. What is then done stands in the
//! modules beside this one, and what it means in `mar_oip`.

mod body;
mod encoding;
mod error;
mod infer;
mod shared_memory;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;

use super::Shared;

/// Everything below `/v2`. Mounted before the routes that take every path.
pub(super) fn mount(config: &mut web::ServiceConfig) {
    config.route("/v2", web::route().to(dispatch));
    config.route("/v2/{path:.*}", web::route().to(dispatch));
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Infer(ModelPath),
    SharedMemory(shared_memory::Call),
}

/// The model that a path names.
#[derive(Debug, PartialEq, Eq)]
struct ModelPath {
    model: String,
    /// The default version where `None`.
    version: Option<String>,
}

impl Route {
    /// What a path below `/v2`, each segment percent-decoded, asks for; `None` where it leads nowhere.
    fn of(segments: &[&str]) -> Option<Self> {
        let path = |model: &str, version: Option<&str>| ModelPath {
            model: model.to_owned(),
            version: version.map(str::to_owned),
        };
        Some(match *segments {
            ["models", model, "infer"] => Self::Infer(path(model, None)),
            ["models", model, "versions", version, "infer"] => {
                Self::Infer(path(model, Some(version)))
            }
            ["systemsharedmemory" | "cudasharedmemory", ..] => {
                Self::SharedMemory(shared_memory::Call::of(segments)?)
            }
            _ => return None,
        })
    }

    /// The method that it is asked with.
    fn method(&self) -> Method {
        match self {
            Self::Infer(_) => Method::POST,
            Self::SharedMemory(call) => call.method(),
        }
    }
}

async fn dispatch(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let Some(segments) = segments(request.path()) else { return error::no_such_path() };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(route) = Route::of(&segments) else { return error::no_such_path() };
    if *request.method() != route.method() {
        return error::method_not_allowed(if route.method() == Method::GET {
            "GET"
        } else {
            "POST"
        });
    }
    match route {
        Route::Infer(path) => infer::infer(&shared, path, &request, payload).await,
        Route::SharedMemory(call) => shared_memory::answer(&shared, call, &request, payload).await,
    }
}

/// The segments of a path below `/v2`, percent-decoded; `None` where one is not UTF-8 then.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.trim_matches('/');
    let below = path.split('/').skip(1);
    below.map(|it| Some(percent_decode_str(it).decode_utf8().ok()?.into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Option<Route> {
        let segments = segments(path)?;
        Route::of(&segments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn every_path_asks_for_one_thing() {
        let path = |model: &str, version: Option<&str>| ModelPath {
            model: model.into(),
            version: version.map(Into::into),
        };
        assert_eq!(route("/v2/models/m/infer"), Some(Route::Infer(path("m", None))));
        assert_eq!(route("/v2/models/m/infer/"), Some(Route::Infer(path("m", None))));
        assert_eq!(
            route("/v2/models/a%20b%40handler/versions/1.0/infer"),
            Some(Route::Infer(path("a b@handler", Some("1.0"))))
        );
        for nowhere in
            ["/v2/models//", "/v2/nothing", "/v2/models/m/inferr", "/v2/models/%ff/infer"]
        {
            assert_eq!(route(nowhere), None, "{nowhere}");
        }
    }
}
