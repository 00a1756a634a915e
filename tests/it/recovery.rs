use std::thread;
use std::time::{Duration, Instant};

use mar_engine::{VersionState, WorkerState};

use crate::metrics::{page, value};
use crate::support::fake::Control;
use crate::support::http::{Answer, get, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

fn serve(behaviour: &str, config: &str) -> (Store, TestServer, Control) {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", behaviour, config);
    let mut settings = settings();
    settings.engine.defaults.response_timeout = Duration::from_millis(300);
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    (store, server, control)
}

fn ask(server: &TestServer, body: &'static [u8]) -> thread::JoinHandle<Answer> {
    let url = server.inference("/predictions/m");
    thread::spawn(move || post(&url, body))
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "it never happened");
        thread::yield_now();
    }
}

#[test]
fn a_worker_that_does_not_come_back_is_given_up_and_another_serves() {
    let (_store, server, control) = serve("echo", "{}");
    let url = server.inference("/predictions/m");
    let other = server.engine.version("m", None).unwrap();
    let before = other.workers().remove(0);
    let hung = ask(&server, b"hang in forward");
    control.entered.recv().unwrap();
    let (code, class, message) = hung.join().unwrap().error();
    assert_eq!((code, class.as_str()), (500, "InternalServerException"));
    assert!(message.starts_with("Worker died."), "{message}");
    assert!(message.contains("0.3 s"), "{message}");
    until(|| post(&url, b"x").status == 200);
    assert_eq!(control.loads(), 2);
    let after = other.workers();
    assert_eq!((after.len(), after[0].id), (1, before.id), "the same seat");
    assert!(after[0].started > before.started);
    // The thread comes back after all, finds its seat taken, and ends.
    control.release_one();
    assert_eq!(post(&url, b"y").text(), "y");
    assert_eq!(other.workers().len(), 1);
}

#[test]
fn a_request_that_no_worker_takes_in_time_is_told_to_come_later_and_costs_nothing() {
    let (_store, server, control) =
        serve("gated", "{clientTimeoutInMills: 50, responseTimeout: 60}");
    let busy = ask(&server, b"busy");
    control.entered.recv().unwrap();
    let late = post(&server.inference("/predictions/m"), b"late");
    assert_eq!(late.header("retry-after"), Some("1"));
    let (code, class, message) = late.error();
    assert_eq!((code, class.as_str()), (503, "ServiceUnavailableException"));
    assert!(message.contains("0.05 s (clientTimeoutInMills)"), "{message}");
    control.release_all();
    assert_eq!(busy.join().unwrap().text(), "busy");
    assert_eq!(post(&server.inference("/predictions/m"), b"next").text(), "next");
    assert_eq!(control.take_batches(), [1, 1], "the late one reached no model");
}

#[test]
fn the_response_time_out_covers_the_queue() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let mut settings = settings();
    settings.engine.defaults.response_timeout = Duration::from_millis(300);
    // The one that takes the place of the worker that hangs comes too late.
    settings.engine.backoff_step = Duration::from_mins(1);
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    let busy = ask(&server, b"busy");
    control.entered.recv().unwrap();
    let (code, _, message) = post(&server.inference("/predictions/m"), b"late").error();
    assert_eq!(code, 503);
    assert!(message.contains("0.3 s (responseTimeout)"), "{message}");
    assert_eq!(busy.join().unwrap().status, 500);
    control.release_all();
}

#[test]
fn a_ticket_model_takes_a_request_only_while_a_worker_is_idle() {
    let (_store, server, control) = serve("gated", "{useJobTicket: true, responseTimeout: 60}");
    let url = server.inference("/predictions/m");
    let mut busy = None;
    until(|| {
        // The worker is idle a moment after it is ready.
        let asked = ask(&server, b"busy");
        until(|| asked.is_finished() || server.engine.in_flight() == 1);
        let entered = control.entered.recv_timeout(Duration::from_millis(200)).is_ok();
        busy = Some(asked);
        entered
    });
    let refused = post(&url, b"x");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let (code, _, message) = refused.error();
    assert_eq!(code, 503);
    assert!(message.contains("useJobTicket"), "{message}");
    control.release_all();
    assert_eq!(busy.unwrap().join().unwrap().text(), "busy");
}

