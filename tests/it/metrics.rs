use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use mar_server::{Measuring, Metrics, MetricsMode, Settings};

use crate::support::http::{agent, answer, delete, get, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// Settings whose figures are told in this mode.
fn told(mode: MetricsMode) -> Settings {
    let mut settings = settings();
    settings.measuring.mode = mode;
    settings
}

/// The metrics page; its query, if any, begins with a question mark.
pub(crate) fn page(server: &TestServer, query: &str) -> String {
    let page = get(&format!("{}/metrics{query}", server.metrics().unwrap()));
    assert_eq!(page.status, 200);
    page.text().to_owned()
}

/// The value of the one sample that has this name and all these labels; `None` where there is none.
pub(crate) fn value(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{value}\",")).collect();
    let found: Vec<&str> = page
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (in_braces, number) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            labels.iter().all(|label| in_braces.contains(label)).then_some(number)
        })
        .collect();
    assert!(found.len() < 2, "{name} {labels:?} is there {} times", found.len());
    found.first().map(|number| number.parse().unwrap())
}

/// The families that a page has heads of.
fn families(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

const M: (&str, &str) = ("model_name", "m");

#[test]
fn requests_are_counted_as_torchserve_counts_them() {
    let store = Store::new();
    let (one, two) = (store.fake("m", "1.0", "echo"), store.fake("m", "2.0", "echo"));
    let (server, _control) = TestServer::fake(&[&one, &two]);
    let ask = |path: &str, body: &[u8]| post(&server.inference(path), body).status;
    assert_eq!(ask("/predictions/m", b"x"), 200);
    assert_eq!(ask("/predictions/m", b"x"), 200);
    assert_eq!(ask("/predictions/m/2.0", b"x"), 200);
    assert_eq!(ask("/predictions/m/2.0", b"refuse"), 400);
    assert_eq!(ask("/predictions/evil", b"x"), 404);
    assert_eq!(ask("/predictions/m", b"fail in forward"), 503);

    let page = page(&server, "");
    for (version, received) in [("default", 3.0), ("1.0", 0.0), ("2.0", 2.0)] {
        let labels = [M, ("model_version", version)];
        assert_eq!(value(&page, "ts_inference_requests_total", &labels), Some(received));
    }
    let latency = |version| {
        value(&page, "ts_inference_latency_microseconds", &[M, ("model_version", version)]).unwrap()
    };
    assert!(latency("default") > 0.0 && latency("2.0") > 0.0);
    for (name, count) in [("Requests2XX", 3.0), ("Requests4XX", 2.0), ("Requests5XX", 1.0)] {
        assert_eq!(value(&page, name, &[("Level", "Host")]), Some(count), "{name}");
    }
    assert!(!page.contains("evil"), "a client made a label");
    for name in ["QueueTime", "WorkerThreadTime"] {
        assert!(value(&page, name, &[("Level", "Host")]).is_some(), "{name}");
    }
    for name in ["HandlerTime", "PredictionTime"] {
        let labels = [("ModelName", "m"), ("Level", "Model")];
        assert!(value(&page, name, &labels).is_some(), "{name}");
    }
    let worker = server.engine.version("m", None).unwrap().workers()[0].name.clone();
    assert!(value(&page, "WorkerLoadTime", &[("WorkerName", &worker)]).is_some());
}

#[test]
fn what_was_received_was_answered_refused_or_abandoned() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let mut settings = settings();
    settings.engine.defaults.job_queue_size = 2;
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    let url = server.inference("/predictions/m");
    let busy = thread::spawn({
        let url = url.clone();
        move || post(&url, b"busy").status
    });
    control.entered.recv().unwrap();
    let mut gone = TcpStream::connect(server.inference_address()).unwrap();
    gone.write_all(b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\ngone")
        .unwrap();
    let depth = || server.engine.version("m", None).unwrap().queue_load().0;
    while depth() == 0 {
        thread::yield_now();
    }
    let full = page(&server, "");
    let version = [M, ("model_version", "1.0")];
    assert_eq!(value(&full, "marserve_queue_depth", &version), Some(1.0));
    assert_eq!(value(&full, "marserve_queue_capacity", &version), Some(2.0));
    assert_eq!(value(&full, "marserve_requests_in_flight", &[]), Some(2.0));

    drop(gone);
    while server.engine.in_flight() > 1 {
        thread::yield_now();
    }
    assert_eq!(post(&url, b"refuse").status, 400);
    control.release_one();
    assert_eq!(busy.join().unwrap(), 200);

    let page = page(&server, "");
    let count = |name: &str| value(&page, name, &version);
    assert_eq!(count("marserve_requests_received_total"), Some(3.0));
    assert_eq!(count("marserve_requests_answered_total"), Some(1.0));
    assert_eq!(count("marserve_requests_abandoned_total"), Some(1.0));
    let refused = [M, ("model_version", "1.0"), ("code", "invalid_input")];
    assert_eq!(value(&page, "marserve_requests_refused_total", &refused), Some(1.0));
    assert_eq!(count("marserve_request_seconds_count"), Some(1.0));
    assert_eq!(count("marserve_batch_size_sum"), Some(1.0));
    // The request that was refused was preprocessed too; whether the abandoned one was is a race.
    for (stage, least) in [("queue", 1.0), ("preprocess", 2.0), ("inference", 1.0)] {
        let labels = [M, ("stage", stage)];
        let count = value(&page, "marserve_stage_seconds_count", &labels).unwrap();
        assert!(count >= least, "{stage} {count}");
    }
}

#[test]
fn gauges_go_with_their_model_and_counters_stay() {
    let store = Store::new();
    store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::managed(&store);
    let register = || {
        let url = server.management("/models?url=m-1.0&initial_workers=1&synchronous=true");
        assert_eq!(post(&url, b"").status, 200);
    };
    let ask = || assert_eq!(post(&server.inference("/predictions/m"), b"x").status, 200);
    register();
    ask();
    let gauges = ["marserve_workers", "marserve_model_state", "marserve_queue_depth"];
    let there = page(&server, "");
    let in_state = |name: &str, state| value(&there, name, &[M, ("state", state)]);
    assert_eq!(in_state("marserve_workers", "READY"), Some(1.0));
    assert_eq!(in_state("marserve_workers", "STARTING"), Some(0.0));
    assert_eq!(in_state("marserve_model_state", "READY"), Some(1.0));
    assert_eq!(in_state("marserve_model_state", "FAILED"), Some(0.0));

    assert_eq!(delete(&server.management("/models/m/1.0")).status, 200);
    let gone = page(&server, "");
    let of = |page: &str, name: &str| {
        page.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count()
    };
    for name in gauges.into_iter().chain(["WorkerLoadTime", "HandlerTime", "PredictionTime"]) {
        assert!(of(&there, name) > 0, "{name}");
        assert_eq!(of(&gone, name), 0, "{name}");
        assert!(families(&gone).contains(name), "{name} has no head");
    }
    let answered = |page: &str| value(page, "marserve_requests_answered_total", &[M]);
    assert_eq!(answered(&gone), Some(1.0));

    register();
    ask();
    assert_eq!(answered(&page(&server, "")), Some(2.0), "the same version goes on counting");
}

#[test]
fn a_worker_that_panicked_is_counted_as_lost() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    assert_eq!(post(&server.inference("/predictions/m"), b"panic in forward").status, 503);
    // The answer comes before the worker's end is told.
    let deadline = Instant::now() + Duration::from_mins(1);
    while value(&page(&server, ""), "marserve_worker_losses_total", &[M]) != Some(1.0) {
        assert!(Instant::now() < deadline, "no loss was counted");
    }
}

