use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mar_engine::VersionState;
use mar_server::{
    Address, Endpoint, GrpcService, GrpcSite, ModelControl, ModelSource, Settings, Triton,
};
use serde_json::{Value, json};

use crate::support::fake::Control;
use crate::support::http::{Answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// A network that gives numbers for numbers, two in a row.
const DECLARED: &str = "default_model_filename: \"model.fake\"\nmax_batch_size: 8\n\
    input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 2 ] } ]\n\
    output [ { name: \"y\" data_type: TYPE_FP32 dims: [ 2 ] } ]\n\
    instance_group [ { kind: KIND_CPU count: 1 } ]\n";

/// Puts a model into a repository: its configuration, and what each version does.
fn model(repository: &Path, name: &str, config: &str, versions: &[(&str, &str)]) {
    let folder = repository.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.pbtxt"), config).unwrap();
    for (version, behaviour) in versions {
        fs::create_dir_all(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("model.fake"), behaviour).unwrap();
    }
}

fn free() -> Endpoint {
    Endpoint { address: Address::Tcp("127.0.0.1:0".parse().unwrap()), tls: false }
}

/// As `--triton` has it, of these models, on free ports.
fn triton(store: &Path, models: &[&str]) -> Settings {
    let mut settings = settings();
    let (http, metrics) = (Some(free()), Some(free()));
    settings.triton = Triton {
        told: true,
        http,
        metrics,
        max_request_size: 1_000_000,
        max_response_size: 2_000_000,
    };
    let source = |name: &&str| ModelSource { path: store.join(name), ..ModelSource::default() };
    settings.models = models.iter().map(source).collect();
    store.clone_into(&mut settings.store.dir);
    settings
}

/// A server of these models that lets clients load others.
fn explicit(store: &Store, models: &[&str]) -> (TestServer, Control) {
    let settings =
        Settings { model_control: ModelControl::Explicit, ..triton(store.path(), models) };
    TestServer::fake_with(settings, &[])
}

fn ask(server: &TestServer, path: &str, rows: &[[f32; 2]]) -> Answer {
    let data: Vec<f32> = rows.iter().flatten().copied().collect();
    let input = json!({ "name": "x", "datatype": "FP32", "shape": [rows.len(), 2], "data": data });
    let body = json!({ "inputs": [input] }).to_string();
    post(&server.triton(&format!("/v2/models/{path}/infer")), body.as_bytes())
}

/// The numbers of the answer's first output.
fn numbers(answer: &Answer) -> Vec<f64> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data = answer.json()["outputs"][0]["data"].as_array().unwrap().clone();
    data.iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What the index says of a model, a line a version.
fn index(server: &TestServer, name: &str) -> Vec<(String, String, String)> {
    let answer = post(&server.triton("/v2/repository/index"), b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = answer.json().as_array().unwrap().clone();
    let of_model = entries.iter().filter(|entry| entry["name"] == name);
    of_model
        .map(|entry| (text(entry, "version"), text(entry, "state"), text(entry, "reason")))
        .collect()
}

fn loads(server: &TestServer, name: &str, body: &Value) -> Answer {
    let path = format!("/v2/repository/models/{name}/load");
    post(&server.triton(&path), body.to_string().as_bytes())
}

#[test]
fn a_repository_is_served_as_it_lies() {
    let store = Store::new();
    let config = format!("{DECLARED}version_policy {{ all {{ }} }}\n");
    model(store.path(), "m", &config, &[("2", "times 2"), ("10", "times 10"), ("03", "times 3")]);
    let (server, _control) = TestServer::fake_with(triton(store.path(), &["m"]), &[]);

    let rows = [[1.0, 2.0], [3.0, 4.0]];
    assert_eq!(numbers(&ask(&server, "m", &rows)), [10.0, 20.0, 30.0, 40.0]);
    assert_eq!(numbers(&ask(&server, "m/versions/2", &rows)), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(ask(&server, "m/versions/3", &rows).status, 404);
    let nine = [[0.0; 2]; 9];
    let refused = ask(&server, "m", &nine);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("max_batch_size"), "{}", refused.text());

    assert_eq!(get(&server.triton("/v2")).json()["name"], "triton", "as clients of it expect");
    let told = get(&server.triton("/v2/models/m")).json();
    assert_eq!(told["versions"], json!(["2", "10"]));
    assert_eq!(told["inputs"], json!([{ "name": "x", "datatype": "FP32", "shape": [-1, 2] }]));
    assert_eq!(told["outputs"], json!([{ "name": "y", "datatype": "FP32", "shape": [-1, 2] }]));
    let config = get(&server.triton("/v2/models/m/config")).json();
    assert_eq!(config["max_batch_size"], 8);
    assert_eq!(config["input"][0]["dims"], json!([2]));
    assert_eq!(config["instance_group"][0]["name"], "m_0");
    let ready = |version: &str| (version.to_owned(), "READY".to_owned(), String::new());
    assert_eq!(index(&server, "m"), [ready("2"), ready("10")]);
    // A model of a repository is served by every other way too.
    assert_eq!(numbers(&post_own(&server, "m")), [10.0, 20.0]);
    assert_eq!(get(&server.management("/models/m")).json()[0]["modelVersion"], "10");
}

/// The same over the server's own inference address.
fn post_own(server: &TestServer, name: &str) -> Answer {
    let body =
        br#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}"#;
    post(&server.inference(&format!("/v2/models/{name}/infer")), body)
}

#[test]
fn what_cannot_be_served_is_unavailable_with_the_reason_and_the_others_serve() {
    let store = Store::new();
    model(store.path(), "good", DECLARED, &[("1", "times 2")]);
    let unknown = format!("{DECLARED}sequence_batching {{ }}\n");
    model(store.path(), "sequences", &unknown, &[("1", "times 2")]);
    model(store.path(), "broken", DECLARED, &[("1", "broken")]);
    model(store.path(), "empty", DECLARED, &[]);
    let names = ["broken", "empty", "good", "sequences"];
    let (server, _control) = TestServer::fake_with(triton(store.path(), &names), &[]);

    assert_eq!(numbers(&ask(&server, "good", &[[1.0, 2.0]])), [2.0, 4.0]);
    for (name, version, words) in [
        ("sequences", "unknown", "sequences/config.pbtxt:6: sequence_batching is not served"),
        ("broken", "1", "the weights are broken"),
        ("empty", "unknown", "has no version"),
    ] {
        let [(number, state, reason)] = &index(&server, name)[..] else { panic!("{name}") };
        assert_eq!((number.as_str(), state.as_str()), (version, "UNAVAILABLE"), "{name}");
        assert!(reason.contains(words), "{name}: {reason}");
        let refused = ask(&server, name, &[[1.0, 2.0]]);
        assert!((400..=503).contains(&refused.status), "{name}: {}", refused.status);
        assert!(refused.text().contains(words), "{name}: {}", refused.text());
    }
    assert_eq!(index(&server, "sequences@handler"), [], "no model of a repository has a handler");
    let ready = get(&server.triton("/v2/health/ready"));
    assert_eq!(ready.status, 503, "{}", ready.text());
}

#[test]
fn archives_and_models_of_several_repositories_lie_side_by_side() {
    let (store, other) = (Store::new(), Store::new());
    let archive = store.fake("archived", "1.0", "echo");
    model(store.path(), "m", DECLARED, &[("1", "times 2")]);
    model(store.path(), "twice", DECLARED, &[("1", "times 2")]);
    model(other.path(), "twice", DECLARED, &[("1", "times 3")]);
    model(other.path(), "n", DECLARED, &[("1", "times 3")]);
    let mut settings = triton(store.path(), &["m", "twice"]);
    settings.models.push(ModelSource { path: archive, ..ModelSource::default() });
    for name in ["twice", "n"] {
        settings.models.push(ModelSource { path: other.path().join(name), ..Default::default() });
    }
    settings.store.more = vec![other.path().to_owned()];
    let (server, _control) = TestServer::fake_with(settings, &[]);
    assert_eq!(numbers(&ask(&server, "m", &[[1.0, 2.0]])), [2.0, 4.0]);
    assert_eq!(numbers(&ask(&server, "n", &[[1.0, 2.0]])), [3.0, 6.0]);
    assert_eq!(post(&server.inference("/predictions/archived"), b"x").text(), "x");
    let [(_, state, reason)] = &index(&server, "twice")[..] else { panic!("one line") };
    assert_eq!(state, "UNAVAILABLE");
    assert!(reason.contains("lies in more than one repository"), "{reason}");
    for place in [store.path().join("twice"), other.path().join("twice")] {
        assert!(reason.contains(place.to_str().unwrap()), "{reason}");
    }
}

#[test]
fn instances_and_batches_are_as_configured() {
    let store = Store::new();
    let config = format!(
        "{}dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100000000 }}\n",
        DECLARED.replace("count: 1", "count: 3")
    );
    model(store.path(), "m", &config, &[("1", "times 2")]);
    let (server, control) = TestServer::fake_with(triton(store.path(), &["m"]), &[]);
    assert_eq!(control.loads(), 3);
    // Nobody waits for the delay: a batch goes as soon as it has the size that is preferred.
    let server = Arc::new(server);
    let threads: Vec<_> = (0..4_u8)
        .map(|n| {
            let server = Arc::clone(&server);
            thread::spawn(move || numbers(&ask(&server, "m", &[[f32::from(n), 1.0]])))
        })
        .collect();
    for (n, thread) in threads.into_iter().enumerate() {
        let n = f64::from(u8::try_from(n).unwrap());
        assert_eq!(thread.join().unwrap(), [2.0 * n, 2.0]);
    }
    assert_eq!(control.take_batches(), [4]);
}

#[test]
fn each_worker_answers_the_warm_up_before_it_is_ready() {
    let store = Store::new();
    let warmup = |dims: &str| {
        format!(
            "{DECLARED}model_warmup [ {{ name: \"w\" batch_size: 3 count: 2 inputs {{ key: \"x\"\n\
             value: {{ data_type: TYPE_FP32 dims: {dims} zero_data: true }} }} }} ]\n"
        )
    };
    model(store.path(), "m", &warmup("[ 2 ]"), &[("1", "times 2")]);
    let words = "fail in forward";
    let config = warmup(&format!("[ {} ]", words.len()))
        .replace("dims: [ 2 ]", &format!("dims: [ {} ]", words.len()))
        .replace("TYPE_FP32", "TYPE_UINT8")
        .replace("batch_size: 3", "batch_size: 1")
        .replace("zero_data: true", "input_data_file: \"words\"");
    model(store.path(), "n", &config, &[("1", "echo")]);
    fs::create_dir(store.path().join("n/warmup")).unwrap();
    fs::write(store.path().join("n/warmup/words"), words).unwrap();
    let (server, control) = TestServer::fake_with(triton(store.path(), &["m"]), &[]);
    assert_eq!(control.take_batches(), [3, 3]);
    assert_eq!(server.state("m"), VersionState::Ready);
    let (server, _control) = TestServer::fake_with(triton(store.path(), &["n"]), &[]);
    let [(_, state, reason)] = &index(&server, "n")[..] else { panic!("one line") };
    assert_eq!(state, "UNAVAILABLE");
    assert!(reason.contains("warm-up \"w\"") && reason.contains("as asked"), "{reason}");
}

#[test]
fn clients_load_unload_and_load_anew_where_they_may() {
    let store = Store::new();
    model(store.path(), "m", DECLARED, &[("1", "times 2")]);
    model(store.path(), "n", DECLARED, &[("1", "times 5")]);
    let (server, _control) = explicit(&store, &["m"]);
    assert_eq!(index(&server, "n"), [(String::new(), String::new(), String::new())]);
    assert_eq!(ask(&server, "n", &[[1.0, 2.0]]).status, 404);
    let loaded = loads(&server, "n", &json!({}));
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    assert_eq!(numbers(&ask(&server, "n", &[[1.0, 2.0]])), [5.0, 10.0]);

    // What changed meanwhile is served after the next load; versions that are not wanted any more go.
    let (name, one) = ("m", [[1.0, 2.0]]);
    model(store.path(), name, DECLARED, &[("1", "times 3"), ("2", "times 4")]);
    assert_eq!(numbers(&ask(&server, name, &one)), [2.0, 4.0]);
    assert_eq!(loads(&server, name, &json!({})).status, 200);
    assert_eq!(numbers(&ask(&server, name, &one)), [4.0, 8.0]);
    assert_eq!(ask(&server, "m/versions/1", &one).status, 404);

    // A configuration of the client's own goes before the folder's.
    let tensor = |name: &str| json!([{ "name": name, "data_type": "TYPE_FP32", "dims": [2] }]);
    let mut config = json!({
        "max_batch_size": 2,
        "default_model_filename": "model.fake",
        "version_policy": { "specific": { "versions": [1] } },
        "input": tensor("x"),
        "output": tensor("z"),
    });
    let with = |config: &Value| json!({ "parameters": { "config": config.to_string() } });
    let loaded = loads(&server, name, &with(&config));
    assert_eq!(loaded.status, 200, "{}", loaded.text());
    assert_eq!(get(&server.triton("/v2/models/m")).json()["versions"], json!(["1"]));
    assert_eq!(get(&server.triton("/v2/models/m/config")).json()["max_batch_size"], 2);
    let answer = ask(&server, name, &one);
    assert_eq!(
        (numbers(&answer), &answer.json()["outputs"][0]["name"]),
        (vec![3.0, 6.0], &json!("z"))
    );

    // What does not load says why, and what was served goes on.
    config["backend"] = json!("python");
    let refused = loads(&server, name, &with(&config));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("backend \\\"python\\\" is not served"), "{}", refused.text());
    let file = json!({ "parameters": { "file:1/model.fake": "AA==" } });
    assert_eq!(loads(&server, name, &file).status, 501);
    assert_eq!(numbers(&ask(&server, name, &one)), [3.0, 6.0]);
    let unknown = loads(&server, "nowhere", &json!({}));
    assert!((400..=500).contains(&unknown.status), "{}", unknown.status);

    let unload =
        |name: &str| post(&server.triton(&format!("/v2/repository/models/{name}/unload")), b"");
    // It has no handler of its own, which could be loaded or unloaded.
    assert_eq!(unload("m@handler").status, 200);
    assert_eq!(numbers(&ask(&server, name, &one)), [3.0, 6.0]);
    assert_eq!(loads(&server, "m@handler", &json!({})).status, 404);
    assert_eq!(unload(name).status, 200);
    assert_eq!(ask(&server, name, &one).status, 404);
    let deadline = Instant::now() + Duration::from_mins(1);
    while index(&server, name).iter().any(|(_, state, _)| state == "UNLOADING") {
        assert!(Instant::now() < deadline, "it is still being unloaded");
    }
    let unloaded = |(_, state, reason): &(String, String, String)| {
        state == "UNAVAILABLE" && reason == "unloaded"
    };
    let left = index(&server, name);
    assert!(!left.is_empty() && left.iter().all(unloaded), "{left:?}");
    assert_eq!(loads(&server, name, &json!({})).status, 200);
    assert_eq!(numbers(&ask(&server, name, &one)), [4.0, 8.0]);
}

#[test]
fn who_unloads_a_model_that_is_being_loaded_finds_it_unloaded() {
    let store = Store::new();
    model(store.path(), "m", DECLARED, &[("1", "hangs on load")]);
    let (server, control) = explicit(&store, &[]);
    let state = || index(&server, "m").into_iter().map(|(_, state, _)| state).collect::<Vec<_>>();
    assert_eq!(state(), [""]);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| loads(&server, "m", &json!({})).status);
        control.entered.recv().unwrap();
        let unload = server.triton("/v2/repository/models/m/unload");
        let unload = scope.spawn(move || post(&unload, b"").status);
        for _ in 0..50 {
            assert_eq!(state(), ["LOADING"]);
        }
        assert!(!unload.is_finished(), "it waits for the load");
        control.release_all();
        assert_eq!((load.join().unwrap(), unload.join().unwrap()), (200, 200));
    });
    assert_eq!(ask(&server, "m", &[[1.0, 2.0]]).status, 404);
    assert!(!state().contains(&"READY".to_owned()));
}

