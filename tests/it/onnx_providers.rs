use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mar::PackOptions;
use serde_json::{Value, json};

use crate::support::http::{agent, answer, get};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// A network whose answer to 1 and 2 is 210 and 5, with these providers.
fn archive(store: &Store, name: &str, providers: &str) -> PathBuf {
    let file = store.path().join(format!("{name}.yaml"));
    fs::write(&file, format!("deviceType: cpu\nonnx:\n  providers: {providers}\n")).unwrap();
    store.packed(PackOptions {
        model_name: name.into(),
        handler: "tensor".into(),
        serialized_file: Some(repository("tests/parity/onnx/weights_as_inputs.onnx")),
        config_file: Some(file),
        ..PackOptions::default()
    })
}

fn server() -> TestServer {
    let runtime = Arc::new(mar_runtime::Onnx::start());
    TestServer::start(settings(), mar_handlers::all(), runtime)
}

fn described(server: &TestServer, model: &str) -> Value {
    get(&server.management(&format!("/models/{model}"))).json()[0].clone()
}

/// The library that the tests run on has the processor alone.
#[test]
fn who_runs_a_network_is_told_and_the_processor_stands_in_where_it_may() {
    let store = Store::new();
    let server = server();
    server.engine.load(None, &archive(&store, "m", "[cuda, {openvino: {}}, cpu]")).unwrap();
    let told = described(&server, "m");
    assert_eq!(told["state"], "READY", "{told}");
    let execution = &told["execution"];
    assert_eq!(execution["runtime"], "ONNX Runtime");
    assert_eq!(execution["asked"], json!(["cuda", "openvino", "cpu"]));
    assert_eq!(execution["providers"], json!([{"name": "cpu", "nodes": 1}]));
    for missing in ["cuda", "openvino"] {
        let reason = execution["missing"][missing].as_str().unwrap();
        assert!(reason.contains("was built without it"), "{reason}");
    }
    let request =
        agent().post(server.inference("/predictions/m")).header("content-type", "application/json");
    let predicted = answer(request.send(json!({"data": [1.0, 2.0]}).to_string()));
    assert_eq!((predicted.status, predicted.json()), (200, json!([210.0, 5.0])));
}

#[test]
fn a_provider_that_is_not_here_or_not_known_fails_the_load_and_leaves_the_others() {
    let store = Store::new();
    let server = server();
    server.engine.load(None, &archive(&store, "fine", "[cpu]")).unwrap();
    for (name, providers, words) in [
        ("absent", "[cuda]", "providers: cuda: this ONNX Runtime was built without it"),
        ("unknown", "[gpu, cpu]", "providers: \"gpu\" is not known; known: cpu, cuda"),
        ("behind", "[cpu, cuda]", "providers: cuda stands behind cpu"),
        ("pointer", "[{cuda: {user_compute_stream: 1}}, cpu]", "user_compute_stream is not for"),
    ] {
        server.engine.load(None, &archive(&store, name, providers)).unwrap();
        let told = described(&server, name);
        let reason = told["reason"].as_str().unwrap_or_else(|| panic!("{name}: {told}"));
        assert!(reason.contains(words), "{reason}");
    }
    let absent = described(&server, "absent")["workers"][0]["state"].clone();
    assert_eq!(absent, "FAILED", "a library does not change, so nobody tries again");
    assert_eq!(described(&server, "fine")["state"], "READY");
}
