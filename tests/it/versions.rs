use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::snapshots::snapshots;
use crate::support::http::{agent, answer, delete, get, post, put};
use crate::support::server::TestServer;
use crate::support::store::Store;

fn status(answer: &crate::support::http::Answer) -> (u16, String) {
    (answer.status, answer.json()["status"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn unregistering_answers_what_is_in_and_then_says_done() {
    let store = Store::new();
    store.fake("m", "1.0", "gated");
    let (server, control) = TestServer::managed(&store);
    assert_eq!(post(&server.management("/models?url=m-1.0&initial_workers=1"), b"").status, 200);
    let url = server.inference("/predictions/m");
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let url = url.clone();
            thread::spawn(move || post(&url, b"in before the end"))
        })
        .collect();
    control.entered.recv().unwrap();
    let version = server.engine.version("m", None).unwrap();
    while version.queue_load().0 < 2 {
        thread::yield_now();
    }
    let gone = thread::spawn({
        let url = server.management("/models/m");
        move || delete(&url)
    });
    while server.engine.version("m", None).is_ok() {
        thread::yield_now();
    }
    assert_eq!(post(&url, b"late").status, 404);
    assert!(!gone.is_finished(), "it waits for what is in");
    control.release_all();
    for asked in asked {
        assert_eq!(asked.join().unwrap().text(), "in before the end");
    }
    assert_eq!(status(&gone.join().unwrap()), (200, "Model \"m\" unregistered".into()));
}

#[test]
fn a_worker_that_does_not_end_in_time_is_told_of_and_the_model_is_gone() {
    let store = Store::new();
    store.fake("m", "1.0", "gated");
    let mut settings = crate::support::server::settings();
    settings.engine.unload_timeout = std::time::Duration::from_millis(50);
    let written = tempfile::tempdir().unwrap();
    settings.snapshots = Some(written.path().to_owned());
    let (server, control) = TestServer::managed_with(settings, &store);
    assert_eq!(post(&server.management("/models?url=m-1.0&initial_workers=1"), b"").status, 200);
    let url = server.inference("/predictions/m");
    let hung = thread::spawn(move || post(&url, b"hung"));
    control.entered.recv().unwrap();
    let (code, class, message) = delete(&server.management("/models/m")).error();
    assert_eq!((code, class.as_str()), (408, "RequestTimeoutException"));
    assert!(message.contains("unregister_model_timeout"), "{message}");
    assert_eq!(get(&server.management("/models/m")).status, 404);
    let (_, last) = snapshots(written.path()).pop().unwrap();
    assert_eq!(last, serde_json::json!({}), "the next start does not bring it back");
    control.release_all();
    assert_eq!(hung.join().unwrap().text(), "hung");
}

/// Sends requests from several clients while `change` runs; each answer goes through `check`.
pub(crate) fn under_load(server: &TestServer, check: fn(&str), change: impl FnOnce()) -> usize {
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let url = server.inference("/predictions/m");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let agent = agent();
                while !stop.load(Ordering::Relaxed) {
                    let served = answer(agent.post(&url).send("x"));
                    assert_eq!(served.status, 200, "{}", served.text());
                    check(served.text());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while answered.load(Ordering::Relaxed) < 50 {
            thread::yield_now();
        }
        change();
        let after = answered.load(Ordering::Relaxed) + 50;
        while answered.load(Ordering::Relaxed) < after {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
    answered.into_inner()
}

#[test]
fn the_default_switches_and_the_old_version_goes_without_a_request_lost() {
    let store = Store::new();
    for (version, prefix) in [("1.0", "one-"), ("2.0", "two-")] {
        store.fake_with("m", version, "echo", &format!("handler: {{prefix: {prefix}}}"));
    }
    let (server, _control) = TestServer::managed(&store);
    assert_eq!(post(&server.management("/models?url=m-1.0&initial_workers=2"), b"").status, 200);
    let answered = under_load(
        &server,
        |text| assert!(text == "one-x" || text == "two-x", "{text}"),
        || {
            let call = |answer: crate::support::http::Answer| assert_eq!(answer.status, 200);
            call(post(&server.management("/models?url=m-2.0&initial_workers=2"), b""));
            call(put(&server.management("/models/m/2.0/set-default")));
            call(delete(&server.management("/models/m/1.0")));
        },
    );
    assert!(answered >= 100);
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "two-x");
}

#[test]
fn a_version_is_replaced_by_its_newer_self_without_a_request_lost() {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", "handler: {prefix: old-}");
    let (server, _control) = TestServer::managed(&store);
    let register = |more: &str| {
        let query = format!("/models?url=m-1.0&initial_workers=2{more}");
        post(&server.management(&query), b"")
    };
    assert_eq!(register("").status, 200);
    assert_eq!(register("").status, 409);
    under_load(
        &server,
        |text| assert!(text == "old-x" || text == "new-x", "{text}"),
        || {
            std::fs::write(archive.join("model-config.yaml"), "handler: {prefix: new-}").unwrap();
            let replaced = register("&replace=true");
            let words = "Model \"m\" Version: 1.0 replaced with 2 initial workers";
            assert_eq!(status(&replaced), (200, words.into()));
        },
    );
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "new-x");
    assert_eq!(get(&server.management("/models/m/all")).json().as_array().unwrap().len(), 1);
    // Workers are as many as the old one has, where nothing is said.
    assert_eq!(put(&server.management("/models/m?min_worker=3&synchronous=true")).status, 200);
    let replaced = post(&server.management("/models?url=m-1.0&replace=true"), b"");
    let words = "Model \"m\" Version: 1.0 replaced with 3 initial workers";
    assert_eq!(status(&replaced), (200, words.into()));
    // One that does not load leaves the one that serves where it is.
    std::fs::write(archive.join("weights.fake"), "broken").unwrap();
    assert_eq!(register("&replace=true").status, 500);
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "new-x");
}

#[test]
fn a_version_that_hangs_is_replaced_all_the_same() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "gated");
    let mut settings = crate::support::server::settings();
    settings.engine.unload_timeout = std::time::Duration::from_millis(50);
    let (server, control) = TestServer::managed_with(settings, &store);
    let register = |more: &str| {
        let query = format!("/models?url=m-1.0&initial_workers=1{more}");
        post(&server.management(&query), b"")
    };
    assert_eq!(register("").status, 200);
    let url = server.inference("/predictions/m");
    let hung = thread::spawn({
        let url = url.clone();
        move || post(&url, b"hung")
    });
    control.entered.recv().unwrap();
    std::fs::write(archive.join("weights.fake"), "echo").unwrap();
    std::fs::write(archive.join("model-config.yaml"), "handler: {prefix: new-}").unwrap();
    let replaced = register("&replace=true");
    assert_eq!(replaced.status, 200, "{}", replaced.text());
    assert_eq!(post(&url, b"x").text(), "new-x");
    control.release_all();
    assert_eq!(hung.join().unwrap().text(), "hung");
}

#[test]
fn a_registration_whose_handler_panics_leaves_nothing_behind() {
    let store = Store::new();
    store.fake_with("m", "1.0", "echo", "handler: {prefix: panic in initialize}");
    let (server, _control) = TestServer::managed(&store);
    for more in ["", "&initial_workers=1", "&replace=true"] {
        let failed = post(&server.management(&format!("/models?url=m-1.0{more}")), b"").error();
        assert!(failed.2.contains("panicked in initialize: "), "{failed:?}");
        assert_eq!(get(&server.management("/models/m")).status, 404);
    }
}