#[test]
fn a_model_that_was_unloaded_and_does_not_load_any_more_says_why() {
    let store = Store::new();
    model(store.path(), "m", DECLARED, &[("1", "times 2")]);
    let (server, _control) = explicit(&store, &["m"]);
    assert_eq!(post(&server.triton("/v2/repository/models/m/unload"), b"").status, 200);
    fs::write(store.path().join("m/config.pbtxt"), "no_such_key: 1\n").unwrap();
    assert_eq!(loads(&server, "m", &json!({})).status, 400);
    let [(_, state, reason)] = &index(&server, "m")[..] else { panic!("one line") };
    assert_eq!(state, "UNAVAILABLE");
    assert!(reason.contains("no_such_key"), "{reason}");
}

#[test]
fn nobody_loads_models_where_the_start_alone_does() {
    let store = Store::new();
    model(store.path(), "m", DECLARED, &[("1", "times 2")]);
    let (server, _control) = TestServer::fake_with(triton(store.path(), &["m"]), &[]);
    let refused = loads(&server, "m", &json!({}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("model_control_mode=explicit"), "{}", refused.text());
}

#[test]
fn tritons_addresses_take_larger_bodies_and_tell_tritons_figures() {
    let store = Store::new();
    let config = DECLARED.replace("dims: [ 2 ]", "dims: [ -1 ]");
    model(store.path(), "m", &config, &[("1", "times 2")]);
    model(store.path(), "p", DECLARED, &[("1", "panics")]);
    let mut settings = triton(store.path(), &["m", "p"]);
    let services = vec![GrpcService::OpenInference];
    settings.grpc.push(GrpcSite::new(free(), services, "triton_grpc_address"));
    let (server, _control) = TestServer::fake_with(settings, &[]);
    let data = vec![1; 100_000];
    let body = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 100_000], "data": data }] });
    let body = body.to_string();
    let path = "/v2/models/m/infer";
    assert_eq!(post(&server.inference(path), body.as_bytes()).status, 413);
    assert_eq!(numbers(&post(&server.triton(path), body.as_bytes())).len(), 100_000);
    // An answer may be longer than a request: each number of the body is written as `2.0` in it.
    let data = vec![1; 300_000];
    let body = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 300_000], "data": data }] });
    let answer = post(&server.triton(path), body.to_string().as_bytes());
    assert!(answer.text().len() > 1_000_000, "{}", answer.status);
    assert!(TcpStream::connect(server.grpc(GrpcService::OpenInference).unwrap()).is_ok());

    assert_eq!(ask(&server, "m", &[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).status, 200);
    assert_eq!(ask(&server, "p", &[[1.0, 2.0]]).status, 500);
    for url in [server.triton_metrics(), format!("{}/metrics", server.metrics().unwrap())] {
        let page = get(&url);
        let value = |name: &str, labels: &str| -> f64 {
            let start = format!("{name}{{{labels}");
            let line = page.text().lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("{start} is not in {}", page.text()));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let of = |name: &str| value(name, "model=\"m\",version=\"1\",");
        let near = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-9, "{value}");
        near(of("nv_inference_request_success"), 3.0);
        near(of("nv_inference_count"), 5.0);
        near(of("nv_inference_exec_count"), 3.0);
        near(of("nv_inference_pending_request_count"), 0.0);
        assert!(of("nv_inference_request_duration_us") > 0.0);
        let failed = |model: &str, reason: &str| {
            let labels = format!("model=\"{model}\",version=\"1\",reason=\"{reason}\"");
            value("nv_inference_request_failure", &labels)
        };
        near(failed("p", "BACKEND"), 1.0);
        for (model, reason) in
            [("p", "OTHER"), ("p", "REJECTED"), ("p", "CANCELED"), ("m", "BACKEND")]
        {
            near(failed(model, reason), 0.0);
        }
        assert!(page.text().contains("\nnv_cpu_memory_total_bytes "), "{}", page.text());
        assert!(page.text().contains("\nnv_cpu_utilization "), "{}", page.text());
    }
    assert_eq!(get(&server.triton("/ping")).status, 200);
    assert_eq!(get(&server.triton("/models")).status, 404, "management is where it was");
}

