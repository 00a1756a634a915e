use std::thread;

use mar_server::{Envelope, Settings};
use serde_json::{Value, json};

use crate::support::fake::Control;
use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

const PREDICT: &str = "/v1/models/m:predict";

fn serving(settings: Settings, behaviour: &str) -> (Store, TestServer, Control) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", behaviour);
    let (server, control) = TestServer::fake_with(settings, &[&archive]);
    (store, server, control)
}

fn ask(server: &TestServer, path: &str, body: &str) -> Answer {
    let url = server.inference(path);
    answer(agent().post(url).header("content-type", "application/json").send(body))
}

#[test]
fn every_instance_has_its_prediction_in_order() {
    let (_store, server, _control) = serving(settings(), "echo");
    // "/wD+" is ff 00 fe in base64, which is no JSON and comes back as it went in.
    let body =
        r#"{"instances": [1.50, {"a": [1]}, {"b64": "/wD+"}, "\"text\"", "say it as text"]}"#;
    let told = ask(&server, PREDICT, body);
    assert_eq!((told.status, told.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        told.json(),
        json!({ "predictions": [1.5, { "a": [1] }, { "b64": "/wD+" }, "text", "it"] })
    );
    assert!(told.text().contains("1.50"), "numbers are passed on as they are written");
}

#[test]
fn a_body_of_curls_default_type_is_taken_too() {
    let (_store, server, _control) = serving(settings(), "echo");
    let url = server.inference(PREDICT);
    let body = r#"{"instances": [{"b64": "MTI="}]}"#;
    let typed = agent().post(url).header("content-type", "application/x-www-form-urlencoded");
    // "MTI=" is "12".
    assert_eq!(answer(typed.send(body)).json(), json!({ "predictions": [12] }));
}

#[test]
fn the_root_of_the_inference_port_says_that_the_server_lives() {
    let (_store, server, _control) = serving(settings(), "echo");
    let told = get(&server.inference("/"));
    assert_eq!((told.status, told.json()), (200, json!({ "status": "alive" })));
}

#[test]
fn both_ports_tell_whether_a_model_is_ready() {
    let store = Store::new();
    let (good, bad) = (store.fake("good", "1.0", "echo"), store.fake("bad", "1.0", "broken"));
    let (server, _control) = TestServer::fake(&[&good, &bad]);
    for address in [server.inference(""), server.management("")] {
        let ready = |name: &str| get(&format!("{address}/v1/models/{name}"));
        for (name, is) in [("good", true), ("bad", false)] {
            let told = ready(name);
            let mut status = json!({ "version": "1.0", "state": "AVAILABLE",
                "status": { "error_code": "OK", "error_message": "" } });
            if !is {
                status = json!({ "version": "1.0", "state": "END",
                    "status": { "error_code": "UNKNOWN", "error_message": "the weights are broken" } });
            }
            let wanted = json!({ "name": name, "ready": is, "model_version_status": [status] });
            assert_eq!((told.status, told.json()), (200, wanted));
        }
        assert_eq!(ready("none").error().1, "ModelNotFoundException");
        let posted = post(&format!("{address}/v1/models/good"), b"x");
        assert_eq!(posted.error().1, "MethodNotAllowedException");
    }
}

#[test]
fn the_slowest_instance_stands_for_where_the_time_went() {
    let (_store, server, _control) = serving(settings(), "echo");
    let answer = ask(&server, "/v1/models/m:predict", r#"{"instances": ["a", "b", "c"]}"#);
    let timing = answer.header("server-timing").unwrap();
    assert!(timing.starts_with("queue;dur=") && timing.contains(", total;dur="), "{timing}");
}

#[test]
fn no_instances_are_no_predictions() {
    let (_store, server, _control) = serving(settings(), "echo");
    assert_eq!(ask(&server, PREDICT, r#"{"instances": []}"#).json(), json!({ "predictions": [] }));
}

#[test]
fn a_version_is_named_as_in_tensorflow_serving() {
    let (_store, server, _control) = serving(settings(), "echo");
    let told = ask(&server, "/v1/models/m/versions/1.0:predict", r#"{"instances": [1]}"#);
    assert_eq!(told.json(), json!({ "predictions": [1] }));
    let gone = ask(&server, "/v1/models/m/versions/2:predict", r#"{"instances": [1]}"#).error();
    assert_eq!((gone.0, gone.1.as_str()), (404, "ModelVersionNotFoundException"));
}

#[test]
fn a_handler_gets_an_instance_as_the_part_data_or_as_its_columns() {
    let (_store, server, _control) = serving(settings(), "echo");
    let body =
        r#"{"instances": [7, {"image": {"b64": "MTI="}}, {"data": {"b64": "MTI="}, "k": 1}]}"#;
    let told = answer(
        agent()
            .post(server.inference(PREDICT))
            .header("content-type", "application/json")
            .header("x-describe", "1")
            .send(body),
    );
    let told = told.json();
    let told: Vec<&Value> = told["predictions"].as_array().unwrap().iter().collect();
    assert_eq!(told[0]["parts"], json!([["data", "application/json", "7"]]));
    assert_eq!(told[1]["parts"], json!([["image", null, "12"]]));
    assert_eq!(told[2]["parts"], json!([["data", null, "12"], ["k", "application/json", "1"]]));
    for told in told {
        let headers = told["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["explain", "False"])), "{headers:?}");
        assert!(!headers.iter().any(|header| header[0] == "url_path"), "{headers:?}");
    }
}

#[test]
fn one_that_fails_fails_the_call_and_is_numbered() {
    let (_store, server, _control) = serving(settings(), "echo");
    for (instances, status, class, message) in [
        (r#"[1, "refuse"]"#, 400, "BadRequestException", "instance 1: the body asks to be refused"),
        (
            r#"["fail in forward", "refuse"]"#,
            503,
            "InternalServerException",
            "instance 0: the model failed: as asked",
        ),
        (
            r#"[1, 2, "be a teapot"]"#,
            418,
            "InternalServerException",
            "instance 2: the handler answered 418: short and stout",
        ),
        (r#"[{"b64": "*"}]"#, 400, "BadRequestException", "instance 0: b64 does not hold base64"),
    ] {
        let told = ask(&server, PREDICT, &format!("{{\"instances\": {instances}}}"));
        assert_eq!(told.status, status, "{instances}");
        let (_, kind, words) = told.error();
        assert_eq!(kind, class, "{instances}");
        assert!(words.starts_with(message), "{words}");
    }
    assert_eq!(ask(&server, PREDICT, r#"{"instances": [1]}"#).status, 200);
}

#[test]
fn other_forms_are_refused_with_the_one_that_is_taken() {
    let (_store, server, _control) = serving(settings(), "echo");
    for body in [
        r#"{"inputs": {"a": [1]}, "instances": [1]}"#,
        r#"{"instances": {"a": 1}}"#,
        r#"{"instances": [1"#,
    ] {
        let (code, class, message) = ask(&server, PREDICT, body).error();
        assert_eq!((code, class.as_str()), (400, "BadRequestException"), "{body}");
        assert!(
            message.contains("{\"instances\": [...]}")
                || message.contains("not JSON")
                || message.contains("send one of them"),
            "{message}"
        );
    }
}

#[test]
fn a_body_without_instances_goes_to_the_handler_as_it_is() {
    let (_store, server, _control) = serving(settings(), "echo");
    assert_eq!(ask(&server, PREDICT, r#"{"a":  1}"#).text(), r#"{"a":  1}"#);
    assert_eq!(post(&server.inference(PREDICT), b"raw").text(), "raw");
}

#[test]
fn more_instances_than_the_queue_takes_wait_their_turn() {
    let mut settings = settings();
    settings.engine.defaults.job_queue_size = 2;
    let (_store, server, control) = serving(settings, "gated");
    let url = server.inference(PREDICT);
    let call = thread::spawn(move || post(&url, br#"{"instances": [0, 1, 2, 3, 4, 5, 6, 7]}"#));
    for _ in 0..8 {
        control.entered.recv().unwrap();
        control.release_one();
    }
    let told = call.join().unwrap();
    assert_eq!(told.json(), json!({ "predictions": [0, 1, 2, 3, 4, 5, 6, 7] }));
}

#[test]
fn one_request_leaves_places_to_others() {
    let mut settings = settings();
    settings.engine.defaults.job_queue_size = 8;
    let (_store, server, control) = serving(settings, "gated");
    let url = server.inference(PREDICT);
    let call = thread::spawn(move || post(&url, br#"{"instances": [0, 1, 2, 3, 4, 5, 6, 7]}"#));
    control.entered.recv().unwrap();
    let version = server.engine.version("m", None).unwrap();
    while version.queue_load().0 < 3 {
        thread::yield_now();
    }
    assert_eq!(version.queue_load(), (3, 5), "one at the model, three of eight places taken");
    for _ in 0..8 {
        control.release_one();
    }
    assert_eq!(call.join().unwrap().status, 200);
}

#[test]
fn instances_are_at_the_worker_side_by_side() {
    let (_store, server, control) = serving(settings(), "gated");
    let url = server.inference(PREDICT);
    let call = thread::spawn(move || post(&url, br#"{"instances": [0, 1, 2]}"#));
    control.entered.recv().unwrap();
    let version = server.engine.version("m", None).unwrap();
    // The first is at the model, so the others could not have come if they waited for its answer.
    while version.queue_load().0 < 2 {
        thread::yield_now();
    }
    for _ in 0..3 {
        control.release_one();
    }
    assert_eq!(call.join().unwrap().json(), json!({ "predictions": [0, 1, 2] }));
}

#[test]
fn the_envelope_unwraps_every_route() {
    let settings = Settings { envelope: Envelope::Instances, ..settings() };
    let (_store, server, _control) = serving(settings, "echo");
    let body = r#"{"instances": [1, 2]}"#;
    for path in ["/predictions/m", "/predictions/m/1.0", "/invocations?model_name=m", "/m/predict"]
    {
        assert_eq!(ask(&server, path, body).json(), json!({ "predictions": [1, 2] }), "{path}");
    }
    assert_eq!(ask(&server, "/predictions/m", r#"{"a": 1}"#).text(), r#"{"a": 1}"#);
}

#[test]
fn without_the_envelope_only_kserves_route_unwraps() {
    let (_store, server, _control) = serving(settings(), "echo");
    let body = r#"{"instances": [1, 2]}"#;
    assert_eq!(ask(&server, "/predictions/m", body).text(), body);
}

#[test]
fn predictions_over_the_limit_are_refused_together() {
    let all = "{\"predictions\": [12345, 12345]}\n";
    for (max_response_size, status) in [(all.len(), 200), (all.len() - 1, 500)] {
        let settings = Settings { max_response_size, ..settings() };
        let (_store, server, _control) = serving(settings, "echo");
        let told = ask(&server, PREDICT, r#"{"instances": [12345, 12345]}"#);
        assert_eq!(told.status, status);
        if status == 200 {
            assert_eq!(told.text(), all);
        } else {
            let (_, class, message) = told.error();
            assert_eq!(class, "InternalServerException");
            let words = format!("max_response_size, which is {max_response_size} bytes");
            assert!(message.contains(&words), "{message}");
        }
    }
}

#[test]
fn columns_go_to_the_network_and_come_back_as_outputs() {
    let store = Store::new();
    let config = "handler: {}
signature:
  inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
  outputs: [{name: y}]
";
    let archive = store.fake_with("m", "1.0", "times 2", config);
    let (server, _control) = TestServer::fake(&[&archive]);
    for body in [r#"{"inputs": [[1, 2.5], [-3, 4]]}"#, r#"{"inputs": {"x": [[1, 2.5], [-3, 4]]}}"#]
    {
        let told = ask(&server, PREDICT, body);
        assert_eq!(told.json(), json!({ "outputs": [[2.0, 5.0], [-6.0, 8.0]] }));
        assert!(told.header("server-timing").is_some());
    }
    for (body, words) in [
        (r#"{"inputs": [[1, 2], [3]]}"#, "input \"x\": arrays beside each other"),
        (r#"{"inputs": [[1, "2"]]}"#, "element 1 is \"2\""),
        (r#"{"inputs": [[1, 2, 3]]}"#, "shape is [1, 3], and the model takes [-1, 2]"),
        (r#"{"inputs": {"z": [[1, 2]]}}"#, "unexpected input \"z\""),
    ] {
        let (code, class, message) = ask(&server, PREDICT, body).error();
        assert_eq!((code, class.as_str()), (400, "BadRequestException"), "{body}");
        assert!(message.contains(words), "{body}: {message}");
    }
}

#[test]
fn models_are_listed_by_name() {
    let store = Store::new();
    let (a, b) = (store.fake("a", "1.0", "echo"), store.fake("b", "2.0", "echo"));
    let (server, _control) = TestServer::fake(&[&a, &b]);
    assert_eq!(get(&server.inference("/v1/models")).json(), json!({ "models": ["a", "b"] }));
    let version = get(&server.inference("/v1/models/b/versions/2.0")).json();
    assert_eq!((&version["name"], &version["ready"]), (&json!("b"), &json!(true)));
    assert_eq!(get(&server.inference("/v1/models/b/versions/1.0")).status, 404);
}