#[test]
fn the_page_is_prometheus_text_in_torchserves_details_for_any_method() {
    let (server, _control) = TestServer::fake(&[]);
    assert_eq!(get(&server.inference("/ping")).status, 200);
    let url = format!("{}/metrics", server.metrics().unwrap());
    for page in [get(&url), post(&url, b""), put(&url), answer(agent().delete(&url).call())] {
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(page.header("pragma"), Some("no-cache"));
        // Postman asks for Requests2XX{Level="Host",Hostname="…",} d.d
        let line = page.text().lines().find(|line| line.starts_with("Requests2XX{")).unwrap();
        let rest = line.strip_prefix("Requests2XX{Level=\"Host\",Hostname=\"").unwrap();
        let (host, number) = rest.split_once("\",} ").unwrap();
        assert!(!host.is_empty() && !host.contains('"'), "{line}");
        let (whole, fraction) = number.split_once('.').unwrap();
        assert!(whole.parse::<u64>().is_ok() && fraction == "0", "{line}");
        assert!(page.text().contains(
            "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n# TYPE Requests2XX counter\n"
        ));
        assert!(page.text().contains("# TYPE ts_inference_requests_total counter\n"));
    }
}

#[test]
fn names_choose_what_is_told() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    assert_eq!(post(&server.inference("/predictions/m"), b"x").status, 200);
    let chosen = page(&server, "?name[]=ts_inference_requests_total&name%5B%5D=Requests2XX");
    assert_eq!(
        families(&chosen).into_iter().collect::<Vec<_>>(),
        ["Requests2XX", "ts_inference_requests_total"]
    );
    assert!(value(&chosen, "ts_inference_requests_total", &[("model_version", "1.0")]).is_some());
    let sum = page(&server, "?name[]=marserve_batch_size_sum");
    assert_eq!(value(&sum, "marserve_batch_size_sum", &[M]), Some(1.0));
    assert!(!sum.contains("marserve_batch_size_bucket"));
    assert_eq!(page(&server, "?name[]=nothing"), "");
    assert!(page(&server, "?other=Requests2XX").contains("QueueTime"));
}

