use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use mar_server::Settings;
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

const JSON_LENGTH: &str = "inference-header-content-length";
const INFER: &str = "/v2/models/m/infer";
const CONFIG: &str = "handler: {}
signature:
  inputs: [{name: x, datatype: FP32, shape: [-1, 2]}, {name: n, datatype: INT64, shape: [-1, 1]}]
  outputs: [{name: y}, {name: z}]
";

fn serving(behaviour: &str) -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", behaviour, CONFIG);
    let (server, _) = TestServer::fake(&[&archive]);
    (store, server)
}

/// A good request, with this changed in it.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut body = json!({ "inputs": [
        { "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2] },
        { "name": "n", "datatype": "INT64", "shape": [1, 1], "data": [3] },
    ] });
    change(&mut body);
    body.to_string()
}

fn send(server: &TestServer, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = agent().post(server.inference(INFER));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body))
}

/// The message of an error in the protocol's form, which is of exactly this type.
fn error(told: &Answer) -> String {
    assert_eq!(told.header("content-type"), Some("application/json"));
    let body = told.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["error"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_wrong_with_a_body_is_named() {
    let (_store, server) = serving("echo");
    let no_id = "[request id: <id_unknown>] ";
    let cases: Vec<(String, String)> = [
        (String::new(), "the body is not JSON: it ends where an object should be"),
        ("{\"inputs\": [".into(), "the body is not JSON"),
        ("[]".into(), "expected an object at byte 0"),
        (changed(|b| *b = json!({})), "inputs is missing"),
        (changed(|b| b["inputs"][1]["name"] = json!(null)), "input 1: name is not a string"),
        (
            changed(|b| drop(b["inputs"][1].as_object_mut().unwrap().remove("name"))),
            "input 1: name is missing",
        ),
        (
            changed(|b| drop(b["inputs"][1].as_object_mut().unwrap().remove("shape"))),
            "input \"n\": shape is missing",
        ),
        (
            changed(|b| drop(b["inputs"][1].as_object_mut().unwrap().remove("datatype"))),
            "input \"n\": datatype is missing",
        ),
        (
            changed(|b| drop(b["inputs"][1].as_object_mut().unwrap().remove("data"))),
            "input \"n\": 0 of data,",
        ),
        (changed(|b| b["id"] = json!(5)), "id is not a string"),
        (
            changed(|b| b["inputs"][0]["data"] = json!([1, "2"])),
            "input \"x\": element 1 is \"2\", which FP32 does not hold",
        ),
        (
            changed(|b| b["inputs"][1]["data"] = json!([1.5])),
            "input \"n\": element 0 is 1.5, which INT64 does not hold",
        ),
        (changed(|b| b["inputs"][0]["data"] = json!(5)), "input 0: data is not an array"),
        (changed(|b| b["inputs"][0]["shape"] = json!([1, -2])), "input 0: shape has the side -2"),
        (changed(|b| b["inputs"][0]["shape"] = json!([1.5, 2])), "input 0: shape has the side 1.5"),
        (
            changed(|b| b["inputs"][0]["shape"] = json!([2, 2])),
            "input \"x\": 2 elements, and its shape has 4",
        ),
        (
            changed(|b| b["inputs"][0]["shape"] = json!([1_u64 << 60, 1_u64 << 60])),
            "input \"x\": shape is of no tensor",
        ),
        (
            changed(|b| b["inputs"][0]["datatype"] = json!("FLOAT")),
            "input 0: datatype \"FLOAT\" is none",
        ),
        (
            changed(|b| b["inputs"][0]["parameters"] = json!({ "a": [1] })),
            "input 0: parameter \"a\" is not",
        ),
        (
            changed(|b| b["inputs"][0]["parameters"] = json!({ "binary_data_size": 8 })),
            "input \"x\": 2 of data, binary_data_size",
        ),
        (changed(|b| b["outputs"] = json!([{}])), "output 0: name is missing"),
        (
            changed(|b| {
                b["outputs"] = json!([{ "name": "y", "parameters": { "binary_data": 1 } }]);
            }),
            "output \"y\": parameter \"binary_data\" is not true or false",
        ),
    ]
    .map(|(body, words)| (body, words.to_owned()))
    .into_iter()
    .chain([
        (
            changed(|b| b["inputs"][0]["datatype"] = json!("FP64")),
            format!("{no_id}input \"x\": datatype is FP64, and the model takes FP32"),
        ),
        (
            changed(|b| b["inputs"][1]["name"] = json!("q")),
            format!("{no_id}unexpected input \"q\" for model \"m\"; its inputs: \"x\", \"n\""),
        ),
        (
            changed(|b| b["inputs"][1]["name"] = json!("x")),
            format!("{no_id}input \"x\" is given twice"),
        ),
        (
            changed(|b| drop(b["inputs"].as_array_mut().unwrap().pop())),
            format!("{no_id}expected 2 inputs for model \"m\" and got 1; missing: \"n\""),
        ),
        (
            changed(|b| {
                b["inputs"][0]["shape"] = json!([2]);
                b["id"] = json!("me");
            }),
            "[request id: me] input \"x\": shape is [2], and the model takes [-1, 2]".into(),
        ),
        (
            changed(|b| {
                b["inputs"][1]["shape"] = json!([2, 1]);
                b["inputs"][1]["data"] = json!([1, 2]);
            }),
            format!("{no_id}input \"x\" has 1 rows and input \"n\" has 2"),
        ),
        (
            changed(|b| b["outputs"] = json!([{ "name": "w" }])),
            format!("{no_id}unexpected output \"w\"; the model's outputs: \"y\", \"z\""),
        ),
        (
            changed(|b| b["outputs"] = json!([{ "name": "y" }, { "name": "y" }])),
            format!("{no_id}output \"y\" is asked for twice"),
        ),
        (
            changed(|b| b["parameters"] = json!({ "triton_x": 1 })),
            format!("{no_id}parameter \"triton_x\" is reserved"),
        ),
        (
            changed(|b| b["parameters"] = json!({ "priority": "high" })),
            format!("{no_id}parameter \"priority\" is not a whole number"),
        ),
        (
            changed(|b| b["parameters"] = json!({ "timeout": -1 })),
            format!("{no_id}parameter \"timeout\" is not a whole number"),
        ),
        (
            changed(|b| {
                b["outputs"] = json!([{ "name": "y", "parameters": { "classification": "3" } }]);
            }),
            format!("{no_id}output \"y\": parameter \"classification\""),
        ),
    ])
    .collect();
    for (body, words) in cases {
        let told = post(&server.inference(INFER), body.as_bytes());
        let error = error(&told);
        assert_eq!((told.status, error.contains(&words)), (400, true), "{body}: {error}");
    }
    assert_eq!(post(&server.inference(INFER), changed(|_| ()).as_bytes()).status, 200);
}

#[test]
fn sizes_of_bytes_have_to_be_right() {
    let (_store, server) = serving("echo");
    let body = |size: i64| {
        changed(|b| {
            let input = b["inputs"][0].as_object_mut().unwrap();
            input.remove("data");
            input.insert("parameters".into(), json!({ "binary_data_size": size }));
        })
    };
    let tensor = [0; 8];
    for (json, header, behind, words) in [
        (body(9), None, &tensor[..], "binary_data_size is 9, and 8 bytes are left of the body"),
        (body(4), None, &tensor[..], "4 bytes follow the tensors"),
        (body(4), None, &tensor[..4], "FP32 of shape [1, 2] takes 8 bytes, and here are 4"),
        (body(-8), None, &tensor[..], "\"binary_data_size\" is not a whole number"),
        (
            body(8),
            Some("10000"),
            &tensor[..],
            "Inference-Header-Content-Length is 10000, and the body has",
        ),
        (body(8), Some("x"), &tensor[..], "Inference-Header-Content-Length is not a number"),
        (body(8), Some("-1"), &tensor[..], "Inference-Header-Content-Length is not a number"),
        (body(8), Some("1"), &tensor[..], "the body is not JSON"),
        (
            body(8),
            Some("0"),
            &tensor[..],
            "Inference-Header-Content-Length is 0, so the body is one tensor",
        ),
    ] {
        let length = header.map_or_else(|| json.len().to_string(), str::to_owned);
        let told = send(&server, &[(JSON_LENGTH, &length)], &[json.as_bytes(), behind].concat());
        let error = error(&told);
        assert_eq!((told.status, error.contains(words)), (400, true), "{json}: {error}");
    }
    let without = error(&send(&server, &[], body(8).as_bytes()));
    assert!(without.contains("the header Inference-Header-Content-Length"), "{without}");
}

#[test]
fn other_failures_have_tritons_status() {
    let (_store, server) = serving("echo");
    for path in ["/v2/models/none/infer", "/v2/models/m/versions/7/infer"] {
        let told = post(&server.inference(path), changed(|_| ()).as_bytes());
        assert_eq!(told.status, 404, "{}", error(&told));
    }
    for version in ["1", "1.0"] {
        let path = format!("/v2/models/m/versions/{version}/infer/");
        assert_eq!(post(&server.inference(&path), changed(|_| ()).as_bytes()).status, 200);
    }
    let told = get(&server.inference(INFER));
    assert_eq!((told.status, error(&told).as_str()), (405, "Method Not Allowed"));
    assert_eq!(told.header("allow"), Some("POST"));
    let told = post(&server.inference("/v2/models/m/inferr"), b"");
    assert_eq!((told.status, error(&told).as_str()), (404, "Not Found"));

    let (_store, failing) = serving("panics");
    let told = post(&failing.inference(INFER), changed(|_| ()).as_bytes());
    assert_eq!(told.status, 500, "{}", error(&told));
}

#[test]
fn a_body_beyond_the_limit_is_refused_also_once_it_is_inflated() {
    let (_store, server) = serving("echo");
    // The tests' server takes 100,000 bytes.
    let told = post(&server.inference(INFER), &vec![b' '; 100_001]);
    assert_eq!(told.status, 413);
    assert!(error(&told).contains("max_request_size, which is 100000"));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 50_000_000]).unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let told = send(&server, &[("content-encoding", "gzip")], &bomb);
    assert_eq!(told.status, 413, "{}", error(&told));

    let told = send(&server, &[("content-encoding", "gzip")], b"no such stream");
    assert_eq!(told.status, 400);
    assert!(error(&told).contains("is not what its Content-Encoding says"));
    let told = send(&server, &[("content-encoding", "br")], b"{}");
    assert_eq!((told.status, told.header("accept-encoding")), (501, Some("gzip, deflate")));
    assert!(error(&told).contains("Content-Encoding"));
}