#[test]
fn labels_are_what_classes_are_called() {
    let store = Store::new();
    let config = DECLARED.replace("name: \"y\"", "name: \"y\" label_filename: \"labels.txt\"");
    model(store.path(), "m", &config, &[("1", "times 2")]);
    fs::write(store.path().join("m/labels.txt"), "cat\ndog\n").unwrap();
    let (server, _control) = TestServer::fake_with(triton(store.path(), &["m"]), &[]);
    let body = json!({
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 2.0] }],
        "outputs": [{ "name": "y", "parameters": { "classification": 1 } }],
    });
    let answer = post(&server.triton("/v2/models/m/infer"), body.to_string().as_bytes());
    assert_eq!(answer.json()["outputs"][0]["data"], json!(["4.000000:1:dog"]), "{}", answer.text());
}

#[test]
fn tensors_are_reshaped_on_their_way() {
    let store = Store::new();
    let config = DECLARED.replace("dims: [ 2 ]", "dims: [ 2 ] reshape: { shape: [ 2, 1 ] }");
    model(store.path(), "m", &config, &[("1", "times 2")]);
    let (server, _control) = TestServer::fake_with(triton(store.path(), &["m"]), &[]);
    let answer = ask(&server, "m", &[[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(numbers(&answer), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(answer.json()["outputs"][0]["shape"], json!([2, 2]));
}

#[test]
fn a_snapshot_brings_a_model_back_once_whatever_its_versions() {
    let store = Store::new();
    let config = format!("{DECLARED}version_policy {{ all {{ }} }}\n");
    model(store.path(), "m", &config, &[("1", "times 2"), ("2", "times 3")]);
    let folder = store.path().join("logs");
    let mut settings = triton(store.path(), &["m"]);
    settings.snapshots = Some(folder.clone());
    let (server, _control) = TestServer::fake_with(settings.clone(), &[]);
    drop(server);
    let newest = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let text = fs::read_to_string(newest).unwrap();
    assert_eq!(text.matches(r#""marName"\:"m""#).count(), 2, "{text}");

    // As the next start reads it: an entry a version, each of the same folder.
    let restored = ModelSource { name: Some("m".into()), ..settings.models[0].clone() };
    settings.models = vec![restored.clone(), restored];
    let (server, _control) = TestServer::fake_with(settings, &[]);
    assert_eq!(index(&server, "m").len(), 2);
    assert_eq!(numbers(&ask(&server, "m", &[[1.0, 2.0]])), [3.0, 6.0]);
}
