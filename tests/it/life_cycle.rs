use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mar_engine::{Engine, EngineConfig, NoEvents, VersionState, WorkerState};
use mar_server::Settings;

use crate::support::fake;
use crate::support::http::{get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

#[test]
fn a_model_that_does_not_load_says_why_and_harms_no_other() {
    let store = Store::new();
    let good = store.fake("good", "1.0", "echo");
    let broken = store.fake("broken", "1.0", "broken");
    let panics = store.fake("panics", "1.0", "panics on load");
    let config = store.fake_with("config", "1.0", "echo", "handler: {prefixx: a}\n");
    let yaml = store.fake_with("yaml", "1.0", "echo", "handler: [\n");
    let gpu = store.fake_with("gpu", "1.0", "echo", "deviceType: gpu\n");
    let handler =
        store.fake_with("handler", "1.0", "echo", "handler: {prefix: panic in initialize}");
    let corrupt = store.path().join("corrupt.mar");
    std::fs::write(&corrupt, "PK\x03\x04 and no more").unwrap();
    let (server, _control) =
        TestServer::fake(&[&good, &broken, &panics, &config, &yaml, &gpu, &handler, &corrupt]);

    for (model, words) in [
        ("broken", "the weights are broken"),
        ("panics", "no such layer"),
        ("config", "`prefixx`"),
        ("handler", "a label of lead"),
        ("yaml", "model-config.yaml"),
        ("gpu", "deviceType in model-config.yaml is gpu, and fake finds no CUDA device"),
        ("corrupt", "corrupt.mar"),
    ] {
        let VersionState::Failed(reason) = server.state(model) else {
            panic!("{model}: {:?}", server.state(model))
        };
        assert!(reason.contains(words), "{model}: {reason}");
        assert!(!reason.contains('\n'), "{model}: one line, not {reason}");
        let refused = post(&server.inference(&format!("/predictions/{model}")), b"x").error();
        assert_eq!((refused.0, refused.1.as_str()), (503, "ServiceUnavailableException"));
        assert!(refused.2.contains(&reason), "{}", refused.2);
        let described = get(&server.management(&format!("/models/{model}"))).json();
        assert_eq!(described[0]["state"], "FAILED");
        assert_eq!(described[0]["reason"], reason);
    }
    assert_eq!(post(&server.inference("/predictions/good"), b"x").text(), "x");
    let ping = get(&server.inference("/ping"));
    assert_eq!((ping.status, ping.text()), (500, "{\n  \"status\": \"Unhealthy\"\n}\n"));
}

#[test]
fn what_cannot_be_served_is_said_with_the_remedy() {
    let store = Store::new();
    let pack = |name: &str, model: &str| {
        let folder = store.path().join(name);
        std::fs::create_dir_all(folder.join("MAR-INF")).unwrap();
        let manifest = format!(
            r#"{{"runtime":"python","model":{{"modelName":"{name}","modelVersion":"1.0",{model}}}}}"#
        );
        std::fs::write(folder.join("MAR-INF/MANIFEST.json"), manifest).unwrap();
        for file in ["w.fake", "w.xyz", "net.py", "h.py"] {
            std::fs::write(folder.join(file), "x").unwrap();
        }
        folder
    };
    let cases = [
        (
            "handler",
            r#""handler":"nope","serializedFile":"w.fake""#,
            "no handler \"nope\"; known: echo",
        ),
        ("python", r#""handler":"h.py","serializedFile":"w.fake""#, "Python handlers are not run"),
        ("weights", r#""handler":"echo","serializedFile":"w.xyz""#, "this build opens: .fake"),
        ("none", r#""handler":"echo""#, "pack them with --serialized-file"),
        (
            "eager",
            r#""handler":"echo","serializedFile":"w.fake","modelFile":"net.py""#,
            "torch.jit.trace",
        ),
    ];
    let (server, _control) = TestServer::fake(&[]);
    for (name, model, words) in cases {
        let version = server.engine.load(None, &pack(name, model)).unwrap();
        let VersionState::Failed(reason) = version.state() else { panic!("{name} loaded") };
        assert!(reason.contains(words), "{name}: {reason}");
    }
}

#[test]
fn the_same_name_and_version_twice_is_a_conflict_unless_renamed() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    let error = server.engine.load(None, &archive).unwrap_err();
    assert!(error.to_string().contains("registered already"), "{error}");
    server.engine.load(Some("other"), &archive).unwrap();
    assert_eq!(post(&server.inference("/predictions/other"), b"x").text(), "x");
}

#[test]
fn ping_is_healthy_without_models_and_with_good_ones() {
    let (server, _control) = TestServer::fake(&[]);
    for path in ["/ping", "/ping/anything"] {
        let ping = get(&server.inference(path));
        assert_eq!((ping.status, ping.text()), (200, "{\n  \"status\": \"Healthy\"\n}\n"));
    }
}

#[test]
fn a_full_queue_answers_503_at_once_and_the_waiting_are_served() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let mut settings = settings();
    settings.engine.defaults.job_queue_size = 1;
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    let url = server.inference("/predictions/m");

    let busy = thread::spawn({
        let url = url.clone();
        move || post(&url, b"busy")
    });
    control.entered.recv().unwrap();
    let waiting = thread::spawn({
        let url = url.clone();
        move || post(&url, b"waiting")
    });
    // The one place is taken once the model's queue says so.
    while server.engine.version("m", None).unwrap().queue_load().0 == 0 {
        thread::yield_now();
    }
    let refused = post(&url, b"too many").error();
    assert_eq!((refused.0, refused.1.as_str()), (503, "ServiceUnavailableException"));
    assert!(refused.2.contains("takes no more"), "{}", refused.2);

    control.release_one();
    control.release_one();
    assert_eq!(busy.join().unwrap().text(), "busy");
    assert_eq!(waiting.join().unwrap().text(), "waiting");
}

#[test]
fn a_client_that_goes_away_while_it_waits_costs_no_forward_pass() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let (server, control) = TestServer::fake(&[&archive]);
    let url = server.inference("/predictions/m");
    let busy = thread::spawn({
        let url = url.clone();
        move || post(&url, b"busy")
    });
    control.entered.recv().unwrap();

    let mut gone = std::net::TcpStream::connect(server.inference_address()).unwrap();
    std::io::Write::write_all(
        &mut gone,
        b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\ngone",
    )
    .unwrap();
    while server.engine.version("m", None).unwrap().queue_load().0 == 0 {
        thread::yield_now();
    }
    drop(gone);
    while server.engine.in_flight() > 1 {
        thread::yield_now();
    }
    control.release_one();
    assert_eq!(busy.join().unwrap().text(), "busy");
    let next = thread::spawn(move || post(&url, b"next"));
    control.entered.recv().unwrap();
    control.release_one();
    assert_eq!(next.join().unwrap().text(), "next");
    assert!(control.entered.try_recv().is_err(), "the gone client's body reached the model");
}

#[test]
fn a_worker_that_panicked_loads_its_model_again_and_is_the_same_worker() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, control) = TestServer::fake(&[&archive]);
    let worker = || server.engine.version("m", None).unwrap().workers().remove(0);
    let before = worker();
    assert_eq!(before.state, WorkerState::Ready);
    assert_eq!(before.name, "m-1.0-cpu-0");
    assert_eq!(post(&server.inference("/predictions/m"), b"panic in forward").status, 503);
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    assert_eq!(control.loads(), 2);
    assert_eq!(worker().state, WorkerState::Ready);
    assert_eq!(worker().started, before.started);
    // An error is no panic: the model stays.
    assert_eq!(post(&server.inference("/predictions/m"), b"fail in forward").status, 503);
    assert_eq!(control.loads(), 2);
}

