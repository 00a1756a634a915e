use serde_json::json;

use crate::support::http::{agent, answer, get};
use crate::support::server::TestServer;
use crate::support::store::Store;

#[test]
fn describe_is_an_array_in_torchserves_words_and_order() {
    let store = Store::new();
    let one = store.fake("m", "1.0", "echo");
    let two = store.fake("m", "2.0", "echo");
    let (server, _control) = TestServer::fake(&[&one, &two]);
    let described = get(&server.management("/models/m"));
    assert_eq!(described.header("content-type"), Some("application/json"));
    let model = &described.json()[0];
    let members: Vec<&str> = model.as_object().unwrap().keys().map(String::as_str).collect();
    // TorchServe's, then ours.
    let order = "modelName modelVersion modelUrl runtime minWorkers maxWorkers batchSize \
                 maxBatchDelay responseTimeout startupTimeout maxRetryTimeoutInSec \
                 clientTimeoutInMills parallelType parallelLevel deviceType continuousBatching \
                 useJobTicket useVenv stateful sequenceMaxIdleMSec sequenceTimeoutMSec \
                 maxNumSequence maxSequenceJobQueueSize loadedAtStartup workers jobQueueStatus \
                 state execution samples";
    assert_eq!(members.join(" "), order);
    assert_eq!(model["modelName"], "m");
    assert_eq!(model["modelVersion"], "1.0");
    assert_eq!(model["modelUrl"], "m-1.0");
    assert_eq!(model["jobQueueStatus"], json!({"remainingCapacity": 100, "pendingRequests": 0}));
    assert_eq!(model["state"], "READY");
    let worker = &model["workers"][0];
    assert_eq!(worker["id"], "9000");
    assert_eq!(worker["status"], "READY");
    assert_eq!(worker["pid"], std::process::id());
    assert_eq!(worker["gpu"], false);
    assert!(worker["memoryUsage"].as_u64().unwrap() > 1_000_000);
    let start = worker["startTime"].as_str().unwrap();
    assert!(start.ends_with('Z') && start.len() == "2026-01-01T00:00:00.000Z".len(), "{start}");

    assert_eq!(get(&server.management("/models/m/2.0")).json()[0]["modelVersion"], "2.0");
    let all = get(&server.management("/models/m/all")).json();
    assert_eq!(all.as_array().unwrap().len(), 2);
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_allowed_405() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake(&[&archive]);
    let class = |path: &str| get(&server.management(path)).error().1;
    assert_eq!(class("/models/x"), "ModelNotFoundException");
    assert_eq!(class("/models/x/all"), "ModelNotFoundException");
    assert_eq!(class("/models/m/9"), "ModelVersionNotFoundException");
    assert_eq!(class("/nothing"), "ResourceNotFoundException");
    assert_eq!(class("/"), "MethodNotAllowedException");
    let patched = answer(agent().patch(server.management("/models")).send(""));
    assert_eq!(patched.error().1, "MethodNotAllowedException");
}

#[test]
fn of_a_parameter_that_is_given_twice_the_last_counts() {
    let store = Store::new();
    let archives = ["a", "b"].map(|name| store.fake(name, "1.0", "echo"));
    let paths: Vec<_> = archives.iter().map(std::path::PathBuf::as_path).collect();
    let (server, _control) = TestServer::fake(&paths);
    let list = get(&server.management("/models?limit=5&limit=1")).json();
    assert_eq!(list["models"].as_array().unwrap().len(), 1);
    let twice = get(&server.management("/models/a?customized=true&customized=false"));
    assert_eq!((twice.status, twice.json()[0].get("customizedMetadata")), (200, None));
}

#[test]
fn what_cannot_be_described_by_its_handler_says_why() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "broken");
    let (server, _control) = TestServer::fake(&[&archive]);
    let (code, class, message) = get(&server.management("/models/m?customized=true")).error();
    assert_eq!((code, class.as_str()), (503, "ServiceUnavailableException"));
    assert!(message.contains("\"m\" has no worker that could describe it"), "{message}");
    assert!(message.contains("the weights are broken"), "{message}");
}

#[test]
fn the_list_is_sorted_and_paged() {
    let store = Store::new();
    let archives = ["c", "a", "b"].map(|name| store.fake(name, "1.0", "echo"));
    let paths: Vec<_> = archives.iter().map(std::path::PathBuf::as_path).collect();
    let (server, _control) = TestServer::fake(&paths);
    let list = |query: &str| get(&server.management(&format!("/models{query}"))).json();
    let model = |name: &str| json!({"modelName": name, "modelUrl": format!("{name}-1.0")});
    let whole = json!({"models": [model("a"), model("b"), model("c")]});
    assert_eq!(list(""), whole);
    let page = json!({"nextPageToken": "2", "models": [model("a"), model("b")]});
    assert_eq!(list("?limit=2"), page);
    assert_eq!(list("?limit=2&next_page_token=2"), json!({"models": [model("c")]}));
    // TorchServe's own rules at the edges.
    let exact = json!({"nextPageToken": "3", "models": [model("a"), model("b"), model("c")]});
    assert_eq!(list("?limit=3"), exact);
    assert_eq!(list("?limit=0"), json!({"nextPageToken": "0", "models": []}));
    for query in ["?limit=101", "?limit=-1", "?limit=x", "?next_page_token=-5"] {
        assert_eq!(list(query), whole, "{query}");
    }
    assert_eq!(list("?next_page_token=99"), json!({"models": []}));
}