#[test]
fn a_handler_that_hangs_outside_the_model_costs_its_own_request_alone() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", "{}");
    let mut settings = settings();
    settings.engine.defaults.response_timeout = Duration::from_millis(300);
    settings.engine.cpu_threads = 1;
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    let url = server.inference("/predictions/m");
    for stage in ["preprocess", "postprocess"] {
        let (code, _, message) = post(&url, format!("hang in {stage}").as_bytes()).error();
        assert_eq!(code, 500);
        assert!(message.contains(&format!("The handler's {stage} did not end")), "{message}");
        assert_eq!(post(&url, b"x").text(), "x", "the pool's only thread was replaced");
    }
    assert_eq!(server.engine.version("m", None).unwrap().queue_load().0, 0);
}

#[test]
fn a_model_that_loads_too_slowly_fails_its_registration_and_nothing_else() {
    let store = Store::new();
    store.fake_with("slow", "1.0", "hangs on load", "{startupTimeout: 1}");
    let (server, control) = TestServer::managed(&store);
    let failed = post(&server.management("/models?url=slow-1.0&initial_workers=1"), b"").error();
    assert_eq!((failed.0, failed.1.as_str()), (500, "InternalServerException"));
    assert!(failed.2.contains("did not load its model within 1 s"), "{}", failed.2);
    assert_eq!(get(&server.management("/models/slow")).status, 404);
    control.release_all();
}

#[test]
fn a_model_that_did_not_load_at_first_is_tried_again() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "broken");
    let (server, control) = TestServer::fake(&[&archive]);
    assert!(matches!(server.state("m"), VersionState::Failed(_)));
    assert_eq!(get(&server.inference("/ping")).status, 500);
    std::fs::write(control.loaded_file(), "echo").unwrap();
    until(|| server.state("m") == VersionState::Ready);
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    assert_eq!(get(&server.inference("/ping")).status, 200);
    let worker = server.engine.version("m", None).unwrap().workers().remove(0);
    assert_eq!((worker.state, worker.reason), (WorkerState::Ready, None));
}

#[test]
fn a_model_that_never_loads_is_given_up_and_scaling_is_the_cure() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "broken", "{maxRetryTimeoutInSec: 0}");
    let (server, control) = TestServer::fake(&[&archive]);
    let worker = || server.engine.version("m", None).unwrap().workers().remove(0);
    until(|| worker().state == WorkerState::Failed);
    assert_eq!(control.loads(), 1);
    let (code, _, message) = post(&server.inference("/predictions/m"), b"x").error();
    assert_eq!(code, 503);
    assert!(message.contains("the weights are broken"), "{message}");
    std::fs::write(control.loaded_file(), "echo").unwrap();
    let scaled = put(&server.management("/models/m?min_worker=1&synchronous=true"));
    assert_eq!(scaled.status, 200, "{}", scaled.text());
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    assert_eq!(server.engine.version("m", None).unwrap().workers().len(), 1);
}

#[test]
fn one_of_two_workers_that_hangs_leaves_the_other_serving() {
    let (_store, server, control) = serve("echo", "{minWorkers: 2}");
    let hung = ask(&server, b"hang in forward");
    control.entered.recv().unwrap();
    for _ in 0..5 {
        assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    }
    assert_eq!(hung.join().unwrap().status, 500);
    control.release_all();
}

