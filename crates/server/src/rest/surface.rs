//! Which surface a path belongs to: exactly one, so that where one address serves several, each request is
//! asked for one key and answered by one set of routes.

use actix_web::http::Method;

use crate::access::Surface;

/// The surface that answers a path, among those that its address serves.
///
/// Where the path is of a surface that is not served here, it leads nowhere; the most guarded of those
/// that are answers so.
pub(super) fn of(path: &str, served: &[Surface]) -> Surface {
    let natural = natural(path);
    if served.contains(&natural) {
        return natural;
    }
    let guarded = [Surface::Inference, Surface::Management];
    guarded.into_iter().find(|surface| served.contains(surface)).unwrap_or(Surface::Metrics)
}

/// The surface of a path where every one is served. What no other surface claims is inference's, as its
/// paths may begin with a model's name.
fn natural(path: &str) -> Surface {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments[..] {
        ["metrics"] => Surface::Metrics,
        ["models", _, "invoke"] => Surface::Inference,
        ["models" | "workflows" | "token", ..] => Surface::Management,
        ["v1", "models", model] if !is_call(model) => Surface::Management,
        _ => Surface::Inference,
    }
}

/// The surface whose key a request needs, where `answering` is the one that answers it: below `/v2`, which is
/// inference's, what changes the server for everybody needs management's key.
pub(super) fn guarding(answering: Surface, method: &Method, path: &str) -> Surface {
    if answering != Surface::Inference || !is_v2(path) {
        return answering;
    }
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let changes = match segments[..] {
        ["v2", "repository", .., "load" | "unload"] => true,
        ["v2", "logging"] | ["v2", .., "trace", "setting"] => *method != Method::GET,
        _ => false,
    };
    if changes { Surface::Management } else { answering }
}

/// Whether a path is one of the Open Inference Protocol's, whose errors have a form of their own.
pub(super) fn is_v2(path: &str) -> bool {
    path.trim_matches('/').split('/').next() == Some("v2")
}

/// What to do where nothing answers a path: TorchServe's clients know paths of other ports, and of what is
/// not there.
pub(super) fn advice(path: &str, served: &[Surface]) -> &'static str {
    let known = match path.trim_matches('/').split('/').next().unwrap_or_default() {
        "wfpredict" | "workflows" => return "there are no workflows",
        "token" if served.contains(&Surface::Management) => {
            return "no tokens are asked for, so there is none to renew";
        }
        "predictions" | "explanations" | "invocations" | "ping" | "livez" | "readyz" | "v2" => {
            Some(Surface::Inference)
        }
        "models" | "token" => Some(Surface::Management),
        "metrics" => Some(Surface::Metrics),
        _ => None,
    };
    match known.filter(|surface| !served.contains(surface)) {
        Some(Surface::Inference) => "that is a path of inference_address",
        Some(Surface::Management) => "that is a path of management_address",
        Some(Surface::Metrics) => {
            "that is a path of metrics_address, where enable_metrics_api is on"
        }
        None => "GET /api-description tells the paths of this address",
    }
}

/// Whether the last segment of KServe's path calls its model, `m:predict`, instead of naming it.
fn is_call(segment: &str) -> bool {
    [":predict", ":explain"].iter().any(|verb| segment.ends_with(verb))
}

/// Whether a request is answered without a key: descriptions of the API, and the probes of whoever runs
/// the server.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    matches!(path, "/api-description" | "/livez" | "/readyz")
        || matches!(path, "/v2/health/live" | "/v2/health/ready") && method == Method::GET
        || path == "/" && method == Method::OPTIONS
}

#[cfg(test)]
mod tests {
    use super::*;
    use Surface::{Inference, Management, Metrics};

