use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::support::fake::Control;
use crate::support::http::{Answer, agent, answer, post};
use crate::support::server::TestServer;
use crate::support::store::Store;

const JSON_LENGTH: &str = "inference-header-content-length";
/// One input of two columns, tripled.
const TRIPLES: &str = "handler: {}
signature:
  inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
  outputs: [{name: y, datatype: FP32, shape: [-1, 2]}]
";
/// Two inputs of any type, given back.
const TWO: &str = "handler: {}
signature:
  inputs: [{name: a}, {name: b}]
  outputs: [{name: c}, {name: d}]
";

fn serving(behaviour: &str, config: &str) -> (Store, TestServer, Control) {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", behaviour, config);
    let (server, control) = TestServer::fake(&[&archive]);
    (store, server, control)
}

fn infer(server: &TestServer, body: &Value) -> Answer {
    post(&server.inference("/v2/models/m/infer"), body.to_string().as_bytes())
}

/// JSON and the tensors behind it.
fn binary(json: &Value, tensors: &[u8]) -> (String, Vec<u8>) {
    let json = json.to_string();
    (json.len().to_string(), [json.as_bytes(), tensors].concat())
}

fn send(server: &TestServer, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = agent().post(server.inference("/v2/models/m/infer"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body))
}

/// The JSON of an answer and what follows it.
fn taken_apart(answer: &Answer) -> (Value, &[u8]) {
    assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    let length: usize = answer.header(JSON_LENGTH).unwrap().parse().unwrap();
    let (json, tensors) = answer.body.split_at(length);
    (serde_json::from_slice(json).unwrap(), tensors)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn json_goes_to_the_network_and_comes_back_in_the_protocols_order() {
    let (_store, server, _control) = serving("times 3", TRIPLES);
    let body = json!({
        "id": "one",
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 0.5], [-2.5, 4]] }],
    });
    let told = infer(&server, &body);
    assert_eq!((told.status, told.header("content-type")), (200, Some("application/json")));
    assert_eq!(told.header(JSON_LENGTH), None);
    assert_eq!(
        told.text(),
        concat!(
            r#"{"id":"one","model_name":"m","model_version":"1.0","outputs":["#,
            r#"{"name":"y","datatype":"FP32","shape":[2,2],"data":[3.0,1.5,-7.5,12.0]}]}"#
        )
    );
    assert!(told.header("server-timing").unwrap().contains("inference;dur="));
    assert!(told.header("x-request-id").is_some());
}

#[test]
fn bytes_behind_the_json_go_both_ways() {
    let (_store, server, _control) = serving("times 2", TRIPLES);
    let body = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 2],
                     "parameters": { "binary_data_size": 8 } }],
    });
    let (length, body) = binary(&body, &floats(&[1.5, -2.0]));
    let told = send(&server, &[(JSON_LENGTH, &length)], &body);
    let (json, tensors) = taken_apart(&told);
    assert_eq!(tensors, floats(&[3.0, -4.0]));
    assert_eq!(
        json["outputs"],
        json!([{ "name": "y", "datatype": "FP32", "shape": [1, 2],
                 "parameters": { "binary_data_size": 8 } }])
    );
    assert_eq!(json.get("id"), None, "none was given");
}

#[test]
fn outputs_are_those_that_are_asked_for_in_that_order_and_form() {
    let (_store, server, _control) = serving("echo", TWO);
    let body = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [
            // Not in the network's order.
            { "name": "b", "datatype": "BYTES", "shape": [1, 2], "data": ["x", "\u{e4}"] },
            { "name": "a", "datatype": "INT64", "shape": [1, 1], "data": [-7] },
        ],
        "outputs": [{ "name": "d", "parameters": { "binary_data": false } }, { "name": "c" }],
    });
    let told = infer(&server, &body);
    let (json, tensors) = taken_apart(&told);
    let strings =
        json!({ "name": "d", "datatype": "BYTES", "shape": [1, 2], "data": ["x", "\u{e4}"] });
    assert_eq!(json["outputs"][0], strings);
    assert_eq!(json["outputs"][1]["name"], "c");
    assert_eq!(tensors, (-7_i64).to_le_bytes());
}

#[test]
fn every_datatype_comes_back_as_it_went() {
    let (_store, server, _control) = serving("echo", "handler: {}\n");
    let sizes = [
        ("BOOL", 1),
        ("UINT8", 1),
        ("UINT16", 2),
        ("UINT32", 4),
        ("UINT64", 8),
        ("INT8", 1),
        ("INT16", 2),
        ("INT32", 4),
        ("INT64", 8),
        ("FP16", 2),
        ("BF16", 2),
        ("FP32", 4),
        ("FP64", 8),
    ];
    for (datatype, size) in sizes {
        // Bytes of 0 and 1 are elements of each type.
        let sent: Vec<u8> = (0..3 * size).map(|i| u8::from(i % 3 == 0)).collect();
        let body = json!({
            "parameters": { "binary_data_output": true },
            "inputs": [{ "name": "any", "datatype": datatype, "shape": [1, 3],
                         "parameters": { "binary_data_size": sent.len() } }],
        });
        let (length, body) = binary(&body, &sent);
        let told = send(&server, &[(JSON_LENGTH, &length)], &body);
        assert_eq!(told.status, 200, "{datatype}: {}", String::from_utf8_lossy(&told.body));
        let (json, tensors) = taken_apart(&told);
        assert_eq!((&json["outputs"][0]["datatype"], tensors), (&json!(datatype), &sent[..]));
    }
}

