use std::io::{Read, Write};
use std::net::TcpStream;

use mar_server::Settings;
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn serving() -> (Store, TestServer) {
    let store = Store::new();
    let (server, _control) = TestServer::fake(&[&store.fake("m", "1.0", "echo")]);
    (store, server)
}

/// What the handler was told of a request of this content type and body.
fn told(server: &TestServer, path: &str, content_type: Option<&str>, body: &[u8]) -> Value {
    let request = agent().post(server.inference(path)).header("x-describe", "1");
    let request = match content_type {
        Some(content_type) => request.header("content-type", content_type),
        None => request,
    };
    let told = answer(request.send(body));
    assert_eq!(told.status, 200, "{}", told.text());
    told.json()
}

/// The value of a header as the handler was told it; fails where it was told twice.
fn header<'a>(told: &'a Value, name: &str) -> Option<&'a str> {
    let headers = told["headers"].as_array().unwrap().iter();
    let mut values = headers.filter(|header| header[0] == name).map(|header| &header[1]);
    let value = values.next().map(|value| value.as_str().unwrap());
    assert_eq!(values.next(), None, "{name} is told twice");
    value
}

#[test]
fn every_way_to_the_model_arrives_with_any_method() {
    let (_store, server) = serving();
    for path in [
        "/predictions/m",
        "/predictions/m/1.0",
        "/predictions/m/1.0/v1/chat/completions",
        "/v1/models/m:predict",
        "/v1/models/m:predict/",
        "/invocations",
        "/models/m/invoke",
        "/m/predict",
        "/m/1.0/predict/",
    ] {
        let url = server.inference(path);
        assert_eq!(post(&url, b"x").text(), "x", "POST {path}");
        assert_eq!(answer(agent().put(&url).send(&b"x"[..])).text(), "x", "PUT {path}");
        assert_eq!(get(&url).status, 200, "GET {path}");
        assert_eq!(answer(agent().head(&url).call()).status, 200, "HEAD {path}");
        assert_eq!(answer(agent().delete(&url).call()).status, 200, "DELETE {path}");
    }
}

#[test]
fn a_path_is_decoded_before_it_is_split() {
    let store = Store::new();
    let (server, _control) = TestServer::fake(&[]);
    server.engine.load(Some("a model"), &store.fake("m", "1.0", "echo")).unwrap();
    for path in
        ["/predictions/a%20model", "/predictions/a%20model%2F1.0", "/%70redictions/a%20model"]
    {
        assert_eq!(post(&server.inference(path), b"x").text(), "x", "{path}");
    }
    let broken = post(&server.inference("/predictions/%ff"), b"x").error();
    assert_eq!((broken.0, broken.1.as_str()), (400, "BadRequestException"));
    assert!(broken.2.contains("/predictions/%ff"), "{}", broken.2);
}

#[test]
fn paths_that_torchserve_does_not_have_lead_nowhere() {
    let (_store, server) = serving();
    for path in ["/predictions", "/explanations", "/models/m/invocations", "/m"] {
        let gone = post(&server.inference(path), b"x").error();
        assert_eq!((gone.0, gone.1.as_str()), (404, "ResourceNotFoundException"), "{path}");
    }
}

#[test]
fn explanations_are_refused_with_the_reason_and_only_of_models_that_are_there() {
    let (_store, server) = serving();
    for path in ["/explanations/m", "/explanations/m/1.0/x", "/v1/models/m:explain"] {
        let (code, class, message) = post(&server.inference(path), b"x").error();
        assert_eq!((code, class.as_str()), (501, "NotImplementedException"), "{path}");
        assert!(message.contains("Captum"), "{message}");
    }
    assert_eq!(post(&server.inference("/explanations/x"), b"x").status, 404);
}

