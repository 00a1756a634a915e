use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use mar_server::{Access, ApiKey, Settings};
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// What an archive says of its network, where all of it is known.
const DECLARED: &str = "
handler: {}
batchSize: 4
maxBatchDelay: 20
minWorkers: 2
jobQueueSize: 50
responseTimeout: 7
signature:
  inputs:
    - {name: image, datatype: FP32, shape: [-1, 3, -1, 224]}
  outputs:
    - {name: scores, datatype: FP32, shape: [-1, 10]}
";

fn serving(config: &str) -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake_with("m", "1.0", "echo", config);
    let (server, _control) = TestServer::fake(&[&archive]);
    (store, server)
}

/// Puts an archive into the store under its model's name.
fn named(store: &Store, name: &str, behaviour: &str) {
    std::fs::rename(store.fake(name, "1.0", behaviour), store.path().join(name)).unwrap();
}

/// The body of a 200 of JSON.
fn told(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// Status and message of an error, whose form is this protocol's.
fn refused(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let members = body.as_object().unwrap();
    assert_eq!(members.len(), 1, "{body}");
    (answer.status, members["error"].as_str().unwrap().to_owned())
}

/// One entry of a repository's index, as one line.
fn index(server: &TestServer, body: &str) -> Vec<String> {
    let entries = told(&post(&server.inference("/v2/repository/index"), body.as_bytes()));
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    let line = |entry: &Value| ["name", "version", "state"].map(|name| text(entry, name)).join(" ");
    entries.as_array().unwrap().iter().map(line).collect()
}

/// Waits, for as long as a test may take, until the index is so.
fn wait_for_index(server: &TestServer, expected: &[&str]) {
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while index(server, "") != expected {
        assert!(std::time::Instant::now() < until, "{:?}", index(server, ""));
        std::thread::yield_now();
    }
}

#[test]
fn a_server_tells_what_it_is_and_whether_it_lives() {
    let (_store, server) = serving("handler: {}\n");
    for path in ["/v2", "/v2/"] {
        let about = told(&get(&server.inference(path)));
        assert_eq!(about["name"], "marserve");
        assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
        let extensions = about["extensions"].as_array().unwrap();
        for extension in ["binary_tensor_data", "classification", "model_repository", "statistics"]
        {
            assert!(extensions.contains(&json!(extension)), "{extension}");
        }
        assert!(!extensions.contains(&json!("sequence")), "there is none");
    }
    assert_eq!(told(&get(&server.inference("/v2/health/live"))), json!({ "live": true }));
    assert_eq!(told(&get(&server.inference("/v2/health/ready"))), json!({ "ready": true }));
    let names = told(&get(&server.inference("/v2/models")));
    assert_eq!(names, json!({ "models": ["m", "m@handler"] }));
}

#[test]
fn a_model_that_does_not_serve_is_told_by_status_and_body() {
    let store = Store::new();
    let broken = store.fake("broken", "1.0", "broken");
    let (server, _control) = TestServer::fake(&[&broken, &store.fake("m", "1.0", "echo")]);
    let ready = get(&server.inference("/v2/health/ready"));
    assert_eq!((ready.status, ready.json()), (503, json!({ "ready": false })));
    let serves = told(&get(&server.inference("/v2/models/m/ready")));
    assert_eq!(serves, json!({ "name": "m", "ready": true }));
    let (status, message) = refused(&get(&server.inference("/v2/models/broken/ready")));
    assert_eq!(status, 503);
    assert!(message.contains("\"broken\" is not ready"), "{message}");
    for what in ["", "/config"] {
        let (status, message) =
            refused(&get(&server.inference(&format!("/v2/models/broken{what}"))));
        assert_eq!(status, 503);
        assert!(message.contains("the weights are broken"), "{message}");
    }
    let lines = index(&server, "");
    assert!(lines.contains(&"broken 1.0 UNAVAILABLE".to_owned()), "{lines:?}");
    assert_eq!(index(&server, r#"{"ready": true}"#), ["m 1.0 READY", "m@handler 1.0 READY"]);
    let entries = post(&server.inference("/v2/repository/index"), b"").json();
    assert!(entries[0]["reason"].as_str().unwrap().contains("the weights are broken"), "{entries}");
    assert_eq!(entries.as_array().unwrap().last().unwrap().get("reason"), None);
}

#[test]
fn an_archive_is_two_models_each_of_which_names_the_other() {
    let (_store, server) = serving(DECLARED);
    let network = told(&get(&server.inference("/v2/models/m")));
    assert_eq!(
        network,
        json!({
            "name": "m",
            "versions": ["1.0"],
            "platform": "fake",
            "inputs": [{ "name": "image", "datatype": "FP32", "shape": [-1, 3, -1, 224] }],
            "outputs": [{ "name": "scores", "datatype": "FP32", "shape": [-1, 10] }],
            "properties": { "handler": "m@handler" },
        })
    );
    for path in ["/v2/models/m@handler", "/v2/models/m%40handler/versions/1.0"] {
        assert_eq!(
            told(&get(&server.inference(path))),
            json!({
                "name": "m@handler",
                "versions": ["1.0"],
                "platform": "marserve_handler",
                "inputs": [{ "name": "data", "datatype": "BYTES", "shape": [-1, 1] }],
                "outputs": [{ "name": "output", "datatype": "BYTES", "shape": [-1, 1] }],
                "properties": { "network": "m" },
            })
        );
    }
}

#[test]
fn what_nobody_knows_of_a_network_is_left_out_and_said() {
    let (_store, server) = serving("handler: {}\n");
    let network = told(&get(&server.inference("/v2/models/m")));
    assert_eq!((&network["inputs"], &network["outputs"]), (&json!([]), &json!([])));
    let said = network["properties"]["inputs"].as_str().unwrap();
    assert!(said.contains("unknown") && said.contains("signature:"), "{said}");
    let config = told(&get(&server.inference("/v2/models/m/config")));
    assert_eq!(config["input"], json!([]));
}

#[test]
fn versions_are_found_by_their_own_words_and_by_whole_numbers() {
    let store = Store::new();
    let archives = [store.fake("m", "1.0", "echo"), store.fake("m", "2.0", "echo")];
    let (server, _control) = TestServer::fake(&[&archives[0], &archives[1]]);
    let versions = |path: &str| told(&get(&server.inference(path)))["versions"].clone();
    assert_eq!(versions("/v2/models/m"), json!(["1.0", "2.0"]));
    assert_eq!(versions("/v2/models/m/versions/2.0"), json!(["2.0"]));
    assert_eq!(versions("/v2/models/m/versions/2"), json!(["2.0"]));
    let (status, message) = refused(&get(&server.inference("/v2/models/m/versions/3")));
    assert_eq!(status, 404);
    assert!(message.contains("\"3\"") && message.contains("1.0, 2.0"), "{message}");
    for path in
        ["/v2/models/x", "/v2/models/x@handler", "/v2/models/x/ready", "/v2/models/x/config"]
    {
        let (status, message) = refused(&get(&server.inference(path)));
        assert_eq!(status, 404, "{path}");
        assert!(message.starts_with("Request for unknown model: no model \"x"), "{message}");
    }
}

#[test]
fn a_configuration_is_what_the_archive_is_served_with() {
    let (_store, server) = serving(DECLARED);
    let config = told(&get(&server.inference("/v2/models/m/config")));
    for (name, value) in [
        ("name", json!("m")),
        ("max_batch_size", json!(4)),
        ("version_policy", json!({ "all": {} })),
        (
            "input",
            json!([{
                "name": "image",
                "data_type": "TYPE_FP32",
                "format": "FORMAT_NONE",
                "dims": [3, -1, 224],
                "is_shape_tensor": false,
                "allow_ragged_batch": false,
                "optional": false,
                "is_non_linear_format_io": false,
            }]),
        ),
        ("default_model_filename", json!("weights.fake")),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    assert_eq!(config["output"][0]["data_type"], "TYPE_FP32");
    assert_eq!(config["output"][0]["dims"], json!([10]));
    let batching = &config["dynamic_batching"];
    assert_eq!(batching["preferred_batch_size"], json!([4]));
    // Numbers of 64 bits are numbers.
    assert_eq!(batching["max_queue_delay_microseconds"], json!(20_000));
    let policy = &batching["default_queue_policy"];
    assert_eq!(policy["timeout_action"], "REJECT");
    assert_eq!(policy["default_timeout_microseconds"], json!(7_000_000));
    assert_eq!(policy["max_queue_size"], json!(50));
    let group = &config["instance_group"][0];
    assert_eq!((&group["kind"], &group["count"]), (&json!("KIND_CPU"), &json!(2)));
    // What is not there is not shown, as a scheduler that it is not.
    for absent in ["sequence_batching", "ensemble_scheduling", "response_cache", "optimization"] {
        assert_eq!(config.get(absent), None, "{absent}");
    }
    let handler = told(&get(&server.inference("/v2/models/m@handler/config")));
    assert_eq!(handler["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(handler["input"][0]["dims"], json!([1]));
    assert_eq!(handler["max_batch_size"], json!(50));
}

#[test]
fn a_model_without_batches_has_no_scheduler() {
    let (_store, server) = serving("handler: {}\n");
    let config = told(&get(&server.inference("/v2/models/m/config")));
    assert_eq!((config.get("dynamic_batching"), &config["max_batch_size"]), (None, &json!(1)));
}

#[test]
fn statistics_count_what_was_asked_and_begin_anew_with_the_model() {
    let store = Store::new();
    named(&store, "m", "echo");
    let (server, _control) = TestServer::managed(&store);
    told(&post(&server.inference("/v2/repository/models/m/load"), b""));
    let statistics = |path: &str| told(&get(&server.inference(path)))["model_stats"].clone();
    let none = json!({ "count": 0, "ns": 0 });
    let before = statistics("/v2/models/m/stats");
    assert_eq!(before[0]["inference_stats"]["success"], none);
    assert_eq!((&before[0]["last_inference"], &before[0]["batch_stats"]), (&json!(0), &json!([])));
    for body in [&b"x"[..], b"y", b"refuse"] {
        post(&server.inference("/predictions/m"), body);
    }
    let after = statistics("/v2/models/m/stats");
    assert_eq!(statistics("/v2/models/stats"), after);
    assert_eq!(statistics("/v2/models/m/versions/1/stats"), after);
    let of = &after[0];
    assert_eq!((&of["name"], &of["version"]), (&json!("m"), &json!("1.0")));
    assert_eq!((&of["inference_count"], &of["execution_count"]), (&json!(2), &json!(2)));
    for (name, count) in [
        ("success", 2),
        ("fail", 1),
        ("queue", 2),
        ("compute_input", 2),
        ("compute_infer", 2),
        ("compute_output", 2),
        ("cache_hit", 0),
        ("cache_miss", 0),
    ] {
        assert_eq!(of["inference_stats"][name]["count"], count, "{name}");
    }
    assert!(of["inference_stats"]["success"]["ns"].as_u64().unwrap() > 0);
    assert!(of["last_inference"].as_u64().unwrap() > 1_600_000_000_000);
    let batch = &of["batch_stats"][0];
    assert_eq!((&batch["batch_size"], &batch["compute_infer"]["count"]), (&json!(1), &json!(2)));
    assert_eq!((&of["response_stats"], &of["memory_usage"]), (&json!({}), &json!([])));
    // The handler's are the version's.
    let handlers = statistics("/v2/models/m@handler/stats");
    assert_eq!(handlers[0]["name"], "m@handler");
    assert_eq!(handlers[0]["inference_stats"], of["inference_stats"]);
    told(&post(&server.inference("/v2/repository/models/m/load"), b"{}"));
    assert_eq!(statistics("/v2/models/m/stats"), before);
    let (status, message) = refused(&get(&server.inference("/v2/models/x/stats")));
    assert_eq!(status, 400, "as Triton has it");
    assert!(message.contains("not available") && message.contains("\"x\""), "{message}");
}

#[test]
fn models_are_loaded_and_unloaded_by_their_names() {
    let store = Store::new();
    named(&store, "m", "echo");
    named(&store, "other", "echo");
    named(&store, "broken", "broken");
    let (server, control) = TestServer::managed(&store);
    assert_eq!(index(&server, ""), ["broken - -", "m - -", "other - -"]);
    assert_eq!(index(&server, r#"{"ready": true}"#), Vec::<String>::new());
    let load = |name: &str, body: &str| {
        post(&server.inference(&format!("/v2/repository/models/{name}/load")), body.as_bytes())
    };
    assert_eq!(told(&load("m", "{}")), json!({ "name": "m", "load": true }));
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    let serving = ["broken - -", "m 1.0 READY", "m@handler 1.0 READY", "other - -"];
    assert_eq!(index(&server, ""), serving);
    // Anew, and nobody asks for less than its reload.
    assert_eq!(control.loads(), 1);
    told(&load("m", ""));
    assert_eq!(control.loads(), 2);
    assert_eq!(index(&server, ""), serving);

    let (status, message) = refused(&load("broken", ""));
    assert_eq!(status, 400);
    assert!(message.contains("the weights are broken"), "{message}");
    for nobody in ["nobody", "..%2Fm", "m.mar", "%2Fetc"] {
        let (status, message) = refused(&load(nobody, ""));
        assert_eq!(status, 404, "{nobody}: {message}");
    }
    for (body, status, words) in [
        ("{", 400, "JSON"),
        ("[]", 400, "JSON"),
        (r#"{"parameters": {"config": 1}}"#, 400, "config"),
        (r#"{"parameters": {"config": "{}"}}"#, 400, "model-config.yaml"),
        (r#"{"parameters": {"file:1/model.pt": "AA=="}}"#, 501, "file:1/model.pt"),
        (r#"{"parameters": {"wait": true}}"#, 400, "wait"),
    ] {
        let (found, message) = refused(&load("m", body));
        assert_eq!(found, status, "{body}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x", "it serves on");

    let unload = |name: &str, body: &str| {
        post(&server.inference(&format!("/v2/repository/models/{name}/unload")), body.as_bytes())
    };
    let dependents = r#"{"parameters": {"unload_dependents": true}}"#;
    assert_eq!(told(&unload("m", dependents)), json!({ "name": "m", "unload": true }));
    assert_eq!(post(&server.inference("/predictions/m"), b"x").error().0, 404);
    wait_for_index(&server, &["broken - -", "m 1.0 UNAVAILABLE", "other - -"]);
    let entries = post(&server.inference("/v2/repository/index"), b"").json();
    assert_eq!(entries[1]["reason"], "unloaded");
    assert_eq!(told(&unload("nobody", "")), json!({ "name": "nobody", "unload": true }));
    told(&load("m", ""));
    assert_eq!(index(&server, ""), serving);
}

#[test]
fn every_version_is_unloaded_and_requests_that_are_in_are_answered() {
    let store = Store::new();
    let archives = [store.fake("m", "1.0", "gated"), store.fake("m", "2.0", "echo")];
    let (server, control) = TestServer::managed(&store);
    for archive in &archives {
        server.engine.load(None, archive).unwrap();
    }
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| post(&server.inference("/predictions/m/1.0"), b"x"));
        control.entered.recv().unwrap();
        told(&post(&server.inference("/v2/repository/models/m/unload"), b""));
        let lines = index(&server, "");
        assert!(lines.contains(&"m 1.0 UNLOADING".to_owned()), "{lines:?}");
        assert_eq!(get(&server.inference("/v2/models/m")).status, 404);
        control.release_one();
        assert_eq!(asked.join().unwrap().text(), "x");
    });
    // The files are called otherwise, and can be loaded by those names.
    let left = ["m 1.0 UNAVAILABLE", "m 2.0 UNAVAILABLE", "m-1.0 - -", "m-2.0 - -"];
    wait_for_index(&server, &left);
}

#[test]
fn models_are_not_loaded_where_that_was_not_allowed() {
    let (_store, server) = serving("handler: {}\n");
    for verb in ["load", "unload"] {
        let url = server.inference(&format!("/v2/repository/models/m/{verb}"));
        let (status, message) = refused(&post(&url, b""));
        assert_eq!(status, 503);
        assert!(message.contains("explicit model load / unload is not allowed"), "{message}");
        assert!(message.contains("model_control_mode"), "{message}");
    }
    assert_eq!(index(&server, ""), ["m 1.0 READY", "m@handler 1.0 READY"]);
    let (status, _) = refused(&post(&server.inference("/v2/repository/other/index"), b""));
    assert_eq!(status, 501);
}

#[test]
fn what_changes_the_server_needs_the_management_key() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let access =
        Access { tokens: Some(Duration::from_hours(1)), model_api: true, ..Access::default() };
    let (server, _control) = TestServer::fake_with(Settings { access, ..settings() }, &[&archive]);
    let keys: Value = serde_json::from_slice(&std::fs::read(server.key_file()).unwrap()).unwrap();
    let key = |name: &str| format!("Bearer {}", keys[name]["key"].as_str().unwrap());
    let ask = |method: &str, path: &str, key: &str| {
        let url = server.inference(path);
        if method == "GET" {
            answer(agent().get(&url).header("authorization", key).call())
        } else {
            answer(agent().post(&url).header("authorization", key).send(&b"{}"[..]))
        }
    };
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(get(&server.inference(path)).status, 200, "probes bring no key");
    }
    for (method, path, opens) in [
        ("GET", "/v2", "inference"),
        ("GET", "/v2/models/m", "inference"),
        ("GET", "/v2/models/m/stats", "inference"),
        ("POST", "/v2/repository/index", "inference"),
        ("GET", "/v2/logging", "inference"),
        ("GET", "/v2/trace/setting", "inference"),
        ("POST", "/v2/logging", "management"),
        ("POST", "/v2/trace/setting", "management"),
        ("POST", "/v2/models/m/trace/setting", "management"),
        ("POST", "/v2/repository/models/m/load", "management"),
        ("POST", "/v2/repository/models/m/unload", "management"),
        ("POST", "/v2/repository/models/m/unloa%64", "management"),
    ] {
        let other = if opens == "inference" { "management" } else { "inference" };
        let denied = ask(method, path, &key(other));
        assert_eq!(denied.header("www-authenticate"), Some("Bearer"));
        let (status, message) = refused(&denied);
        assert_eq!(status, 401, "{path}");
        assert!(message.contains(&format!("the {opens} key")), "{message}");
        assert_eq!(ask(method, path, &key(opens)).status, 200, "{method} {path}");
    }
    let (status, message) = refused(&get(&server.inference("/v2/models")));
    assert_eq!(status, 401);
    assert!(message.contains("no Authorization header"), "{message}");
}

#[test]
fn an_api_key_opens_everything_below_v2() {
    let access = Access { api_key: Some(ApiKey("horse".into())), ..Access::default() };
    let (server, _control) = TestServer::fake_with(Settings { access, ..settings() }, &[]);
    let url = server.inference("/v2/logging");
    assert_eq!(post(&url, b"{}").status, 401);
    let opened = agent().post(&url).header("authorization", "Bearer horse").send(&b"{}"[..]);
    told(&answer(opened));
}

#[test]
fn traces_are_read_and_stay_off() {
    let (_store, server) = serving("handler: {}\n");
    let off = json!({
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "",
        "trace_mode": "triton",
    });
    for path in ["/v2/trace/setting", "/v2/models/m/trace/setting"] {
        let url = server.inference(path);
        assert_eq!(told(&get(&url)), off);
        for same in
            [r#"{"trace_level": null, "trace_rate": "1000"}"#, r#"{"trace_level": ["OFF"]}"#]
        {
            assert_eq!(told(&post(&url, same.as_bytes())), off);
        }
        for (body, status, name) in [
            (r#"{"trace_level": ["TIMESTAMPS"]}"#, 501, "trace_level"),
            (r#"{"trace_rate": "1"}"#, 501, "trace_rate"),
            (r#"{"trace_rate": {}}"#, 400, "trace_rate"),
            (r#"{"trace_speed": "1"}"#, 400, "trace setting"),
        ] {
            let (found, message) = refused(&post(&url, body.as_bytes()));
            assert_eq!(found, status, "{body}");
            assert!(message.contains(name), "{message}");
        }
    }
    assert_eq!(refused(&get(&server.inference("/v2/models/x/trace/setting"))).0, 404);
}

#[test]
fn a_method_that_a_path_does_not_take_is_told_those_that_it_does() {
    let (_store, server) = serving("handler: {}\n");
    for (path, allowed) in [
        ("/v2", "GET"),
        ("/v2/models/m", "GET"),
        ("/v2/health/live", "GET"),
        ("/v2/repository/index", "POST"),
        ("/v2/logging", "GET, POST"),
        ("/v2/models/m/trace/setting", "GET, POST"),
    ] {
        let answered = answer(agent().put(&server.inference(path)).send(&b""[..]));
        assert_eq!(answered.header("allow"), Some(allowed), "{path}");
        assert_eq!(refused(&answered), (405, "Method Not Allowed".into()), "{path}");
    }
    for nowhere in ["/v2/x", "/v2/models/m/x", "/v2/repository", "/v2/health"] {
        assert_eq!(refused(&get(&server.inference(nowhere))), (404, "Not Found".into()));
    }
}

/// The program itself, as the level of the log is the whole process's.
#[test]
fn the_log_is_raised_and_lowered_while_the_server_runs() {
    let temp = tempfile::tempdir().unwrap();
    let free = "http://127.0.0.1:0";
    let mut process = Command::new(env!("CARGO_BIN_EXE_marserve"))
        .args(["--foreground", "--ncs", "--disable-token-auth", "--model-store"])
        .arg(temp.path())
        .args(["--inference-address", free, "--management-address", free])
        .args(["--metrics-address", free])
        .args(["--grpc-inference-port", "0", "--grpc-management-port", "0"])
        .env("TMPDIR", temp.path())
        .env("LOG_LOCATION", temp.path())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = said.find(|line| line.starts_with("predictions on")).unwrap();
    let url = format!("{}/v2/logging", line.split(' ').next_back().unwrap());
    let set = |body: &Value| post(&url, body.to_string().as_bytes());

    let usual = json!({
        "log_file": "",
        "log_info": true,
        "log_warning": true,
        "log_error": true,
        "log_verbose_level": 0,
        "log_format": "default",
    });
    assert_eq!(told(&get(&url)), usual);
    let verbose = told(&set(&json!({ "log_verbose_level": 1, "unknown": [] })));
    assert_eq!(verbose["log_verbose_level"], 1);
    // A refusal is told in detail.
    let predictions = url.replace("/v2/logging", "/predictions/nobody");
    let shown = post(&predictions, b"").header("x-request-id").unwrap().to_owned();
    let quiet = told(&set(&json!({ "log_verbose_level": 0, "log_info": false })));
    assert_eq!((&quiet["log_info"], &quiet["log_warning"]), (&json!(false), &json!(true)));
    let hidden = post(&predictions, b"").header("x-request-id").unwrap().to_owned();
    for (body, name) in [
        (json!({ "log_error": false }), "log_error"),
        (json!({ "log_file": "x.log" }), "log_file"),
        (json!({ "log_format": "ISO8601" }), "log_format"),
        (json!({ "log_verbose_level": -1 }), "u32"),
        (json!({ "log_info": "yes" }), "boolean"),
    ] {
        let (status, message) = refused(&set(&body));
        assert_eq!(status, 400, "{body}");
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(told(&set(&json!({ "log_info": true }))), usual);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&process),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stderr).unwrap();
    let lines = |id: &str| log.lines().filter(|line| line.contains(id)).count();
    assert_eq!(lines(&shown), 2, "its own line and the detail: {log}");
    assert_eq!(lines(&hidden), 0, "{log}");
}
