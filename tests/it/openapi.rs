use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::TestServer;
use crate::support::store::Store;

fn serving() -> (Store, TestServer) {
    let store = Store::new();
    let (server, _control) = TestServer::fake(&[&store.fake("m", "1.0", "echo")]);
    (store, server)
}

fn options(url: &str) -> Answer {
    answer(agent().options(url).call())
}

/// Every operation: path, method, description.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&'_ String, &'_ Value)| -> Vec<(String, String)> {
        item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect()
    };
    let keys: Vec<(String, String)> = paths.iter().flat_map(of_path).collect();
    keys.iter()
        .map(|(path, method)| {
            let (path, item) = paths.get_key_value(path).unwrap();
            let (method, operation) = item.as_object().unwrap().get_key_value(method).unwrap();
            (path.as_str(), method.as_str(), operation)
        })
        .collect()
}

fn identifiers(document: &Value) -> BTreeSet<&str> {
    operations(document).into_iter().map(|it| it.2["operationId"].as_str().unwrap()).collect()
}

#[test]
fn a_port_describes_itself_at_its_root_and_at_api_description() {
    let (_store, server) = serving();
    for at in [TestServer::inference, TestServer::management] {
        let root = options(&at(&server, "/"));
        assert_eq!(root.status, 200);
        assert_eq!(root.header("content-type"), Some("application/json"));
        assert_eq!(root.json()["openapi"], "3.0.1");
        assert_eq!(root.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(get(&at(&server, "/api-description")).body, root.body);
        assert_eq!(post(&at(&server, "/"), b"").error().1, "MethodNotAllowedException");
    }
}

#[test]
fn the_identifiers_are_torchserves() {
    let (_store, server) = serving();
    let inference = get(&server.inference("/api-description")).json();
    for id in ["apiDescription", "ping", "predictions", "version_predictions", "api-description"] {
        assert!(identifiers(&inference).contains(id), "{id}");
    }
    let management = get(&server.management("/api-description")).json();
    for id in ["listModels", "registerModel", "setDefault", "apiDescription", "api-description"] {
        assert!(identifiers(&management).contains(id), "{id}");
    }
    for id in ["describeModel", "setAutoScale", "unregisterModel"] {
        assert!(identifiers(&management).contains(id), "{id}");
        assert!(identifiers(&management).contains(format!("version_{id}").as_str()), "{id}");
    }
}

#[test]
fn identifiers_are_told_once_and_parameters_of_paths_are_declared() {
    let (_store, server) = serving();
    for url in [server.inference("/api-description"), server.management("/api-description")] {
        let document = get(&url).json();
        let operations = operations(&document);
        assert_eq!(identifiers(&document).len(), operations.len(), "{url}");
        for (path, _, operation) in operations {
            let declared: BTreeSet<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let named: BTreeSet<&str> =
                path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            assert_eq!(declared, named, "{path}");
        }
    }
}

/// Asks for every operation of a description; each answers with a status that the description names.
fn answers_as_described(document: &Value, at: impl Fn(&str) -> String) {
    for (path, method, operation) in operations(document) {
        let url = path
            .replace("{region_name}", "r")
            .replace("{model_name}", "m")
            .replace("{model_version}", "1.0");
        let url = at(&url.replace("{url_path}", "v1"));
        let request = ureq::http::Request::builder().method(method.to_uppercase().as_str());
        let told = match method {
            "post" => answer(agent().post(&url).send(&b"x"[..])),
            _ => answer(agent().run(request.uri(&url).body(()).unwrap())),
        };
        let status = told.status.to_string();
        let described = operation["responses"].get(&status).is_some();
        // An error is described by the default answer; that a path leads nowhere never is.
        let nowhere = ["ResourceNotFoundException", "\"Not Found\""];
        let nowhere = told.status == 404 && nowhere.iter().any(|words| told.text().contains(words));
        let refused = told.status >= 400 && !nowhere;
        assert!(described || refused, "{method} {path}: {}", told.text());
    }
}

#[test]
fn what_is_described_is_there() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    let inference = get(&server.inference("/api-description")).json();
    assert!(operations(&inference).len() > 15);
    answers_as_described(&inference, |path| server.inference(path));
    let mut management = get(&server.management("/api-description")).json();
    assert!(operations(&management).len() > 12);
    // Without tokens there is nothing to renew.
    assert!(management["paths"].as_object_mut().unwrap().remove("/token").is_some());
    answers_as_described(&management, |path| server.management(path));
    let metrics = server.metrics().unwrap();
    let described = get(&format!("{metrics}/api-description")).json();
    answers_as_described(&described, |path| format!("{metrics}{path}"));
}

#[test]
fn a_model_is_described_by_options_on_its_paths() {
    let store = Store::new();
    let (server, _control) = TestServer::fake(&[]);
    server.engine.load(Some("a model"), &store.fake("m", "1.0", "echo")).unwrap();
    let document = options(&server.inference("/predictions/a%20model"));
    assert_eq!(document.status, 200);
    let document = document.json();
    assert_eq!(document["info"]["title"], "model a model");
    assert_eq!(document["info"]["version"], "1.0.0");
    let paths = document["paths"].as_object().unwrap();
    for path in ["/predictions/a%20model", "/predictions/a%20model/1.0"] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert!(paths.contains_key("/v1/models/a%20model:predict"));
    assert!(!paths.contains_key("/ping"));
    assert!(operations(&document).iter().all(|(path, ..)| !path.contains("{model_")));
    let managed = options(&server.management("/models/a%20model/1.0")).json();
    let paths = managed["paths"].as_object().unwrap();
    assert!(paths.contains_key("/models/a%20model/1.0/set-default"), "{paths:?}");
    assert_eq!(options(&server.management("/models/x")).error().0, 404);
    let gone = options(&server.inference("/predictions/x")).error();
    assert_eq!((gone.0, gone.1.as_str()), (404, "ModelNotFoundException"));
}