#[test]
fn a_model_that_is_gone_when_it_is_to_be_loaded_again_fails_requests_until_it_is_back() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, control) = TestServer::fake(&[&archive]);
    let url = server.inference("/predictions/m");
    let weights = control.loaded_file();
    let aside = weights.with_extension("aside");
    std::fs::rename(&weights, &aside).unwrap();
    assert_eq!(post(&url, b"panic in forward").status, 503);
    let failed = post(&url, b"x").error();
    assert_eq!((failed.0, failed.1.as_str()), (503, "ServiceUnavailableException"));
    assert!(failed.2.starts_with("the model could not be loaded again"), "{}", failed.2);
    std::fs::rename(&aside, &weights).unwrap();
    while post(&url, b"x").status != 200 {
        thread::yield_now();
    }
}

#[test]
fn shutting_down_is_not_ready_at_once_and_finishes_what_is_on_its_way() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let (mut server, control) = TestServer::fake(&[&archive]);
    let url = server.inference("/predictions/m");
    let ping = server.inference("/ping");
    let on_its_way = thread::spawn({
        let url = url.clone();
        move || post(&url, b"on its way")
    });
    control.entered.recv().unwrap();
    server.begin_stop();
    while !server.engine.is_draining() {
        thread::yield_now();
    }
    assert_eq!(get(&ping).status, 500);
    let refused = post(&url, b"late").error();
    assert_eq!((refused.0, refused.2.as_str()), (503, "the server is shutting down"));
    control.release_one();
    let answer = on_its_way.join().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "on its way"));
    let engine = std::sync::Arc::clone(&server.engine);
    server.join().unwrap();
    assert_eq!(engine.version("m", None).unwrap().state(), VersionState::Unloaded);
}

