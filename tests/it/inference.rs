use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mar_engine::VersionState;
use serde_json::json;
use ureq::unversioned::multipart::{Form, Part};

use crate::support::http::{agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn echo() -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    assert_eq!(server.state("m"), VersionState::Ready);
    (store, server)
}

#[test]
fn a_body_goes_in_and_its_prediction_comes_out_with_torchserves_headers() {
    let (_store, server) = echo();
    let first = post(&server.inference("/predictions/m"), b"hello");
    assert_eq!((first.status, first.text()), (200, "hello"));
    assert_eq!(first.header("pragma"), Some("no-cache"));
    assert_eq!(first.header("cache-control"), Some("no-cache; no-store, must-revalidate, private"));
    assert_eq!(first.header("expires"), Some("Thu, 01 Jan 1970 00:00:00 UTC"));
    assert_eq!(first.header("connection"), None, "HTTP/1.1 keeps it where nothing is said");
    assert_eq!(first.header("content-type"), None, "only a handler gives a content type");
    let second = post(&server.inference("/predictions/m"), b"hello");
    let id = |answer: &crate::support::http::Answer| answer.header("x-request-id").unwrap().len();
    assert_eq!(id(&first), 36);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[test]
fn every_method_predicts_and_trailing_slashes_vanish() {
    let (_store, server) = echo();
    assert_eq!(get(&server.inference("/predictions/m/")).status, 200);
    let put = answer(agent().put(server.inference("/predictions/m/1.0/")).send(&b"x"[..]));
    assert_eq!((put.status, put.text()), (200, "x"));
}

#[test]
fn a_version_is_chosen_by_the_path() {
    let store = Store::new();
    let one = store.fake_with("m", "1.0", "echo", "handler: {prefix: one-}\n");
    let two = store.fake_with("m", "2.0", "echo", "handler: {prefix: two-}\n");
    let (server, _control) = TestServer::fake(&[&one, &two]);
    let ask = |path| post(&server.inference(path), b"x");
    assert_eq!(ask("/predictions/m").text(), "one-x", "the first registered is the default");
    assert_eq!(ask("/predictions/m/1.0").text(), "one-x");
    assert_eq!(ask("/predictions/m/2.0").text(), "two-x");
    let (code, class, message) = ask("/predictions/m/3.0").error();
    assert_eq!((code, class.as_str()), (404, "ModelVersionNotFoundException"));
    assert_eq!(message, "no version \"3.0\" of model \"m\"; loaded: 1.0, 2.0");
}

#[test]
fn what_is_not_there_is_404_in_torchserves_words() {
    let (_store, server) = echo();
    let (code, class, message) = post(&server.inference("/predictions/x"), b"").error();
    assert_eq!((code, class.as_str()), (404, "ModelNotFoundException"));
    assert_eq!(message, "no model \"x\"; loaded: m");
    for path in ["/predictions", "/nothing/here"] {
        let gone = get(&server.inference(path));
        assert_eq!(gone.error().1, "ResourceNotFoundException", "{path}");
        assert!(gone.text().ends_with("}\n") && gone.text().starts_with("{\n  \"code\": 404,\n"));
        assert_eq!(gone.header("connection"), Some("close"), "errors close the connection");
    }
    assert_eq!(post(&server.inference("/"), b"").error().1, "MethodNotAllowedException");
}

#[test]
fn a_handler_reads_forms_headers_and_the_rest_of_the_path() {
    let (_store, server) = echo();
    let form = Form::new()
        .part("data", Part::text("first"))
        .part("note", Part::text("hi").mime_str("text/plain").unwrap())
        .part("data", Part::bytes(b"describe the request").file_name("a.jpg"));
    let told = answer(
        agent()
            .post(server.inference("/predictions/m/1.0/v1/chat%20it"))
            .header("x-test", "yes")
            .send(form),
    );
    assert_eq!(told.header("content-type"), Some("application/json"));
    let told = told.json();
    assert_eq!(told["url_path"], "v1/chat it");
    assert_eq!(told["x-test"], "yes");
    let parts: Vec<_> = told["parts"].as_array().unwrap().iter().map(|part| &part[0]).collect();
    assert_eq!(parts, ["data", "note", "data"]);
    assert_eq!(
        told["parts"][1],
        json!(["note", null, "hi"]),
        "a field that is no file has no type"
    );

    let urlencoded = agent()
        .post(server.inference("/predictions/m"))
        .send_form([("data", "describe the request"), ("k", "v")]);
    assert_eq!(answer(urlencoded).json()["parts"][1], json!(["k", null, "v"]));

    let raw = agent()
        .post(server.inference("/predictions/m"))
        .header("content-type", "text/plain; charset=utf-8")
        .send(&b"describe the request"[..]);
    assert_eq!(
        answer(raw).json()["parts"],
        json!([["body", "text/plain", "describe the request"]])
    );
}

#[test]
fn a_form_without_an_input_or_without_an_end_is_400() {
    let (_store, server) = echo();
    let url = server.inference("/predictions/m");
    let form = Form::new().part("file", Part::text("x"));
    let (code, class, message) = answer(agent().post(&url).send(form)).error();
    assert_eq!((code, class.as_str()), (400, "BadRequestException"));
    assert_eq!(message, "no field \"data\" or \"body\" in the form; found: file");
    for body in ["--b\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nhalf", "no form"] {
        let broken = agent()
            .post(&url)
            .header("content-type", "multipart/form-data; boundary=b")
            .send(body.as_bytes());
        assert_eq!(answer(broken).error().1, "BadRequestException", "{body}");
    }
    let no_boundary = agent().post(&url).header("content-type", "multipart/form-data").send("x");
    assert_eq!(answer(no_boundary).status, 400);
}

#[test]
fn a_handler_may_set_status_and_headers() {
    let (_store, server) = echo();
    let tea = post(&server.inference("/predictions/m"), b"be a teapot");
    assert_eq!((tea.status, tea.text()), (418, "short and stout"));
    assert_eq!(tea.header("x-pot"), Some("brown"));
    assert_eq!(tea.header("content-type"), None);
}

#[test]
fn a_body_over_the_limit_is_a_bare_413() {
    let (_store, server) = echo();
    let url = server.inference("/predictions/m");
    let limit = settings().max_request_size;
    assert_eq!(post(&url, &vec![b'x'; limit]).status, 200);
    let large = post(&url, &vec![b'x'; limit + 1]);
    assert_eq!((large.status, large.body.len()), (413, 0));
    assert_eq!(large.header("x-request-id"), None);
    // Without a length, the limit is met while reading, and the connection ends there.
    let mut endless = TcpStream::connect(server.inference_address()).unwrap();
    endless
        .write_all(b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
    let deadline = Instant::now() + Duration::from_mins(1);
    while endless.write_all(&chunk).is_ok() {
        assert!(Instant::now() < deadline, "the server reads a body over the limit without end");
    }
    assert_eq!(post(&url, b"x").status, 200);
}

#[test]
fn one_bad_request_harms_no_other() {
    let (_store, server) = echo();
    let url = server.inference("/predictions/m");
    for (body, code, class, words) in [
        ("refuse", 400, "BadRequestException", "the body asks to be refused"),
        ("panic in preprocess", 503, "InternalServerException", "panicked in preprocess: a pixel"),
        ("fail in forward", 503, "InternalServerException", "the model failed: as asked"),
        ("panic in forward", 503, "InternalServerException", "panicked in inference: a tensor"),
        ("panic in postprocess", 503, "InternalServerException", "panicked in postprocess: a mask"),
    ] {
        let failed = post(&url, body.as_bytes()).error();
        assert_eq!((failed.0, failed.1.as_str()), (code, class), "{body}");
        assert!(failed.2.contains(words), "{body}: {}", failed.2);
        let next = post(&url, b"fine");
        assert_eq!((next.status, next.text()), (200, "fine"), "after {body}");
    }
}
