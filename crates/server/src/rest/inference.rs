//! The inference port: which path asks for what. What is then done stands in the modules beside this one.
//!
//! As TorchServe has it, a path is percent-decoded before it is split, and the method makes no difference,
//! but for `OPTIONS`, which asks for a description.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;

use super::{Shared, error, health, openapi, predictions};

/// Everything that the inference port answers. It takes every path, so whatever else is to answer on
/// this port has to be mounted before it.
pub(crate) fn mount(config: &mut web::ServiceConfig) {
    config.route("/{path:.*}", web::route().to(dispatch));
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Root,
    ApiDescription,
    Ping,
    Live,
    Ready,
    /// `/v1/models/{model}`: KServe asks here, TorchServe answers on the management port alone.
    ModelReady(String, Option<String>),
    /// `/v1/models`: KServe's list of names.
    Models,
    Predict(Call),
}

/// A prediction: of which model, and in which of the protocols' ways.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// `None` where the path does not say, and the query or the body has to.
    pub(super) model: Option<String>,
    /// The default version where `None`.
    pub(super) version: Option<String>,
    /// What follows the version in the path.
    pub(super) url_path: String,
    /// The way.
    pub(super) form: Form,
}

/// The ways to ask for a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `/predictions/{model}[/{version}[/{path}]]`
    Predictions,
    /// `/explanations/{model}[/{version}[/{path}]]`
    Explanations,
    /// `/v1/models/{model}[/versions/{version}]:predict`
    KServe,
    /// `/v1/models/{model}[/versions/{version}]:explain`
    KServeExplain,
    /// `/invocations` and `/models/{model}/invoke`
    SageMaker,
    /// `/{model}[/{version}]/predict`
    Legacy,
}

impl Form {
    /// Whether the model is asked for the reasons of a prediction rather than for the prediction.
    pub(super) fn explains(self) -> bool {
        matches!(self, Self::Explanations | Self::KServeExplain)
    }

    /// Whether the query's parameters are inputs, before the body's.
    pub(super) fn takes_query(self) -> bool {
        matches!(self, Self::SageMaker | Self::Legacy)
    }
}

impl Route {
    /// What a percent-decoded path asks for; `None` where it leads nowhere.
    fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path).trim_end_matches('/');
        let segments: Vec<&str> = path.split('/').collect();
        let call = |model, version: Option<&str>, rest: &[&str], form| {
            Self::Predict(Call {
                model: Some(str::to_owned(model)),
                version: version.map(str::to_owned),
                url_path: rest.join("/"),
                form,
            })
        };
        Some(match segments[..] {
            [""] => Self::Root,
            ["api-description"] => Self::ApiDescription,
            ["ping", ..] => Self::Ping,
            ["livez"] => Self::Live,
            ["readyz"] => Self::Ready,
            ["predictions", model] => call(model, None, &[], Form::Predictions),
            ["predictions", model, version, ref rest @ ..] => {
                call(model, Some(version), rest, Form::Predictions)
            }
            ["explanations", model] => call(model, None, &[], Form::Explanations),
            ["explanations", model, version, ref rest @ ..] => {
                call(model, Some(version), rest, Form::Explanations)
            }
            ["v1", "models", model] => match verb(model) {
                Some((model, form)) => call(model, None, &[], form),
                None => Self::ModelReady(model.to_owned(), None),
            },
            ["v1", "models"] => Self::Models,
            ["v1", "models", model, "versions", version] => match verb(version) {
                Some((version, form)) => call(model, Some(version), &[], form),
                None => Self::ModelReady(model.to_owned(), Some(version.to_owned())),
            },
            ["invocations"] => Self::Predict(Call {
                model: None,
                version: None,
                url_path: String::new(),
                form: Form::SageMaker,
            }),
            ["models", model, "invoke"] => call(model, None, &[], Form::SageMaker),
            [model, "predict"] => call(model, None, &[], Form::Legacy),
            [model, version, "predict"] => call(model, Some(version), &[], Form::Legacy),
            _ => return None,
        })
    }
}

/// Takes KServe's verb off the end of a path's last segment.
fn verb(segment: &str) -> Option<(&str, Form)> {
    let predict = segment.strip_suffix(":predict").map(|name| (name, Form::KServe));
    predict.or_else(|| segment.strip_suffix(":explain").map(|name| (name, Form::KServeExplain)))
}

