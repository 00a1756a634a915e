use std::fs;

use serde_json::json;

use crate::support::http::{get, post};
use crate::support::server::TestServer;
use crate::support::store::Store;

#[test]
fn a_server_that_serves_is_live_and_ready() {
    let store = Store::new();
    let (server, _control) = TestServer::fake(&[&store.fake("m", "1.0", "echo")]);
    let live = get(&server.inference("/livez"));
    assert_eq!((live.status, live.json()), (200, json!({ "status": "live" })));
    let ready = get(&server.inference("/readyz"));
    assert_eq!((ready.status, ready.json()), (200, json!({ "status": "ready" })));
    assert_eq!(ready.header("content-type"), Some("application/json"));
}

#[test]
fn a_model_that_did_not_load_is_named_with_the_reason() {
    let store = Store::new();
    let (good, bad) = (store.fake("good", "1.0", "echo"), store.fake("bad", "2.0", "broken"));
    let (server, _control) = TestServer::fake(&[&good, &bad]);
    let ready = get(&server.inference("/readyz"));
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json(),
        json!({
            "status": "not ready",
            "models": [{
                "model": "bad",
                "version": "2.0",
                "reason": "it did not load: the weights are broken",
            }],
        })
    );
    assert_eq!(get(&server.inference("/livez")).status, 200);
}

#[test]
fn a_model_whose_only_worker_went_down_is_not_ready_while_ping_stays_healthy() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, control) = TestServer::fake(&[&archive]);
    // The worker finds no file when it loads its model again, so it keeps trying.
    fs::remove_file(control.loaded_file()).unwrap();
    assert_eq!(post(&server.inference("/predictions/m"), b"panic in forward").status, 503);
    let ready = loop {
        let ready = get(&server.inference("/readyz"));
        if ready.text().contains("in a row") {
            break ready;
        }
    };
    assert_eq!((ready.status, &ready.json()["models"][0]["model"]), (503, &json!("m")));
    assert_eq!(get(&server.inference("/ping")).status, 200, "as TorchServe has it");
}

#[test]
fn a_server_that_goes_down_is_live_and_no_longer_ready() {
    let store = Store::new();
    let (mut server, control) = TestServer::fake(&[&store.fake("m", "1.0", "gated")]);
    let url = server.inference("/predictions/m");
    let on_its_way = std::thread::spawn(move || post(&url, b"on its way"));
    control.entered.recv().unwrap();
    server.begin_stop();
    let ready = loop {
        let ready = get(&server.inference("/readyz"));
        if ready.status != 200 {
            break ready;
        }
    };
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json(),
        json!({ "status": "not ready", "reason": "the server is shutting down" })
    );
    assert_eq!(get(&server.inference("/livez")).status, 200);
    control.release_one();
    assert_eq!(on_its_way.join().unwrap().status, 200);
    server.join().unwrap();
}
