//! The Open Inference Protocol over HTTP: which path below `/v2` asks for what. What is then done stands in the
//! modules beside this one, and what it means in `mar_oip`.

mod about;
mod body;
mod control;
mod encoding;
mod error;
mod infer;
mod shared_memory;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;

use super::Shared;
pub(super) use error::unauthorized;

/// Everything below `/v2`. Mounted before the routes that take every path.
pub(super) fn mount(config: &mut web::ServiceConfig) {
    config.route("/v2", web::route().to(dispatch));
    config.route("/v2/{path:.*}", web::route().to(dispatch));
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    About(about::Call),
    Control(control::Call),
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

impl ModelPath {
    fn of(model: &str, version: Option<&str>) -> Self {
        Self { model: model.to_owned(), version: version.map(str::to_owned) }
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl Route {
    /// What a path below `/v2`, each segment percent-decoded, asks for; `None` where it leads nowhere.
    fn of(segments: &[&str]) -> Option<Self> {
        Some(match *segments {
            ["models", model, "infer"] => Self::Infer(ModelPath::of(model, None)),
            ["models", model, "versions", version, "infer"] => {
                Self::Infer(ModelPath::of(model, Some(version)))
            }
            ["systemsharedmemory" | "cudasharedmemory", ..] => {
                Self::SharedMemory(shared_memory::Call::of(segments)?)
            }
            _ => match control::Call::of(segments) {
                Some(call) => Self::Control(call),
                None => Self::About(about::Call::of(segments)?),
            },
        })
    }

    /// The methods that it is asked with, as the header `Allow` has them.
    fn allow(&self) -> &'static str {
        match self {
            Self::About(_) => "GET",
            Self::Control(call) => call.allow(),
            Self::Infer(_) => "POST",
            Self::SharedMemory(call) if call.method() == Method::GET => "GET",
            Self::SharedMemory(_) => "POST",
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
    let allowed = route.allow();
    if !allowed.split(", ").any(|method| method == request.method().as_str()) {
        return error::method_not_allowed(allowed);
    }
    match route {
        Route::About(call) => about::answer(&shared.oip, &call),
        Route::Control(call) => control::answer(&shared, call, &request, payload).await,
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
    use crate::rest::openapi;

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
            ["/v2/models/m/versions", "/v2/nothing", "/v2/models/m/inferr", "/v2/models/%ff/infer"]
        {
            assert_eq!(route(nowhere), None, "{nowhere}");
        }
    }
    /// A number for each kind of route. No `_` here, so that a new kind has to be counted.
    fn kind(route: &Route) -> usize {
        match route {
            Route::About(call) => about::kind(call),
            Route::Control(call) => 10 + control::kind(call),
            Route::Infer(_) => 20,
            Route::SharedMemory(_) => 21,
        }
    }

    #[test]
    fn every_kind_of_route_is_described_with_its_methods() {
        let mut kinds = std::collections::BTreeSet::new();
        for (path, method) in openapi::v2_paths() {
            let path = path.replace(['{', '}'], "");
            let found = route(&path).unwrap_or_else(|| panic!("{path} leads nowhere"));
            assert!(found.allow().contains(&method.to_uppercase()), "{method} {path}");
            kinds.insert(kind(&found));
        }
        assert!(kinds.into_iter().eq((0..8).chain(10..15).chain([20, 21])));
    }
}