    #[test]
    fn every_path_has_one_surface() {
        let all = [Inference, Management, Metrics];
        for path in [
            "/",
            "/ping",
            "/predictions/m",
            "/predictions/models/1.0",
            "/explanations/m",
            "/invocations",
            "/models/m/invoke",
            "/v1/models/m:predict",
            "/v1/models/m:explain",
            "/v2/models/m/infer",
            "/m/predict",
            "/m/1.0/predict",
            "/v2",
            "/nothing",
            "/metrics/x",
            "/tokens",
        ] {
            assert_eq!(of(path, &all), Inference, "{path}");
        }
        for path in [
            "/models",
            "/models/m",
            "/models/m/1.0",
            "/models/m/all",
            "/models/m/1.0/set-default",
            "/models/m/1.0/invoke",
            "/token",
            "/v1/models/m",
            "/workflows/w",
        ] {
            assert_eq!(of(path, &all), Management, "{path}");
        }
        assert_eq!(of("/metrics", &all), Metrics);
    }

    #[test]
    fn what_changes_the_server_below_v2_needs_managements_key() {
        let of = |method: &Method, path: &str| guarding(Inference, method, path);
        for path in [
            "/v2/repository/models/m/load",
            "/v2/repository/models/m/unload",
            "/v2/repository/other/models/m/load",
            "/v2/logging",
            "/v2/trace/setting",
            "/v2/models/m/trace/setting",
        ] {
            assert_eq!(of(&Method::POST, path), Management, "{path}");
        }
        for path in ["/v2/logging", "/v2/trace/setting", "/v2/models/m", "/v2/models/load"] {
            assert_eq!(of(&Method::GET, path), Inference, "{path}");
        }
        for path in ["/v2/repository/index", "/v2/models/m/infer", "/predictions/m/load"] {
            assert_eq!(of(&Method::POST, path), Inference, "{path}");
        }
        let elsewhere = guarding(Metrics, &Method::POST, "/v2/logging");
        assert_eq!(elsewhere, Metrics, "that path leads nowhere there");
    }

    #[test]
    fn an_address_answers_with_what_it_serves() {
        for path in ["/models/m", "/ping", "/metrics", "/token"] {
            assert_eq!(of(path, &[Inference]), Inference, "{path}");
            assert_eq!(of(path, &[Management]), Management, "{path}");
            assert_eq!(of(path, &[Metrics]), Metrics, "{path}");
        }
        assert_eq!(of("/metrics", &[Inference, Management]), Inference);
        assert_eq!(of("/ping", &[Management, Metrics]), Management);
        assert_eq!(of("/models", &[Inference, Metrics]), Inference);
    }

    #[test]
    fn a_path_that_leads_nowhere_is_told_where_it_would_lead() {
        for (path, served, words) in [
            ("/models", Inference, "management_address"),
            ("/metrics", Inference, "metrics_address"),
            ("/predictions/m", Management, "inference_address"),
            ("/ping", Metrics, "inference_address"),
            ("/token", Inference, "management_address"),
            ("/token", Management, "no tokens are asked for"),
            ("/v2/health/ready", Management, "inference_address"),
            ("/workflows", Management, "no workflows"),
            ("/predictions", Inference, "/api-description"),
            ("/modelss", Inference, "/api-description"),
        ] {
            let advice = advice(path, &[served]);
            assert!(advice.contains(words), "{path}: {advice}");
        }
    }

    #[test]
    fn only_descriptions_and_probes_are_open() {
        assert!(is_open(&Method::OPTIONS, "/"));
        assert!(is_open(&Method::GET, "/api-description"));
        assert!(is_open(&Method::GET, "/readyz"));
        assert!(!is_open(&Method::GET, "/"));
        assert!(!is_open(&Method::GET, "/ping"));
        assert!(!is_open(&Method::OPTIONS, "/predictions/m"));
        assert!(!is_open(&Method::GET, "/livez/x"));
        assert!(is_open(&Method::GET, "/v2/health/ready"));
        assert!(!is_open(&Method::POST, "/v2/health/ready"));
        assert!(!is_open(&Method::GET, "/v2"));
    }
}