#[test]
fn each_mode_has_its_page() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (log, _control) = TestServer::fake_with(told(MetricsMode::Log), &[&archive]);
    assert_eq!(post(&log.inference("/predictions/m"), b"x").status, 200);
    assert_eq!(page(&log, ""), "");

    let (legacy, _control) = TestServer::fake_with(told(MetricsMode::Legacy), &[&archive]);
    let three = [
        "ts_inference_latency_microseconds",
        "ts_inference_requests_total",
        "ts_queue_latency_microseconds",
    ];
    assert_eq!(families(&page(&legacy, "")).into_iter().collect::<Vec<_>>(), three);
}

#[test]
fn the_systems_figures_are_there_unless_they_are_not_wanted() {
    let system = ["CPUUtilization", "MemoryUsed", "DiskAvailable"];
    let (server, _control) = TestServer::fake(&[]);
    let with = page(&server, "");
    let mut settings = settings();
    settings.measuring.system = false;
    let (server, _control) = TestServer::fake_with(settings, &[]);
    let without = page(&server, "");
    for name in system {
        assert!(value(&with, name, &[("Level", "Host")]).is_some(), "{name}");
        assert!(!without.contains(name), "{name}");
    }
    assert!(value(&without, "process_resident_memory_bytes", &[]).unwrap() > 1e6);
}

#[test]
fn the_reference_has_a_row_for_every_figure_and_no_other() {
    let (server, _control) = TestServer::fake(&[]);
    let page = page(&server, "");
    let reference = std::fs::read_to_string(repository("docs/metrics.md")).unwrap();
    let rows: BTreeSet<&str> =
        reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(families(&page), rows);
    // Kind and labels are in the row too.
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let row = reference.lines().find(|row| row.starts_with(&format!("| `{name}` "))).unwrap();
        assert!(row.contains(&format!("| {kind} |")), "{row}");
    }
}

#[test]
fn browsers_headers_are_on_every_answer() {
    let mut settings = settings();
    settings.cors.origin = Some("https://example.org".into());
    settings.cors.methods = Some("GET, POST".into());
    let (server, _control) = TestServer::fake_with(settings, &[]);
    let metrics = format!("{}/metrics", server.metrics().unwrap());
    for (url, status) in [
        (server.inference("/ping"), 200),
        (server.inference("/predictions/x"), 404),
        (server.management("/models"), 200),
        (metrics, 200),
    ] {
        let answer = get(&url);
        assert_eq!(answer.status, status, "{url}");
        let header = |name| answer.header(name);
        assert_eq!(header("access-control-allow-origin"), Some("https://example.org"), "{url}");
        assert_eq!(header("access-control-allow-methods"), Some("GET, POST"), "{url}");
        assert_eq!(header("access-control-allow-headers"), None, "{url}");
    }
}

#[test]
fn a_prediction_says_where_its_time_went() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    let answer = post(&server.inference("/predictions/m"), b"x");
    let header = answer.header("server-timing").unwrap();
    let stages: Vec<(&str, f64)> = header
        .split(", ")
        .map(|stage| stage.split_once(";dur=").unwrap())
        .map(|(name, time)| (name, time.parse().unwrap()))
        .collect();
    let names: Vec<&str> = stages.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["queue", "preprocess", "inference", "postprocess", "total"]);
    let sum: f64 = stages[..4].iter().map(|(_, time)| time).sum();
    // Each is rounded to a microsecond.
    assert!(sum > 0.0 && sum <= stages[4].1 + 0.005, "{header}");
    assert_eq!(get(&server.inference("/ping")).header("server-timing"), None);
}

#[test]
fn an_interval_of_nothing_is_refused_with_the_remedy() {
    let measuring = Measuring { interval: Duration::ZERO, ..Measuring::default() };
    let error = Metrics::new(&measuring).unwrap_err().to_string();
    assert!(error.contains("interval") && error.contains("a second or more"), "{error}");
}
