//! Requests as no well-behaved client writes them, byte by byte: each is answered or closed, none hangs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::http::get;
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn serving() -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    (store, server)
}

/// Sends bytes and reads until the server closes the connection.
fn exchange(address: &str, sent: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    connection.write_all(sent).unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// A request whose connection is to be closed after its answer.
fn closing(request_line: &str) -> Vec<u8> {
    format!("{request_line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").into_bytes()
}

/// Begins an upload in chunks and sends it for as long as the server takes it; what the server answered.
fn upload_without_end(address: &str, request_line: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let head = format!(
        "{request_line} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    // The answer comes while the upload goes on.
    let mut reader = connection.try_clone().unwrap();
    let answer = std::thread::spawn(move || {
        let mut answer = [0; 12];
        reader.read_exact(&mut answer).map(|()| String::from_utf8_lossy(&answer).into_owned())
    });
    let chunk = [&b"4000\r\n"[..], &[b' '; 0x4000], b"\r\n"].concat();
    let deadline = Instant::now() + Duration::from_mins(1);
    while connection.write_all(&chunk).is_ok() {
        assert!(Instant::now() < deadline, "{request_line}: the body is read without end");
    }
    answer.join().unwrap().unwrap_or_else(|error| format!("{request_line}: no answer: {error}"))
}

#[test]
fn an_upload_that_is_refused_early_is_not_read_to_its_end() {
    let (_store, server) = serving();
    let inference = [
        ("POST /predictions/nothing", "404"),
        ("POST /predictions/m/9", "404"),
        ("POST /predictions/m", "413"),
        ("POST /explanations/m", "501"),
        ("POST /v1/models/nothing:predict", "404"),
        ("POST /models/nothing/invoke", "404"),
        ("POST /nothing", "404"),
        ("POST /", "405"),
        ("POST /v1/models/m", "405"),
        ("POST /predictions/%ff", "400"),
        ("POST /ping", "200"),
    ];
    let management = [
        ("PATCH /models", "405"),
        ("POST /models", "413"),
        ("POST /models?url=m.mar", "413"),
        ("DELETE /models/m", "405"),
        ("PUT /models/nothing", "404"),
        ("GET /models", "200"),
        ("POST /nothing", "404"),
    ];
    let managed = server.management("");
    let managed = managed.trim_start_matches("http://");
    let inference = inference.map(|asked| (server.inference_address(), asked));
    let all = inference.into_iter().chain(management.map(|asked| (managed, asked)));
    // Side by side: the server goes on reading for a second before it closes such a connection.
    std::thread::scope(|scope| {
        for (address, (request_line, status)) in all {
            scope.spawn(move || {
                let answer = upload_without_end(address, request_line);
                assert_eq!(answer, format!("HTTP/1.1 {status}"), "{request_line}");
            });
        }
    });
    assert_eq!(get(&server.inference("/ping")).status, 200);
}

#[test]
fn a_body_that_is_whole_leaves_the_connection_open() {
    let (_store, server) = serving();
    let mut connection = TcpStream::connect(server.inference_address()).unwrap();
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    for body in ["transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0", "content-length: 7\r\n\r\nabc"]
    {
        let sent = format!("POST /predictions/m HTTP/1.1\r\nhost: h\r\n{body}\r\n\r\n");
        connection.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        while !answer.contains("\r\n\r\nabc") {
            let mut piece = [0; 1000];
            let read = connection.read(&mut piece).unwrap();
            assert!(read > 0, "closed after {answer}");
            answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

#[test]
fn requests_in_a_pipeline_are_answered_in_order() {
    let (_store, server) = serving();
    let ping = b"GET /ping HTTP/1.1\r\nhost: h\r\n\r\n";
    let live = b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n";
    let sent = [&ping[..], live, &closing("GET /readyz")].concat();
    let answers = exchange(server.inference_address(), &sent);
    let status: Vec<&str> = answers.split("\"status\": ").skip(1).collect();
    let began: Vec<&str> = status.iter().map(|text| text.split('\n').next().unwrap()).collect();
    assert_eq!(began, ["\"Healthy\"", "\"live\"", "\"ready\""]);
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let (_store, server) = serving();
    let answer = exchange(server.inference_address(), b"GET /ping HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(answer.ends_with("{\n  \"status\": \"Healthy\"\n}\n"), "{answer}");
}

/// `java.net.http` offers HTTP/2 on every plain connection, and takes one that is closed without a word for
/// a failure.
#[test]
fn a_client_that_offers_another_protocol_is_told_that_the_connection_ends() {
    let (_store, server) = serving();
    for offer in ["h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA", "websocket"] {
        let sent = format!(
            "GET /livez HTTP/1.1\r\nhost: h\r\nconnection: Upgrade, HTTP2-Settings\r\n\
             upgrade: {offer}\r\n\r\n"
        );
        let answer = exchange(server.inference_address(), sent.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(!answer.contains("upgrade"), "{answer}");
    }
}

#[test]
fn what_is_no_http_is_refused_and_harms_nobody() {
    let (_store, server) = serving();
    let headers = "x-y: z\r\n".repeat(10_000);
    let many = format!("GET /ping HTTP/1.1\r\nhost: h\r\n{headers}\r\n");
    for (sent, status) in [
        (&b"GARBAGE\r\n\r\n"[..], "400"),
        (b"GET /ping HTTP/9.9\r\n\r\n", "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"),
        (b"POST /ping HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", "400"),
        (b"POST /ping HTTP/1.1\r\nhost: h\r\ncontent-length: -1\r\n\r\n", "400"),
        (
            b"POST /ping HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "400",
        ),
        (many.as_bytes(), "431"),
    ] {
        let answer = exchange(server.inference_address(), sent);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(get(&server.inference("/ping")).status, 200);
}

#[test]
fn a_chunk_that_is_malformed_is_said_to_be_so() {
    let (_store, server) = serving();
    let sent =
        b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = exchange(server.inference_address(), sent);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("or a chunk of it is malformed\""), "{answer}");
}

#[test]
fn names_may_hold_anything_and_are_told_without_harm() {
    let (_store, server) = serving();
    let long = "a".repeat(10_000);
    for (path, status, words) in [
        ("/predictions/a%00b", "404", "no model \\\"a\\u0000b\\\""),
        ("/predictions/a%0d%0ax:%20y", "404", "no model \\\"a\\r\\nx: y\\\""),
        ("/predictions/%", "404", "no model \\\"%\\\""),
        ("/predictions/..%2f..%2fetc", "404", "no model \\\"..\\\""),
        ("/predictions/%ff", "400", "not UTF-8"),
        ("//predictions//nothing", "404", "no model \\\"nothing\\\""),
        ("/%70ing", "200", "Healthy"),
        ("/PING", "404", "nothing at /PING"),
        ("/../../etc/passwd", "404", "nothing at /../../etc/passwd"),
        (&format!("/predictions/{long}"), "404", &long),
    ] {
        let answer = exchange(server.inference_address(), &closing(&format!("GET {path}")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        assert!(body.contains(words), "{path}: {body}");
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
    let answer = exchange(server.inference_address(), b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n");
    assert!(answer.contains("nothing at h:1; "), "{answer}");
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_body_comes() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let settings = mar_server::Settings { max_request_size: 10, ..settings() };
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    let sent = b"POST /predictions/m HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n\
                 content-length: 11\r\n\r\n";
    let answer = exchange(server.inference_address(), sent);
    let refusal = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
    assert!(refusal.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(refusal.contains("connection: close\r\n"), "{answer}");
}

#[test]
fn an_error_is_torchserves_json_to_the_byte_and_ends_the_connection() {
    let (_store, server) = serving();
    let answer =
        exchange(server.inference_address(), b"GET /predictions HTTP/1.1\r\nhost: h\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("connection: close"), "{head}");
    let message = "nothing at /predictions; GET /api-description tells the paths of this address";
    assert_eq!(
        body,
        format!(
            "{{\n  \"code\": 404,\n  \"type\": \"ResourceNotFoundException\",\n  \"message\": \"{message}\"\n}}\n"
        )
    );
    // A failure that the handler made itself ends it too.
    let sent = b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\n\r\nbe a teapot";
    let answer = exchange(server.inference_address(), sent);
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[test]
fn nothing_is_unpacked_or_compressed() {
    let (_store, server) = serving();
    let packed = "\u{1f}\u{1}packed";
    let sent = format!(
        "POST /predictions/m HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-encoding: gzip\r\n\
         accept-encoding: gzip, br\r\ncontent-length: {}\r\n\r\n{packed}",
        packed.len()
    );
    let answer = exchange(server.inference_address(), sent.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("encoding"), "{head}");
    assert_eq!(body, packed);
}