#[test]
fn a_handler_that_panics_once_in_ten_requests_spoils_no_other_and_the_counters_add_up() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 30;
    let store = Store::new();
    let config = "{minWorkers: 2, batchSize: 4, maxBatchDelay: 5}";
    let archive = store.fake_with("m", "1.0", "echo", config);
    let (server, _control) = TestServer::fake_with(settings(), &[&archive]);
    let url = server.inference("/predictions/m");
    let panicked: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let url = &url;
                scope.spawn(move || {
                    (0..REQUESTS).filter(|i| panics_rightly(url, client, *i)).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(panicked, CLIENTS * REQUESTS / 10);
    until(|| {
        let workers = server.engine.version("m", None).unwrap().workers();
        workers.len() == 2 && workers.iter().all(|worker| worker.state == WorkerState::Ready)
    });
    until(|| server.engine.in_flight() == 0);
    let page = page(&server, "");
    let counted = |name: &str| value(&page, name, &[("model_name", "m")]).unwrap_or(0.0);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (sent, failed) = ((CLIENTS * REQUESTS) as f64, panicked as f64);
    let exactly = |name: &str, expected: f64| {
        assert!((counted(name) - expected).abs() < 0.5, "{name} is {}", counted(name));
    };
    let default = [("model_name", "m"), ("model_version", "default")];
    let received = value(&page, "ts_inference_requests_total", &default).unwrap();
    assert!((received - sent).abs() < 0.5, "{received} received");
    exactly("marserve_requests_answered_total", sent - failed);
    exactly("marserve_requests_refused_total", failed);
    exactly("marserve_requests_abandoned_total", 0.0);
    assert!(
        counted("marserve_worker_losses_total") >= failed,
        "each panic costs a worker its model"
    );
}

/// Sends a request that panics, or one that does not; says which, and checks the answer.
fn panics_rightly(url: &str, client: usize, i: usize) -> bool {
    let panics = (client + i).is_multiple_of(10);
    // All of one length, so that they share batches.
    let body = if panics { "panic in forward".into() } else { format!("fine {client:03} {i:07}") };
    let answer = post(url, body.as_bytes());
    if panics {
        let (code, _, message) = answer.error();
        assert_eq!(code, 503);
        assert!(message.contains("a tensor of lead"), "{message}");
    } else {
        assert_eq!((answer.status, answer.text()), (200, body.as_str()));
    }
    panics
}

#[test]
fn a_lost_device_makes_the_server_unhealthy_and_is_told_of() {
    let (_store, server, _control) = serve("echo", "{}");
    assert_eq!(server.engine.lost_device(), None);
    let (code, class, _) = post(&server.inference("/predictions/m"), b"lose the device").error();
    assert_eq!((code, class.as_str()), (500, "InternalServerException"));
    until(|| server.engine.lost_device().is_some());
    assert_eq!(get(&server.inference("/ping")).status, 500);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(server.engine.device_lost()), mar_engine::Device::Cpu);
}

#[test]
fn a_worker_that_is_lost_says_why_until_it_serves_again() {
    for (body, words) in [
        (&b"panic in forward"[..], "panicked in inference: a tensor of lead"),
        (b"hang in forward", "did not answer within 0.3 s"),
    ] {
        let store = Store::new();
        let archive = store.fake("m", "1.0", "echo");
        let mut settings = settings();
        settings.engine.defaults.response_timeout = Duration::from_millis(300);
        settings.engine.backoff_step = Duration::from_mins(1);
        let (server, control) = TestServer::fake_with(settings, &[&archive]);
        assert!(post(&server.inference("/predictions/m"), body).status >= 500);
        let worker = || get(&server.management("/models/m")).json()[0]["workers"][0].clone();
        until(|| worker()["state"] == "BACKING_OFF(1)");
        let reason = worker()["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(words), "{reason}");
        assert_eq!(worker()["status"], "UNLOADING");
        let whole = get(&server.management("/models/m")).json()[0].clone();
        assert_eq!((&whole["state"], &whole["reason"]), (&"READY".into(), &reason.into()));
        control.release_all();
    }
}