#[test]
fn an_answer_beyond_the_limit_is_not_sent() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", "handler: {}\n");
    let (server, _) =
        TestServer::fake_with(Settings { max_response_size: 300, ..settings() }, &[&archive]);
    let ask = |columns: usize| {
        let input = json!({ "name": "x", "datatype": "INT8", "shape": [1, columns], "data": vec![-100; columns] });
        post(&server.inference(INFER), json!({ "inputs": [input] }).to_string().as_bytes())
    };
    assert_eq!(ask(10).status, 200);
    // As bytes it would be short enough, as JSON it is not; then it is not as bytes either.
    for columns in [200, 301] {
        let told = ask(columns);
        assert_eq!(told.status, 500);
        assert!(error(&told).contains("max_response_size"), "{columns}");
    }
}

#[test]
fn no_mistake_is_repeated_at_length() {
    let (_store, server) = serving("echo");
    let long = "n".repeat(90_000);
    let bodies = [
        changed(|b| b["inputs"][0]["name"] = json!(long)),
        changed(|b| b["outputs"] = json!([{ "name": long }])),
        changed(|b| b["id"] = json!(long)).replace("\"FP32\"", "\"FP64\""),
        changed(|b| b["inputs"][0]["datatype"] = json!(long)),
        changed(|b| b["inputs"][0]["data"] = json!([1, long])),
        changed(|b| b["parameters"] = json!({ format!("triton_{long}"): 1 })),
        changed(|b| b["inputs"][0]["shape"] = json!(vec![1; 40_000])),
        changed(|b| b["inputs"][0]["shape"] = json!(vec![1; 60])),
        changed(|b| b["inputs"][0]["parameters"] = json!({ "shared_memory_region": long })),
        "[".repeat(90_000),
        "{\"a\":".repeat(15_000),
        format!("{{\"inputs\":[{}]}}", vec!["{}"; 25_000].join(",")),
    ];
    for body in bodies {
        let told = post(&server.inference(INFER), body.as_bytes());
        assert_eq!(told.status, 400, "{}", &body[..100]);
        assert!(told.body.len() < 400, "{} bytes: {}", told.body.len(), error(&told));
    }
}