#[test]
fn a_tensor_without_elements_and_one_beyond_a_page_come_back() {
    let (_store, server, _control) = serving("echo", "handler: {}\n");
    for columns in [0_usize, 20_000] {
        let sent = vec![1; 4 * columns];
        let body = json!({
            "parameters": { "binary_data_output": true },
            "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, columns],
                         "parameters": { "binary_data_size": sent.len() } }],
        });
        let (length, body) = binary(&body, &sent);
        let told = send(&server, &[(JSON_LENGTH, &length)], &body);
        assert_eq!(taken_apart(&told).1, sent, "{columns}");
    }
}

#[test]
fn a_body_without_json_is_the_one_input() {
    let (_store, server, _control) = serving("times 2", TRIPLES);
    let told = send(&server, &[(JSON_LENGTH, "0")], &floats(&[5.0, 7.0]));
    let (json, tensors) = taken_apart(&told);
    assert_eq!(json["outputs"][0]["shape"], json!([1, 2]));
    assert_eq!(tensors, floats(&[10.0, 14.0]));
    let short = send(&server, &[(JSON_LENGTH, "0")], &floats(&[5.0]));
    assert_eq!(short.status, 400);
}

#[test]
fn numbers_that_are_none_are_taken_and_written_as_python_does() {
    let (_store, server, _control) = serving("times 1", TRIPLES);
    let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[NaN,Infinity,-Infinity,0.1]}]}"#;
    let told = post(&server.inference("/v2/models/m/infer"), body.as_bytes());
    // In the fewest digits that mean the same single-precision number.
    assert!(told.text().contains(r#""data":[NaN,Infinity,-Infinity,0.1]"#), "{}", told.text());
}

#[test]
fn classes_are_told_instead_of_numbers() {
    let (_store, server, _control) = serving("times 1", TRIPLES);
    let body = json!({
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": [0.25, 3, 2, 1] }],
        "outputs": [{ "name": "y", "parameters": { "classification": 1 } }],
    });
    let told = infer(&server, &body).json();
    let classes = json!([{ "name": "y", "datatype": "BYTES", "shape": [2, 1],
                           "data": ["3.000000:1", "2.000000:0"] }]);
    assert_eq!(told["outputs"], classes);

    let labelled = TRIPLES.replace("handler: {}", "handler: {labels: [cat, dog]}");
    let (_store, server, _control) = serving("times 1", &labelled);
    let told = infer(&server, &body).json();
    assert_eq!(told["outputs"][0]["data"], json!(["3.000000:1:dog", "2.000000:0:cat"]));
}

#[test]
fn bodies_are_compressed_as_both_sides_say() {
    let (_store, server, _control) = serving("times 2", TRIPLES);
    let body = json!({
        "parameters": { "binary_data_output": true },
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 2],
                     "parameters": { "binary_data_size": 8 } }],
    });
    // The length is that of the JSON before it is compressed.
    let (length, plain) = binary(&body, &floats(&[1.0, 2.0]));
    for sent in ["identity", "gzip", "deflate"] {
        let body = match sent {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(&plain).unwrap();
                encoder.finish().unwrap()
            }
            _ => plain.clone(),
        };
        for wanted in ["identity", "gzip", "deflate"] {
            let headers =
                [(JSON_LENGTH, &*length), ("content-encoding", sent), ("accept-encoding", wanted)];
            let mut told = send(&server, &headers, &body);
            assert_eq!(told.status, 200, "{sent} {wanted}");
            let encoding = (wanted != "identity").then_some(wanted);
            assert_eq!(told.header("content-encoding"), encoding);
            let mut inflated = Vec::new();
            match wanted {
                "gzip" => GzDecoder::new(&told.body[..]).read_to_end(&mut inflated).unwrap(),
                "deflate" => ZlibDecoder::new(&told.body[..]).read_to_end(&mut inflated).unwrap(),
                _ => (&told.body[..]).read_to_end(&mut inflated).unwrap(),
            };
            told.body = inflated;
            assert_eq!(taken_apart(&told).1, floats(&[2.0, 4.0]), "{sent} {wanted}");
        }
    }
}

#[test]
fn rows_of_several_clients_share_a_pass() {
    let config = format!("batchSize: 4\nmaxBatchDelay: 100000\n{TRIPLES}");
    let (_store, server, control) = serving("times 2", &config);
    let ask = |value: f32| {
        let input =
            json!({ "name": "x", "datatype": "FP32", "shape": [2, 2], "data": vec![value; 4] });
        infer(&server, &json!({ "inputs": [input] })).json()["outputs"][0]["data"].clone()
    };
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| ask(1.0));
        let two = scope.spawn(|| ask(5.0));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!((one, two), (json!([2.0, 2.0, 2.0, 2.0]), json!([10.0, 10.0, 10.0, 10.0])));
    assert_eq!(control.take_batches(), [4]);
}
