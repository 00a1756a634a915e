use mar_server::Settings;
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn serving() -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _) =
        TestServer::fake_with(Settings { max_response_size: 2_000, ..settings() }, &[&archive]);
    (store, server)
}

fn ask(server: &TestServer, body: &Value) -> Answer {
    post(&server.inference("/v2/models/m@handler/infer"), body.to_string().as_bytes())
}

fn of(data: &[&str]) -> Value {
    json!({ "inputs": [{ "name": "data", "datatype": "BYTES", "shape": [data.len(), 1], "data": data }] })
}

#[test]
fn every_element_is_a_request_to_the_handler() {
    let (_store, server) = serving();
    let told = ask(&server, &of(&["one", "", "say it as text"]));
    assert_eq!(
        told.json()["outputs"],
        json!([{ "name": "output", "datatype": "BYTES", "shape": [3, 1], "data": ["one", "", "it"] }])
    );
    let texts = ask(&server, &of(&["say it as text", "say it as text"])).json();
    assert_eq!(texts["outputs"][0]["parameters"], json!({ "content_type": "text/plain" }));
    assert_eq!(ask(&server, &of(&[])).json()["outputs"][0]["data"], json!([]));
}

#[test]
fn what_is_no_text_goes_as_base64_or_bytes() {
    let (_store, server) = serving();
    // "/wD+" is ff 00 fe, which JSON cannot give back.
    let mut body = json!({ "inputs": [{ "name": "data", "datatype": "BYTES", "shape": [1], "data": ["/wD+"],
                                        "parameters": { "content_type": "base64" } }] });
    let told = ask(&server, &body);
    let error = told.json()["error"].as_str().unwrap().to_owned();
    assert_eq!((told.status, error.contains("binary_data")), (400, true), "{error}");
    body["parameters"] = json!({ "binary_data_output": true });
    let told = ask(&server, &body);
    assert!(told.body.ends_with(b"}\x03\0\0\0\xff\0\xfe"), "{:?}", told.body);
}

#[test]
fn parameters_are_the_querys_and_headers_the_clients() {
    let (_store, server) = serving();
    let mut body = of(&["x"]);
    body["parameters"] =
        json!({ "format": "png", "k": 3, "binary_data_output": false, "priority": 1 });
    let told = answer(
        agent()
            .post(server.inference("/v2/models/m@handler/infer"))
            .header("x-describe", "1")
            .header("x-test", "mine")
            .send(body.to_string()),
    );
    let text = told.json()["outputs"][0]["data"][0].as_str().unwrap().to_owned();
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["query"], json!([["format", "png"], ["k", "3"]]));
    assert_eq!(told["x-test"], "mine");
    assert_eq!(told["parts"], json!([["data", null, "x"]]));
}

#[test]
fn one_that_fails_fails_the_request_and_is_numbered() {
    let (_store, server) = serving();
    for (data, status, words) in [
        (["x", "refuse"], 400, "[request id: <id_unknown>] element 1: the body asks to be refused"),
        (["be a teapot", "x"], 400, "element 0: the handler answered 418: short and stout"),
        (["x", "fail in forward"], 500, "element 1: the model failed: as asked"),
        (["answer status 42", "x"], 500, "element 0: the handler answered 42"),
    ] {
        let told = ask(&server, &of(&data));
        let error = told.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((told.status, error.contains(words)), (status, true), "{error}");
    }
    let long = "a".repeat(1_500);
    let told = ask(&server, &of(&[&long, &long]));
    assert_eq!(told.status, 500);
    assert!(told.text().contains("max_response_size"), "{}", told.text());
}

#[test]
fn what_is_no_list_of_encoded_inputs_is_refused() {
    let (_store, server) = serving();
    let input = |name: &str, datatype: &str, shape: Value, data: Value| json!({ "inputs": [{ "name": name, "datatype": datatype, "shape": shape, "data": data }] });
    for (body, words) in [
        (input("x", "BYTES", json!([1, 1]), json!(["a"])), "unexpected input \"x\""),
        (input("data", "FP32", json!([1, 1]), json!([1])), "datatype is FP32"),
        (input("data", "BYTES", json!([1, 2]), json!(["a", "b"])), "shape is [1, 2]"),
        (json!({ "inputs": [] }), "expected 1 input for model \"m@handler\" and got 0"),
    ] {
        let told = ask(&server, &body);
        assert_eq!(told.status, 400, "{}", told.text());
        assert!(told.json()["error"].as_str().unwrap().contains(words), "{}", told.text());
    }
    assert_eq!(post(&server.inference("/v2/models/n@handler/infer"), b"{}").status, 404);
}