#[test]
fn each_type_of_a_body_reaches_the_handler_as_the_contract_has_it() {
    let (_store, server) = serving();
    let form = "application/x-www-form-urlencoded";
    for (content_type, body, parts) in [
        (None, "x", json!([["body", null, "x"]])),
        (None, "", json!([["body", null, ""]])),
        (
            Some("application/json; charset=utf-8"),
            r#"{"a": 1}"#,
            json!([["body", "application/json", r#"{"a": 1}"#]]),
        ),
        (Some("application/json"), "{", json!([["body", "application/json", "{"]])),
        (Some("text/csv"), "1,2", json!([["body", "text/csv", "1,2"]])),
        (Some("image/png"), "x", json!([["body", "image/png", "x"]])),
        (
            Some(form),
            "data=a%20b+c&k=1&k=2",
            json!([["data", null, "a b c"], ["k", null, "1"], ["k", null, "2"]]),
        ),
        (Some(form), r#"{"a":"="}"#, json!([["body", null, r#"{"a":"="}"#]])),
        (Some(form), "no form", json!([["body", null, "no form"]])),
    ] {
        let told = told(&server, "/predictions/m", content_type, body.as_bytes());
        assert_eq!(told["parts"], parts, "{content_type:?} {body}");
    }
}

#[test]
fn a_file_of_a_form_has_a_type_and_a_field_has_none() {
    let (_store, server) = serving();
    let part = |disposition: &str, kind: &str, data: &str| {
        let head = format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n");
        let kind =
            if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        format!("{head}{kind}\r\n{data}\r\n")
    };
    let body = [
        part("name=\"field\"", "application/json", "{\"a\": 1}"),
        part("name=\"plain\"", "", "x"),
        part("name=\"file\"; filename=\"a.json\"", "application/json", "{\"a\": 1}"),
        part("name=\"bare\"; filename=\"a.bin\"", "", "x"),
        "--b--\r\n".to_owned(),
    ];
    let told = told(
        &server,
        "/predictions/m",
        Some("multipart/form-data; boundary=b"),
        body.concat().as_bytes(),
    );
    assert_eq!(
        told["parts"],
        json!([
            ["field", null, "{\"a\": 1}"],
            ["plain", null, "x"],
            ["file", "application/json", "{\"a\": 1}"],
            ["bare", "application/octet-stream", "x"],
        ])
    );
}

#[test]
fn the_query_is_an_input_of_the_legacy_paths_alone() {
    let (_store, server) = serving();
    let with_query = told(&server, "/m/predict?k=a+b&data=x%3D1", None, b"y");
    assert_eq!(
        with_query["parts"],
        json!([["k", null, "a b"], ["data", null, "x=1"], ["body", null, "y"]])
    );
    let versioned = told(&server, "/m/1.0/predict?k=v", None, b"y");
    assert_eq!(versioned["parts"][0], json!(["k", null, "v"]));
    let modern = told(&server, "/predictions/m?k=v", None, b"y");
    assert_eq!(modern["parts"], json!([["body", null, "y"]]));
}

#[test]
fn every_path_tells_the_handler_the_query() {
    let (_store, server) = serving();
    for path in ["/predictions/m", "/predictions/m/1.0", "/v1/models/m:predict", "/m/predict"] {
        let told =
            told(&server, &format!("{path}?format=png&class=a%20car&format=rle"), None, b"y");
        let query = json!([["format", "png"], ["class", "a car"], ["format", "rle"]]);
        assert_eq!(told["query"], query, "{path}");
    }
}

#[test]
fn the_handler_is_told_the_clients_headers_and_torchserves() {
    let (_store, server) = serving();
    let sent = agent()
        .post(server.inference("/predictions/m/1.0/v1/chat"))
        .header("x-describe", "1")
        .header("x-twice", "first")
        .header("x-twice", "last")
        .header("explain", "True")
        .header("url_path", "elsewhere")
        .header("x-request-id", "mine");
    let told_all = answer(sent.send(&b"x"[..])).json();
    assert_eq!(header(&told_all, "x-twice"), Some("last"));
    assert_eq!(header(&told_all, "explain"), Some("False"), "the client's own does not count");
    assert_eq!(header(&told_all, "url_path"), Some("v1/chat"));
    assert_eq!(header(&told_all, "x-request-id"), Some("mine"));
    let short = told(&server, "/predictions/m", None, b"x");
    assert_eq!(header(&short, "url_path"), Some(""));
    let legacy = told(&server, "/m/predict", None, b"x");
    assert_eq!((header(&legacy, "explain"), header(&legacy, "url_path")), (None, None));
}

#[test]
fn a_response_over_the_limit_is_an_error_that_names_it() {
    let settings = Settings { max_response_size: 4, ..settings() };
    let store = Store::new();
    let (server, _control) = TestServer::fake_with(settings, &[&store.fake("m", "1.0", "echo")]);
    let url = server.inference("/predictions/m");
    assert_eq!(post(&url, b"1234").text(), "1234");
    let (code, class, message) = post(&url, b"12345").error();
    assert_eq!((code, class.as_str()), (500, "InternalServerException"));
    assert_eq!(message, "the answer is larger than max_response_size, which is 4 bytes");
}

#[test]
fn what_http_cannot_carry_is_the_handlers_error() {
    let (_store, server) = serving();
    let url = server.inference("/predictions/m");
    for (body, words) in [("answer status 42", "42"), ("set a header that is none", "x-pot")] {
        let told: Answer = post(&url, body.as_bytes());
        let (code, class, message) = told.error();
        assert_eq!((code, class.as_str()), (500, "InternalServerException"), "{body}");
        assert!(message.contains(words), "{message}");
        assert_eq!(told.header("x-smuggled"), None);
    }
}

#[test]
fn a_handlers_type_is_sent_once() {
    let (_store, server) = serving();
    let told = post(&server.inference("/predictions/m"), b"give the type twice");
    let types: Vec<_> = told.headers.get_all("content-type").iter().collect();
    assert_eq!(types, ["text/plain"]);
}

#[test]
fn an_answer_without_a_body_leaves_the_connection_in_order() {
    let (_store, server) = serving();
    let mut stream = TcpStream::connect(server.inference_address()).unwrap();
    for (body, close) in [("answer nothing", "keep-alive"), ("next", "close")] {
        let length = body.len();
        write!(
            stream,
            "POST /predictions/m HTTP/1.1\r\nhost: h\r\nconnection: {close}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    }
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (first, second) = all.split_once("\r\n\r\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 204"), "{all}");
    assert!(second.starts_with("HTTP/1.1 200") && second.ends_with("\r\n\r\nnext"), "{all}");
}

#[test]
fn a_handler_is_told_how_much_can_be_sent() {
    let settings = Settings { max_response_size: 4321, ..settings() };
    let store = Store::new();
    let (server, _control) = TestServer::fake_with(settings, &[&store.fake("m", "1.0", "echo")]);
    for path in ["/predictions/m", "/v1/models/m:predict"] {
        assert_eq!(told(&server, path, None, b"x")["max_response_bytes"], 4321, "{path}");
    }
}