async fn dispatch(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let Ok(path) = percent_decode_str(request.path()).decode_utf8() else {
        return error::bad_request(&format!(
            "the path {} is not UTF-8 once it is percent-decoded",
            request.path()
        ));
    };
    let options = request.method() == Method::OPTIONS;
    match Route::of(&path) {
        Some(Route::Root) if options => openapi::inference(),
        Some(Route::Root) if request.method() == Method::GET => health::alive(),
        Some(Route::Root) => error::method_not_allowed(request).await,
        Some(Route::ApiDescription) => openapi::inference(),
        Some(Route::Ping) => health::ping(&shared.engine),
        Some(Route::Live) => health::live(),
        Some(Route::Ready) => health::ready(&shared.engine),
        Some(Route::ModelReady(model, version)) if request.method() == Method::GET => {
            health::model_ready(&shared.engine, &model, version.as_deref())
        }
        Some(Route::Models) if request.method() == Method::GET => health::models(&shared.engine),
        Some(Route::ModelReady(..) | Route::Models) => error::method_not_allowed(request).await,
        Some(Route::Predict(call)) if options => predictions::describe(&shared, &call, &request),
        Some(Route::Predict(call)) => predictions::predict(&shared, call, &request, payload).await,
        None => error::no_such_path(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Model, version, the rest of the path, and the way.
    fn call(path: &str) -> (Option<String>, Option<String>, String, Form) {
        match Route::of(path) {
            Some(Route::Predict(call)) => (call.model, call.version, call.url_path, call.form),
            other => panic!("{path} asks for {other:?}"),
        }
    }

    #[test]
    fn every_way_to_ask_for_a_prediction_names_its_model_and_version() {
        for (path, model, version, rest, form) in [
            ("/predictions/m", "m", None, "", Form::Predictions),
            ("/predictions/m/", "m", None, "", Form::Predictions),
            ("/predictions/m/1.0", "m", Some("1.0"), "", Form::Predictions),
            ("/predictions/m/1.0/v1/chat", "m", Some("1.0"), "v1/chat", Form::Predictions),
            ("/predictions/predict", "predict", None, "", Form::Predictions),
            ("/explanations/m", "m", None, "", Form::Explanations),
            ("/explanations/m/1.0/x", "m", Some("1.0"), "x", Form::Explanations),
            ("/v1/models/m:predict", "m", None, "", Form::KServe),
            ("/v1/models/a:b:predict", "a:b", None, "", Form::KServe),
            ("/v1/models/m/versions/2:predict", "m", Some("2"), "", Form::KServe),
            ("/v1/models/m:explain", "m", None, "", Form::KServeExplain),
            ("/models/m/invoke", "m", None, "", Form::SageMaker),
            ("/m/predict", "m", None, "", Form::Legacy),
            ("/m/1.0/predict", "m", Some("1.0"), "", Form::Legacy),
        ] {
            let version = version.map(str::to_owned);
            assert_eq!(call(path), (Some(model.into()), version, rest.into(), form), "{path}");
        }
        assert_eq!(call("/invocations"), (None, None, String::new(), Form::SageMaker));
    }

    #[test]
    fn other_paths_are_the_servers_own_or_lead_nowhere() {
        assert_eq!(Route::of("/"), Some(Route::Root));
        assert_eq!(Route::of("/v1/models/m"), Some(Route::ModelReady("m".into(), None)));
        let version = Some(Route::ModelReady("m".into(), Some("2".into())));
        assert_eq!(Route::of("/v1/models/m/versions/2"), version);
        assert_eq!(Route::of("/v1/models"), Some(Route::Models));
        assert_eq!(Route::of("/ping/anything"), Some(Route::Ping));
        assert_eq!(Route::of("/api-description/"), Some(Route::ApiDescription));
        for path in [
            "/predictions",
            "/explanations/",
            "/v1/models/m/x:predict",
            "/v1/models/m:predict/x",
            "/models/m/invocations",
            "/models/m",
            "/invocations/m",
            "/livez/x",
            "/m",
            "/a/b/c/predict",
        ] {
            assert_eq!(Route::of(path), None, "{path}");
        }
    }

    /// A number for each kind of route. No `_` here, so that a new kind has to be counted.
    fn kind(route: &Route) -> usize {
        match route {
            Route::Root => 0,
            Route::ApiDescription => 1,
            Route::Ping => 2,
            Route::Live => 3,
            Route::Ready => 4,
            Route::Predict(Call { form: Form::Predictions, .. }) => 5,
            Route::Predict(Call { form: Form::Explanations, .. }) => 6,
            Route::Predict(Call { form: Form::KServe, .. }) => 7,
            Route::Predict(Call { form: Form::KServeExplain, .. }) => 8,
            Route::Predict(Call { form: Form::SageMaker, .. }) => 9,
            Route::Predict(Call { form: Form::Legacy, .. }) => 10,
            Route::ModelReady(..) => 11,
            Route::Models => 12,
        }
    }

    #[test]
    fn every_kind_of_route_is_described() {
        let described: std::collections::BTreeSet<usize> = openapi::inference_paths()
            .into_iter()
            .map(|path| match Route::of(path) {
                Some(route) => kind(&route),
                None => panic!("{path} is described and leads nowhere"),
            })
            .collect();
        assert!(described.into_iter().eq(0..=12));
    }
}
