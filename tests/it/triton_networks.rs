use std::sync::Arc;

use mar_engine::VersionState;
use mar_handler::Runtime;
use mar_server::{Address, Endpoint, ModelSource, Triton};
use serde_json::{Value, json};

use crate::support::http::{get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::repository;

/// Serves models of the example repository on a runtime.
fn serve(runtime: Arc<dyn Runtime>, models: &[&str]) -> TestServer {
    let examples = repository("tests/parity/triton");
    let http = Endpoint { address: Address::Tcp("127.0.0.1:0".parse().unwrap()), tls: false };
    let mut settings = settings();
    settings.triton = Triton {
        http: Some(http),
        max_request_size: 64 << 20,
        max_response_size: 64 << 20,
        ..Triton::default()
    };
    settings.store.dir.clone_from(&examples);
    let source = |name: &&str| ModelSource { path: examples.join(name), ..ModelSource::default() };
    settings.models = models.iter().map(source).collect();
    let server = TestServer::start(settings, mar_handlers::all(), runtime);
    for name in models {
        assert_eq!(server.state(name), VersionState::Ready, "{name}");
    }
    server
}

/// The outputs of one request, by name.
fn infer(server: &TestServer, model: &str, body: &Value) -> Vec<(String, Value)> {
    let url = server.triton(&format!("/v2/models/{model}/infer"));
    let answer = post(&url, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let outputs = answer.json()["outputs"].as_array().unwrap().clone();
    let named =
        |output: &Value| (output["name"].as_str().unwrap().to_owned(), output["data"].clone());
    outputs.iter().map(named).collect()
}

fn tensor(name: &str, datatype: &str, shape: &[usize], data: &Value) -> Value {
    json!({ "name": name, "datatype": datatype, "shape": shape, "data": data })
}

#[cfg(feature = "torch")]
#[test]
fn torchscript_is_served_by_places() {
    let server = serve(Arc::new(mar_runtime::Torch::start()), &["pair"]);
    let told = get(&server.triton("/v2/models/pair")).json();
    assert_eq!(told["platform"], "pytorch_libtorch");
    assert_eq!(
        told["inputs"][1],
        json!({ "name": "INPUT__1", "datatype": "FP32", "shape": [-1, -1] })
    );
    // The names say which is which, whatever the order of the request.
    let body = json!({ "inputs": [
        tensor("INPUT__1", "FP32", &[2, 2], &json!([1, 2, 3, 4])),
        tensor("INPUT__0", "FP32", &[2, 2], &json!([10, 20, 30, 40])),
    ] });
    let outputs = infer(&server, "pair", &body);
    let expected = [
        ("OUTPUT__0", json!([11.0, 22.0, 33.0, 44.0])),
        ("OUTPUT__1", json!([9.0, 18.0, 27.0, 36.0])),
    ];
    assert_eq!(outputs, expected.map(|(name, data)| (name.to_owned(), data)));
}

#[cfg(feature = "onnx")]
#[test]
fn onnx_is_served_with_and_without_a_configuration() {
    let server = serve(Arc::new(mar_runtime::Onnx::start()), &["classifier", "simple"]);
    assert_eq!(get(&server.triton("/v2/models/simple")).json()["platform"], "onnxruntime_onnx");
    let config = get(&server.triton("/v2/models/simple/config")).json();
    assert_eq!(config["platform"], "onnxruntime_onnx");
    assert_eq!(config["max_batch_size"], 4);
    assert_eq!(config["input"][1]["data_type"], "TYPE_INT32");
    assert_eq!(config["input"][1]["dims"], json!([16]));
    assert_eq!(config["dynamic_batching"]["preferred_batch_size"], json!([4]));
    let counted: Vec<i32> = (0..16).collect();
    let body = json!({ "inputs": [
        tensor("INPUT0", "INT32", &[1, 16], &json!(counted)),
        tensor("INPUT1", "INT32", &[1, 16], &json!(vec![1; 16])),
    ] });
    let outputs = infer(&server, "simple", &body);
    let sums: Vec<i32> = counted.iter().map(|n| n + 1).collect();
    let differences: Vec<i32> = counted.iter().map(|n| n - 1).collect();
    assert_eq!(outputs, [("OUTPUT0".into(), json!(sums)), ("OUTPUT1".into(), json!(differences))]);

    // What ONNX Runtime itself answered to planes of one number each.
    let table = std::fs::read_to_string(repository("tests/parity/onnx/expected.json")).unwrap();
    let table: Value = serde_json::from_str(&table).unwrap();
    let case = &table["networks"]["classifier"]["cases"][0];
    let planes = case["inputs"]["input"]["planes"].as_array().unwrap();
    let picture: Vec<&Value> = planes.iter().flat_map(|plane| vec![plane; 224 * 224]).collect();
    let mut body =
        json!({ "inputs": [tensor("input", "FP32", &[1, 3, 224, 224], &json!(picture))] });
    let outputs = infer(&server, "classifier", &body);
    let expected = floats(case["outputs"]["output"]["hex"].as_str().unwrap());
    let scores: Vec<f64> =
        outputs[0].1.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
    assert_eq!((outputs[0].0.as_str(), scores.len()), ("output", 1000));
    let worst = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-5, "{worst}");

    let best = (0..1000).max_by(|a, b| expected[*a].total_cmp(&expected[*b])).unwrap();
    body["outputs"] = json!([{ "name": "output", "parameters": { "classification": 1 } }]);
    let class = infer(&server, "classifier", &body)[0].1[0].as_str().unwrap().to_owned();
    assert!(class.ends_with(&format!(":{best}:kind {best}")), "{class}");
}

/// Numbers of `F32` out of their bytes, as two digits each.
#[cfg(feature = "onnx")]
fn floats(hex: &str) -> Vec<f64> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(|c| 16 * digit(c[0]) + digit(c[1])).collect();
    bytes.chunks(4).map(|n| f64::from(f32::from_le_bytes(n.try_into().unwrap()))).collect()
}
