use std::path::Path;

use mar_engine::VersionState;
use mar_server::ModelSource;
use serde_json::json;

use crate::support::http::{Answer, agent, answer, delete, get, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn register(server: &TestServer, query: &str) -> Answer {
    post(&server.management(&format!("/models?{query}")), b"")
}

fn status(answer: &Answer) -> String {
    answer.json()["status"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

/// Status and class of an error.
fn class(answer: &Answer) -> (u16, String) {
    let (_, class, message) = answer.error();
    assert!(!message.is_empty());
    (answer.status, class)
}

fn refused(answer: &Answer, code: u16, of: &str) -> String {
    assert_eq!(class(answer), (code, of.to_owned()), "{}", answer.text());
    answer.error().2
}

fn listed(server: &TestServer) -> Vec<String> {
    let list = get(&server.management("/models")).json();
    let models = list["models"].as_array().unwrap();
    models.iter().map(|model| model["modelName"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_calls_of_an_operator_in_the_order_in_which_they_are_made() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    store.fake("m", "2.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let url = |path: &str| server.management(path);
    let ask = |path: &str| post(&server.inference(path), b"x").status;

    assert_eq!(get(&url("/models")).json(), json!({ "models": [] }));
    refused(&register(&server, ""), 400, "BadRequestException");
    let first = register(&server, "url=m-1.0&initial_workers=0");
    assert_eq!(first.status, 200);
    assert_eq!(
        status(&first),
        "Model \"m\" Version: 1.0 registered with 0 initial workers. Use scale workers API to add workers for the model."
    );
    refused(&register(&server, "url=m-1.0"), 409, "ConflictStatusException");
    assert_eq!(ask("/predictions/m"), 503, "no worker yet");
    refused(&put(&url("/models/m?min_worker=3&max_worker=2")), 400, "BadRequestException");
    refused(&put(&url("/models/m?min_worker=-1")), 500, "InternalServerException");
    let scaled = put(&url("/models/m?min_worker=2&synchronous=true"));
    assert_eq!(
        (scaled.status, status(&scaled).as_str()),
        (200, "Workers scaled to 2 for model: m")
    );
    assert_eq!(ask("/predictions/m"), 200);

    let second = register(&server, "url=m-2.0&initial_workers=1&synchronous=true");
    assert_eq!(status(&second), "Model \"m\" Version: 2.0 registered with 1 initial workers");
    assert_eq!(get(&url("/models/m")).json()[0]["modelVersion"], "1.0", "the first stays default");
    assert_eq!(get(&url("/models/m/all")).json().as_array().unwrap().len(), 2);
    refused(&put(&url("/models/m/9/set-default")), 404, "ModelVersionNotFoundException");
    refused(&put(&url("/models/x/1.0/set-default")), 404, "ModelNotFoundException");
    refused(&delete(&url("/models/m")), 403, "InvalidModelVersionException");
    refused(&delete(&url("/models/m/1.0")), 403, "InvalidModelVersionException");
    let default = put(&url("/models/m/2.0/set-default"));
    assert_eq!(status(&default), "Default version successfully updated for model \"m\" to \"2.0\"");
    let scaled = put(&url("/models/m/2.0?min_worker=2&synchronous=true"));
    assert_eq!(status(&scaled), "Workers scaled to 2 for model: m, version: 2.0");
    let gone = delete(&url("/models/m/1.0"));
    assert_eq!((gone.status, status(&gone).as_str()), (200, "Model \"m\" unregistered"));
    refused(&delete(&url("/models/m/1.0")), 404, "ModelVersionNotFoundException");
    assert_eq!(ask("/predictions/m/1.0"), 404);
    assert_eq!(ask("/predictions/m"), 200);
    assert_eq!(delete(&url("/models/m")).status, 200);
    refused(&delete(&url("/models/m")), 404, "ModelNotFoundException");
    refused(&put(&url("/models/m?min_worker=1")), 404, "ModelNotFoundException");
    assert_eq!(ask("/predictions/m"), 404);
    assert_eq!(listed(&server), Vec::<String>::new());
    assert_eq!(
        status(&register(&server, "url=m-1.0&initial_workers=1")),
        "Model \"m\" Version: 1.0 registered with 1 initial workers"
    );
    assert_eq!(ask("/predictions/m"), 200, "it comes back");
}

#[test]
fn registering_and_unregistering_are_off_unless_allowed_and_the_rest_works() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let mut settings = settings();
    settings.store.dir = store.path().to_owned();
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    let message = refused(&register(&server, "url=m-1.0"), 405, "MethodNotAllowedException");
    assert!(message.contains("--enable-model-api"), "{message}");
    refused(&delete(&server.management("/models/m")), 405, "MethodNotAllowedException");
    assert_eq!(get(&server.management("/models/m")).status, 200);
    assert_eq!(put(&server.management("/models/m?min_worker=2&synchronous=true")).status, 200);
    assert_eq!(put(&server.management("/models/m/1.0/set-default")).status, 200);
}

#[test]
fn methods_that_a_path_does_not_take_are_405() {
    let store = Store::new();
    let (server, _control) = TestServer::managed(&store);
    for (method, path) in [
        ("PATCH", "/models"),
        ("DELETE", "/models"),
        ("PUT", "/models"),
        ("POST", "/models/m"),
        ("POST", "/models/m/1.0"),
        ("GET", "/models/m/1.0/set-default"),
        ("POST", "/v1/models/m"),
    ] {
        let request = ureq::http::Request::builder().method(method);
        let request = request.uri(server.management(path)).body(()).unwrap();
        refused(&answer(agent().run(request)), 405, "MethodNotAllowedException");
    }
}

#[test]
fn every_parameter_of_a_registration_is_heard() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let registered = register(
        &server,
        "url=m-1.0&model_name=other&handler=echo&runtime=python3&batch_size=4&max_batch_delay=7&initial_workers=2&synchronous=true&response_timeout=11&startup_timeout=12&s3_sse_kms=false",
    );
    assert_eq!(
        status(&registered),
        "Model \"other\" Version: 1.0 registered with 2 initial workers"
    );
    let model = &get(&server.management("/models/other")).json()[0];
    for (member, value) in [
        ("batchSize", json!(4)),
        ("maxBatchDelay", json!(7)),
        ("minWorkers", json!(2)),
        ("maxWorkers", json!(2)),
        ("responseTimeout", json!(11)),
        ("startupTimeout", json!(12)),
        ("modelUrl", json!("m-1.0")),
        ("loadedAtStartup", json!(false)),
    ] {
        assert_eq!(model[member], value, "{member}");
    }
    assert_eq!(model["workers"].as_array().unwrap().len(), 2);
}

#[test]
fn numbers_that_do_not_parse_are_defaults_and_other_bad_values_are_named() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    for (query, words) in
        [("url=m-1.0&runtime=ruby", "ruby"), ("url=m-1.0&s3_sse_kms=true", "s3_sse_kms")]
    {
        let message = refused(&register(&server, query), 400, "BadRequestException");
        assert!(message.contains(words), "{message}");
    }
    let many = register(&server, "url=m-1.0&initial_workers=100000");
    assert!(refused(&many, 400, "BadRequestException").contains("100000"));
    let nope = register(&server, "url=m-1.0&handler=nope");
    assert!(refused(&nope, 400, "InvalidModelException").contains("no handler \"nope\""));
    let query = "url=m-1.0&batch_size=x&max_batch_delay=1.5&initial_workers=-3&response_timeout=";
    assert_eq!(register(&server, query).status, 200);
    let model = &get(&server.management("/models/m")).json()[0];
    assert_eq!(model["batchSize"], 1);
    assert_eq!(model["maxBatchDelay"], 100);
    assert_eq!(model["minWorkers"], 0);
    assert_eq!(model["responseTimeout"], 120);
}

#[test]
fn no_number_is_too_large_to_be_answered() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let huge = [i32::MAX.to_string(), i64::MAX.to_string(), "99999999999999999999".to_owned()];
    for name in ["batch_size", "max_batch_delay", "response_timeout", "startup_timeout"] {
        for number in &huge {
            let query = format!("url=m-1.0&initial_workers=1&{name}={number}");
            let registered = register(&server, &query);
            assert!([200, 400].contains(&registered.status), "{query}: {}", registered.text());
            if registered.status == 200 {
                let described = get(&server.management("/models/m")).json();
                let answer = post(&server.inference("/predictions/m"), b"x");
                assert_eq!((answer.status, answer.text()), (200, "x"), "{query} {described}");
                assert_eq!(delete(&server.management("/models/m")).status, 200);
            }
        }
    }
    assert_eq!(register(&server, "url=m-1.0").status, 200);
    for number in &huge {
        for name in ["min_worker", "max_worker", "number_gpu"] {
            let scaled = put(&server.management(&format!("/models/m?{name}={number}")));
            assert!([202, 400].contains(&scaled.status), "{name} {number}: {}", scaled.text());
        }
        let list =
            get(&server.management(&format!("/models?limit={number}&next_page_token={number}")));
        assert_eq!(list.status, 200);
    }
}

#[test]
fn a_model_may_have_any_name() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let encoded = "a%2Fb%20%22c%22%0A%5C";
    let query = format!("url=m-1.0&initial_workers=1&model_name={encoded}");
    assert_eq!(register(&server, &query).status, 200);
    let described = get(&server.management(&format!("/models/{encoded}"))).json();
    assert_eq!(described[0]["modelName"], "a/b \"c\"\n\\");
    // Prometheus' text format: a backslash, a quote and a line feed are escaped in a label's value.
    let page = get(&format!("{}/metrics", server.metrics().unwrap()));
    let label = r#"{model_name="a/b \"c\"\n\\",model_version="1.0",}"#;
    assert!(page.text().contains(&format!("marserve_queue_depth{label} 0.0\n")), "{label}");
    assert_eq!(delete(&server.management(&format!("/models/{encoded}"))).status, 200);
}

#[test]
fn parameters_may_come_as_json() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let json = |body: &str| {
        let request = agent().post(server.management("/models"));
        answer(request.header("content-type", "application/json; charset=utf-8").send(body))
    };
    let registered = json(r#"{"url": "m-1.0", "batch_size": 3, "initial_workers": "1"}"#);
    assert_eq!(status(&registered), "Model \"m\" Version: 1.0 registered with 1 initial workers");
    let model = &get(&server.management("/models/m")).json()[0];
    assert_eq!((&model["batchSize"], &model["maxBatchDelay"]), (&json!(3), &json!(100)));
    for body in ["", "{", "[]", "{}"] {
        refused(&json(body), 400, "BadRequestException");
    }
}

#[test]
fn what_is_not_in_the_store_is_not_found_and_what_is_broken_says_how() {
    let store = Store::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(store.path().join("corrupt.mar"), "PK\x03\x04 and no more").unwrap();
    std::fs::write(store.path().join("text.mar"), "no archive").unwrap();
    let nameless = store.path().join("nameless/MAR-INF");
    std::fs::create_dir_all(&nameless).unwrap();
    std::fs::write(nameless.join("MANIFEST.json"), r#"{"model": {"modelVersion": "1"}}"#).unwrap();
    let (server, _control) = TestServer::managed(&store);
    let outside = outside.path().display().to_string();
    for url in
        ["", "missing.mar", "../m.mar", "file:///tmp/m.mar", "http://127.0.0.1:9/m.mar", &outside]
    {
        refused(&register(&server, &format!("url={url}")), 404, "ModelNotFoundException");
    }
    for url in ["corrupt.mar", "text.mar"] {
        let message =
            refused(&register(&server, &format!("url={url}")), 500, "InternalServerException");
        assert!(message.contains(url), "{message}");
    }
    refused(&register(&server, "url=nameless"), 400, "InvalidModelException");
    assert_eq!(listed(&server), Vec::<String>::new());
}

#[test]
fn only_the_last_component_of_a_path_counts() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    assert_eq!(register(&server, "url=/any/where/m-1.0").status, 200);
}

#[test]
fn a_model_that_does_not_load_is_500_or_507_and_not_registered() {
    let store = Store::new();
    store.fake("broken", "1.0", "broken");
    store.fake("large", "1.0", "runs out of memory on load");
    store.fake("panics", "1.0", "panics on load");
    let (server, _control) = TestServer::managed(&store);
    for (name, code, words) in [
        ("broken", 500, "the weights are broken"),
        ("large", 507, "no room for the weights"),
        ("panics", 500, "no such layer"),
    ] {
        let answer = register(&server, &format!("url={name}-1.0&initial_workers=2"));
        let message = refused(&answer, code, "InternalServerException");
        assert!(message.contains(words) && message.contains(name), "{message}");
        assert!(message.contains("1.0"), "{message}");
        refused(
            &get(&server.management(&format!("/models/{name}"))),
            404,
            "ModelNotFoundException",
        );
        assert_eq!(get(&server.inference("/ping")).status, 200);
    }
}

#[test]
fn a_model_registered_without_waiting_is_there_at_once_and_tells_how_it_fares() {
    let store = Store::new();
    store.fake("slow", "1.0", "hangs on load");
    store.fake("broken", "1.0", "broken");
    let (server, control) = TestServer::managed(&store);
    let accepted = register(&server, "url=slow-1.0&initial_workers=1&synchronous=false");
    assert_eq!(
        (accepted.status, status(&accepted).as_str()),
        (202, "Processing worker updates...")
    );
    control.entered.recv().unwrap();
    let described = &get(&server.management("/models/slow")).json()[0];
    assert_eq!(described["state"], "LOADING");
    assert_eq!(described["workers"][0]["status"], "UNLOADING");
    assert_eq!(described["workers"][0]["state"], "STARTING");
    let kserve = |name: &str| {
        let told = get(&server.management(&format!("/v1/models/{name}"))).json();
        (
            told["name"].clone(),
            told["ready"].clone(),
            told["model_version_status"][0]["state"].clone(),
        )
    };
    assert_eq!(kserve("slow"), (json!("slow"), json!(false), json!("LOADING")));
    let waiting = std::thread::spawn({
        let url = server.inference("/predictions/slow");
        move || post(&url, b"patience")
    });
    control.release_one();
    assert_eq!(waiting.join().unwrap().text(), "patience", "requests wait for the first load");
    assert_eq!(kserve("slow"), (json!("slow"), json!(true), json!("AVAILABLE")));
    refused(&get(&server.management("/v1/models/x")), 404, "ModelNotFoundException");

    let accepted = register(&server, "url=broken-1.0&initial_workers=1&synchronous=false");
    assert_eq!(accepted.status, 202);
    while !matches!(server.state("broken"), VersionState::Failed(_)) {
        std::thread::yield_now();
    }
    // Now and then it is in the midst of another attempt.
    let described = || get(&server.management("/models/broken")).json()[0].take();
    while !described()["workers"][0]["state"].as_str().unwrap().starts_with("BACKING_OFF") {
        std::thread::yield_now();
    }
    assert_eq!(described()["reason"], "the weights are broken");
}

#[test]
fn the_archives_own_settings_and_its_files_come_and_go_with_the_model() {
    let store = Store::new();
    let config =
        "minWorkers: 2\nmaxWorkers: 3\nbatchSize: 5\nresponseTimeout: 9\nhandler: {prefix: p-}\n";
    store.fake_with("m", "1.0", "echo", config);
    let (server, control) = TestServer::managed(&store);
    let registered =
        register(&server, "url=m-1.0&initial_workers=1&batch_size=2&response_timeout=8");
    assert_eq!(status(&registered), "Model \"m\" Version: 1.0 registered with 2 initial workers");
    let model = &get(&server.management("/models/m?customized=true")).json()[0];
    assert_eq!((&model["minWorkers"], &model["maxWorkers"]), (&json!(2), &json!(3)));
    assert_eq!(model["batchSize"], 2, "the request goes before the archive");
    assert_eq!(model["responseTimeout"], 8);
    assert_eq!(model["customizedMetadata"], json!({"prefix": "p-"}));
    let all = &get(&server.management("/models/m/all?customized=true")).json()[0];
    assert_eq!(all.get("customizedMetadata"), None);
    let unpacked = control.loaded_file();
    assert!(unpacked.exists());
    assert_eq!(put(&server.management("/models/m?min_worker=0&synchronous=true")).status, 200);
    refused(
        &get(&server.management("/models/m?customized=true")),
        503,
        "ServiceUnavailableException",
    );
    assert_eq!(delete(&server.management("/models/m")).status, 200);
    assert!(!unpacked.exists());
    assert!(Path::new(store.path()).join("m-1.0").exists(), "the store keeps its own");
}

#[test]
fn an_archive_from_an_allowed_url_comes_into_the_store_and_goes_with_its_model() {
    let elsewhere = Store::new();
    let folder = elsewhere.fake("m", "1.0", "echo");
    let broken = elsewhere.fake("broken", "1.0", "broken");
    for (folder, name) in [(&folder, "m.mar"), (&broken, "broken.mar")] {
        zip(folder, &elsewhere.path().join(name));
    }
    let store = Store::new();
    let mut settings = settings();
    settings.store.allowed_urls = vec![format!("file://{}/.*", elsewhere.path().display())];
    let (server, _control) = TestServer::managed_with(settings, &store);
    let url = |name: &str| format!("file://{}/{name}", elsewhere.path().display());
    let here = |name: &str| store.path().join(name).exists();

    let registered = register(&server, &format!("url={}&initial_workers=1", url("m.mar")));
    assert_eq!(registered.status, 200, "{}", registered.text());
    assert!(here("m.mar"));
    assert_eq!(get(&server.management("/models")).json()["models"][0]["modelUrl"], url("m.mar"));
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    let again = register(&server, &format!("url={}", url("m.mar")));
    let message = refused(&again, 500, "InternalServerException");
    assert!(message.contains("m.mar already exists"), "{message}");
    assert_eq!(delete(&server.management("/models/m")).status, 200);
    assert!(!here("m.mar"), "what was fetched goes with its model");

    let failed = register(&server, &format!("url={}&initial_workers=1", url("broken.mar")));
    assert_eq!(failed.status, 500);
    assert!(!here("broken.mar"), "so that it can be tried again");
    refused(&register(&server, "url=file:///etc/m.mar"), 404, "ModelNotFoundException");
    let gone = register(&server, &format!("url={}", url("missing.mar")));
    refused(&gone, 400, "DownloadArchiveException");
}

/// Packs a folder archive into a `.mar`.
fn zip(folder: &Path, mar: &Path) {
    let packed = mar::PackOptions {
        model_name: mar.file_stem().unwrap().to_str().unwrap().into(),
        version: "1.0".into(),
        // Packing knows no handler of a test's own.
        handler: "tensor".into(),
        serialized_file: Some(folder.join("weights.fake")),
        config_file: Some(folder.join("model-config.yaml")),
        runtime: "python".into(),
        export_path: mar.parent().unwrap().into(),
        ..mar::PackOptions::default()
    };
    mar::pack(&packed, &mut |_, _| ()).unwrap();
}

#[test]
fn a_start_fetches_what_it_is_told_to_and_finds_it_at_the_next() {
    let elsewhere = Store::new();
    zip(&elsewhere.fake("m", "1.0", "echo"), &elsewhere.path().join("m.mar"));
    let store = Store::new();
    let url = format!("file://{}/m.mar", elsewhere.path().display());
    let mut settings = settings();
    settings.store.dir = store.path().to_owned();
    settings.store.allowed_urls = vec!["file://.*".into()];
    settings.access.model_api = true;
    settings.models = vec![ModelSource {
        name: Some("far".into()),
        url: Some(url.clone()),
        ..ModelSource::default()
    }];
    for round in ["fetched", "there already"] {
        let (server, _control) = TestServer::fake_with(settings.clone(), &[]);
        let described = get(&server.management("/models/far")).json();
        assert_eq!(described[0]["modelUrl"], url, "{round}");
        assert_eq!(described[0]["loadedAtStartup"], true);
        assert_eq!(post(&server.inference("/predictions/far"), b"x").text(), "x");
        assert!(store.path().join("m.mar").exists());
    }
    let (server, _control) = TestServer::fake_with(settings, &[]);
    assert_eq!(delete(&server.management("/models/far")).status, 200);
    assert!(!store.path().join("m.mar").exists(), "what was fetched goes with its model");
}
