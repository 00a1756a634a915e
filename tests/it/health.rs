use std::fs;
use std::sync::Arc;

use mar_engine::{Engine, NoEvents};
use mar_server::{Metrics, ModelSource, Server, Settings};
use serde_json::json;

use crate::support::fake;
use crate::support::http::{get, post};
use crate::support::server::{TestServer, settings};
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

#[test]
fn a_server_is_not_ready_until_the_models_of_its_start_are_there() {
    let store = Store::new();
    let config = mar_engine::EngineConfig {
        temp_dir: store.path().into(),
        ..mar_engine::EngineConfig::default()
    };
    let (runtime, _control) = fake::runtime();
    let engine = Engine::new(config, fake::handlers(), vec![runtime], Arc::new(NoEvents)).unwrap();
    let archive = store.fake("m", "1.0", "echo");
    let models = vec![ModelSource { path: archive, ..ModelSource::default() }];
    let settings = Settings { models, ..settings() };
    let metrics = Metrics::new(&settings.measuring).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let server = Server::bind_in(&settings, Arc::new(engine), metrics, store.path()).unwrap();
        let ready = format!("{}/readyz", server.inference_url());
        let asked = || {
            let ready = ready.clone();
            tokio::task::spawn_blocking(move || get(&ready))
        };
        let before = asked().await.unwrap();
        let why = json!({ "status": "not ready", "reason": "models are still to be loaded" });
        assert_eq!((before.status, before.json()), (503, why));
        assert!(server.load().await.unwrap());
        assert_eq!(asked().await.unwrap().status, 200);
        server.shut_down().await.unwrap();
    });
}