#[test]
fn a_request_that_outlasts_the_grace_period_is_told_of() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let settings = Settings { grace_period: std::time::Duration::from_millis(1), ..settings() };
    let (mut server, control) = TestServer::fake_with(settings, &[&archive]);
    let url = server.inference("/predictions/m");
    let cut_off = thread::spawn(move || {
        super::support::http::agent().post(&url).send(&b"slow"[..]).map(|answer| answer.status())
    });
    control.entered.recv().unwrap();
    server.begin_stop();
    assert_eq!(server.join(), Err(1));
    control.release_one();
    drop(cut_off.join().unwrap());
}

#[test]
fn a_connection_that_is_kept_but_idle_does_not_hold_the_end() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (mut server, _control) = TestServer::fake(&[&archive]);
    let url = server.inference("/predictions/m");
    let kept = super::support::http::agent();
    assert_eq!(kept.post(&url).send("x").unwrap().body_mut().read_to_string().unwrap(), "x");
    let start = std::time::Instant::now();
    server.begin_stop();
    server.join().unwrap();
    let grace = settings().grace_period;
    assert!(start.elapsed() < grace / 2, "{:?} of {grace:?}", start.elapsed());
    drop(kept);
}

#[test]
fn the_end_waits_for_no_worker_that_hangs_longer_than_for_its_answer() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let mut settings = settings();
    settings.engine.defaults.response_timeout = Duration::from_millis(300);
    let grace = settings.grace_period;
    let (mut server, control) = TestServer::fake_with(settings, &[&archive]);
    let mut gone = std::net::TcpStream::connect(server.inference_address()).unwrap();
    let asks =
        b"POST /predictions/m HTTP/1.1\r\nhost: h\r\ncontent-length: 15\r\n\r\nhang in forward";
    std::io::Write::write_all(&mut gone, asks).unwrap();
    control.entered.recv().unwrap();
    // Nothing is on its way any more, and the worker is still in the midst of it.
    drop(gone);
    while server.engine.in_flight() > 0 {
        thread::yield_now();
    }
    let start = Instant::now();
    server.begin_stop();
    server.join().unwrap();
    assert!(start.elapsed() < grace / 2, "{:?} of {grace:?}", start.elapsed());
    control.release_all();
}

#[test]
fn an_engine_that_is_dropped_takes_its_workers_with_it() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let temp = tempfile::tempdir().unwrap();
    let config = EngineConfig { temp_dir: temp.path().into(), ..settings().engine };
    let (runtime, _control) = fake::runtime();
    let engine = Engine::new(config, fake::handlers(), vec![runtime], Arc::new(NoEvents)).unwrap();
    let version = engine.load(None, &archive).unwrap();
    assert!(version.is_serving());
    drop(engine);
    let deadline = Instant::now() + Duration::from_secs(20);
    // A worker's thread holds its version.
    while Arc::strong_count(&version) > 1 {
        assert!(Instant::now() < deadline, "its thread lives on");
        thread::yield_now();
    }
}
