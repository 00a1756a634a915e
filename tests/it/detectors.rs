use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use mar_engine::VersionState;
use serde_json::Value;

use crate::support::http::{Answer, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

fn parity(file: &str) -> PathBuf {
    repository("tests/parity/detector").join(file)
}

/// A server of one detector, as its users pack it.
fn served(network: &str, config: &str) -> (Store, TestServer) {
    let store = Store::new();
    let weights = parity(&format!("{network}.pt"));
    let names = [parity("index_to_name.json")];
    let archive = store.network("object_detector", weights, config, &names);
    let runtime = Arc::new(mar_runtime::Torch::start());
    let server = TestServer::start(settings(), mar_handlers::all(), runtime);
    server.engine.load(None, &archive).unwrap();
    assert_eq!(server.state("m"), VersionState::Ready);
    (store, server)
}

/// What TorchServe's own handler answered, by network and images.
fn torchserves(network: &str, files: &[&str]) -> Vec<Value> {
    let table: Value = serde_json::from_slice(&fs::read(parity("expected.json")).unwrap()).unwrap();
    let calls = table["calls"].as_array().unwrap();
    let files = Value::from(files.to_vec());
    let call = calls.iter().find(|call| call["network"] == network && call["files"] == files);
    call.unwrap()["torchserve"].as_array().unwrap().clone()
}

/// The answer is TorchServe's: the same names in the same order, boxes within a thousandth of a pixel.
fn check(answer: &Answer, expected: &Value, what: &str) {
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    assert_eq!(answer.header("x-parity"), Some("exact"));
    let got = answer.json();
    let rows = |value: &Value| value.as_array().unwrap().clone();
    assert_eq!(rows(&got).len(), rows(expected).len(), "{what}: {got}");
    for (got, expected) in rows(&got).iter().zip(&rows(expected)) {
        let names = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(got), names(expected), "{what}");
        let name = &names(got)[0];
        let near = |got: &Value, expected: &Value, by: f64| {
            (got.as_f64().unwrap() - expected.as_f64().unwrap()).abs() <= by
        };
        let sides = rows(&got[name]);
        assert!(sides.iter().zip(rows(&expected[name])).all(|(g, e)| near(g, &e, 1e-3)), "{what}");
        assert_eq!(sides.len(), 4);
        assert!(near(&got["score"], &expected["score"], 1e-5), "{what}");
    }
}

#[test]
fn every_scripted_detector_answers_as_torchserves_own_handler_does() {
    let (mut shown, mut empty) = (0, 0);
    for network in ["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "retinanet", "fcos", "ssd"] {
        let (_store, server) = served(network, "{}");
        for file in ["a.png", "b.png", "c.png"] {
            let answer =
                post(&server.inference("/predictions/m"), &fs::read(parity(file)).unwrap());
            let expected = &torchserves(network, &[file])[0];
            check(&answer, expected, &format!("{network} {file}"));
            shown += expected.as_array().unwrap().len();
            empty += usize::from(answer.text() == "[]");
        }
    }
    assert!(shown > 100 && empty == 1, "{shown} boxes, {empty} images with none");
}

#[test]
fn images_of_one_size_share_a_pass() {
    // No test outlives the delay: what is answered was in a full batch.
    let (_store, server) = served("faster_rcnn", "{batchSize: 2, maxBatchDelay: 100000}");
    let url = server.inference("/predictions/m");
    let expected = torchserves("faster_rcnn", &["a.png", "b.png"]);
    thread::scope(|scope| {
        let url = &url;
        let ask =
            |file: &'static str| scope.spawn(move || post(url, &fs::read(parity(file)).unwrap()));
        let first = [ask("c.png"), ask("a.png"), ask("b.png"), ask("c.png")];
        let [c, a, b, again] = first.map(|asked| asked.join().unwrap());
        check(&a, &expected[0], "a in a batch");
        check(&b, &expected[1], "b in a batch");
        let alone = &torchserves("faster_rcnn", &["c.png"])[0];
        check(&c, alone, "c");
        check(&again, alone, "c");
    });
}

#[test]
fn a_network_that_was_traced_with_one_image_serves_batches_too() {
    let (_store, server) = served("traced", "{batchSize: 2, maxBatchDelay: 100000}");
    let url = server.inference("/predictions/m");
    thread::scope(|scope| {
        let url = &url;
        let asked = ["a.png", "b.png"]
            .map(|file| scope.spawn(move || post(url, &fs::read(parity(file)).unwrap())));
        let expected = torchserves("faster_rcnn", &["a.png", "b.png"]);
        for (asked, expected) in asked.into_iter().zip(&expected) {
            check(&asked.join().unwrap(), expected, "traced");
        }
    });
}

#[test]
fn a_client_may_ask_for_another_threshold() {
    let (_store, server) = served("retinanet", "{handler: {threshold: 0.99}}");
    let image = fs::read(parity("a.png")).unwrap();
    let ask = |query: &str| post(&server.inference(&format!("/predictions/m{query}")), &image);
    assert_eq!(ask("").text(), "[]");
    check(&ask("?threshold=0.5"), &torchserves("retinanet", &["a.png"])[0], "asked for");
    let (code, class, message) = ask("?threshold=half").error();
    assert_eq!((code, class.as_str()), (400, "BadRequestException"));
    assert!(message.contains("threshold must be a number between 0 and 1"), "{message}");
}
