use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mar::PackOptions;
use serde_json::{Value, json};

use crate::support::http::{agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

fn network(file: &str) -> PathBuf {
    repository("tests/parity/onnx").join(file)
}

/// An archive of these bytes as `m.onnx`, packed by what does not look into them.
fn archive(store: &Store, name: &str, bytes: &[u8], extra_files: &[&Path]) -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("m.onnx");
    fs::write(&weights, bytes).unwrap();
    store.packed(PackOptions {
        model_name: name.into(),
        handler: "tensor".into(),
        serialized_file: Some(weights),
        extra_files: extra_files.iter().map(|file| file.to_str().unwrap().to_owned()).collect(),
        ..PackOptions::default()
    })
}

/// A server of a store, with a network of two numbers that is well.
fn server(store: &Store) -> TestServer {
    let mut settings = settings();
    settings.store.dir = store.path().into();
    settings.access.model_api = true;
    let server =
        TestServer::start(settings, mar_handlers::all(), Arc::new(mar_runtime::Onnx::start()));
    let well = fs::read(network("weights_as_inputs.onnx")).unwrap();
    server.engine.load(None, &archive(store, "well", &well, &[])).unwrap();
    server
}

fn multiplied(server: &TestServer) -> Value {
    let request = agent().post(server.inference("/predictions/well"));
    let request = request.header("content-type", "application/json");
    let answer = answer(request.send(r#"{"data": [1.0, 2.0]}"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_file_that_cannot_be_served_is_refused_with_its_cause_and_its_neighbour_goes_on() {
    let store = Store::new();
    let server = server(&store);
    let whole = fs::read(network("weights_as_inputs.onnx")).unwrap();
    let mut damaged = whole.clone();
    // The name of the first operator is no longer text.
    let place = whole.windows(6).position(|bytes| bytes == b"MatMul").unwrap();
    damaged[place..place + 6].fill(0xff);
    let short = store.path().join("external.weights");
    fs::write(&short, [0; 15]).unwrap();
    let external = fs::read(network("external.onnx")).unwrap();
    let mut escaping = external.clone();
    let place = external.windows(16).position(|bytes| bytes == b"external.weights").unwrap();
    escaping[place..place + 16].copy_from_slice(b"../../etc/passwd");
    let later = fs::read(network("later.onnx")).unwrap();
    for (name, bytes, extra_files, cause) in [
        ("cut", &whole[..100], &[][..], "it is cut off: it has 100 bytes of at least"),
        ("damaged", &damaged, &[], "it is damaged"),
        ("another", b"PK\x03\x04", &[], "it is no ONNX file"),
        ("later", &later, &[], "its operators of \\\"ai.onnx\\\" are of version 999"),
        ("missing", &external, &[], "the file \\\"external.weights\\\", with weights"),
        ("short", &external, &[&*short], "it has 15 of 16 bytes"),
        ("escaping", &escaping, &[], "leads out of the network's folder"),
    ] {
        let path = archive(&store, name, bytes, extra_files);
        let file = path.file_name().unwrap().to_str().unwrap();
        let query = format!("/models?url={file}&initial_workers=1&synchronous=true");
        let refused = post(&server.management(&query), b"");
        assert!(refused.status >= 400, "{name}: {}", refused.text());
        let told = refused.text();
        assert!(told.contains("m.onnx does not open as ONNX"), "{name}: {told}");
        assert!(told.contains(cause), "{name}: {told}");
        assert!(!told.contains(store.path().to_str().unwrap()), "{name}: {told}");
        assert_eq!(multiplied(&server), json!([210.0, 5.0]), "after {name}");
    }
    let listed = get(&server.management("/models")).json();
    assert_eq!(listed["models"].as_array().unwrap().len(), 1, "{listed}");
}
