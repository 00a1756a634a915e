use std::sync::OnceLock;
use std::time::{Duration, Instant};

use log::{Log, Metadata, Record};
use mar_server::{LogFormat, MetricsMode};
use parking_lot::Mutex;
use serde_json::Value;

use crate::support::http::{Answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// A record in all three forms.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    target: String,
    pub(crate) text: String,
    json: String,
    torchserve: String,
}

/// Hears every record of this process: those of the other tests too.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Lines>>);

impl Log for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().push(Lines {
            target: record.target().to_owned(),
            text: LogFormat::Text.line(record),
            json: LogFormat::Json.line(record),
            torchserve: LogFormat::TorchServe.line(record),
        });
    }

    fn flush(&self) {}
}

/// What is heard from the first call on.
pub(crate) fn heard() -> &'static Heard {
    static HEARD: OnceLock<&'static Heard> = OnceLock::new();
    HEARD.get_or_init(|| {
        let heard: &'static Heard = Box::leak(Box::default());
        log::set_logger(heard).unwrap();
        log::set_max_level(log::LevelFilter::Info);
        heard
    })
}

/// The records that hold this text.
pub(crate) fn holding(text: &str) -> Vec<Lines> {
    heard().0.lock().iter().filter(|lines| lines.json.contains(text)).cloned().collect()
}

fn id(answer: &Answer) -> &str {
    answer.header("x-request-id").unwrap()
}

#[test]
fn a_request_has_one_line_in_each_form() {
    heard();
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    let answer = post(&server.inference("/predictions/m/1.0?a=b"), b"x");
    let lines = holding(id(&answer));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let Lines { target, text, json, torchserve } = &lines[0];
    assert_eq!(target, "access");
    let request = "\"POST /predictions/m/1.0?a=b HTTP/1.1\" 200 ";
    assert!(text.contains(request) && text.ends_with(id(&answer)), "{text}");

    let json: Value = serde_json::from_str(json).unwrap();
    for (key, value) in [
        ("level", "INFO"),
        ("method", "POST"),
        ("path", "/predictions/m/1.0?a=b"),
        ("request_id", id(&answer)),
        ("model", "m"),
    ] {
        assert_eq!(json[key], value, "{json}");
    }
    assert_eq!(json["status"], 200);
    assert!(json["duration_ms"].as_f64().unwrap() > 0.0);
    let peer = json["peer"].as_str().unwrap();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");

    // <ISO time> - /<ip>:<port> "<METHOD> <uri> <proto>" <status> <ms>
    let (time, rest) = torchserve.split_once(" - ").unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00,000");
    let millis = rest.strip_prefix(&format!("/{peer} {request}")).unwrap();
    assert!(millis.parse::<u64>().is_ok(), "{torchserve}");
}

#[test]
fn a_failure_is_logged_with_the_requests_identifier() {
    heard();
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    let answer = post(&server.inference("/predictions/m"), b"fail in forward");
    assert_eq!(answer.status, 503);
    let lines = holding(id(&answer));
    let failure = lines.iter().find(|lines| lines.target != "access").unwrap();
    let json: Value = serde_json::from_str(&failure.json).unwrap();
    assert_eq!((&json["level"], &json["request_id"]), (&"ERROR".into(), &id(&answer).into()));
    assert!(json["message"].as_str().unwrap().contains("the model failed: as asked"), "{json}");
    assert!(failure.text.ends_with(&format!(" request_id={}", id(&answer))), "{}", failure.text);
    assert!(failure.torchserve.contains(" [ERROR] "), "{}", failure.torchserve);
}

#[test]
fn a_parameter_that_is_not_taken_is_told_with_the_requests_identifier() {
    heard();
    let (server, _control) = TestServer::fake(&[]);
    let answer = get(&server.management("/models?limit=many"));
    let lines = holding(id(&answer));
    let warning = lines.iter().find(|lines| lines.target != "access").unwrap();
    assert!(
        warning.text.contains("limit is \"many\", which is no whole number of 32 bits"),
        "{warning:?}"
    );
}

#[test]
fn a_path_cannot_end_its_quotes() {
    heard();
    let (server, _control) = TestServer::fake(&[]);
    let mut stream = std::net::TcpStream::connect(server.inference_address()).unwrap();
    std::io::Write::write_all(
        &mut stream,
        b"GET /forged\"-HTTP/1.1\"-200-0 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
    )
    .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let lines = holding("/forged");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let request = "\"GET /forged%22-HTTP/1.1%22-200-0 HTTP/1.1\" 404 ";
    assert!(lines[0].torchserve.contains(request), "{}", lines[0].torchserve);
    assert!(lines[0].text.contains(request), "{}", lines[0].text);
}

#[test]
fn figures_go_to_the_log_at_the_interval_and_at_the_end() {
    heard();
    let store = Store::new();
    let archive = store.fake("counted-by-log", "1.0", "echo");
    let mut settings = settings();
    settings.measuring.mode = MetricsMode::Log;
    settings.measuring.interval = Duration::from_millis(1);
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    let ask = |server: &TestServer| {
        let url = server.inference("/predictions/counted-by-log");
        assert_eq!(post(&url, b"x").status, 200);
    };
    let line = "ts_inference_requests_total.Count:1.0|#model_name:counted-by-log,model_version:default|#hostname:";
    ask(&server);
    let deadline = Instant::now() + Duration::from_mins(1);
    while holding(line).is_empty() {
        assert!(Instant::now() < deadline, "no figures in the log");
        std::thread::yield_now();
    }
    ask(&server);
    assert_eq!(get(&server.inference("/ping")).status, 200);
    drop(server);
    let lines = holding(line);
    assert_eq!(lines.len(), 2, "each request is told once: {lines:?}");
    let torchserve = &lines[1].torchserve;
    let (_, figure) = torchserve.split_once(" - ").unwrap();
    assert!(figure.starts_with(line) && figure.contains(",timestamp:"), "{torchserve}");
}
