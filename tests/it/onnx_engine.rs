use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mar::{PackOptions, PackSample};
use mar_engine::VersionState;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, get};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// An archive behind the handler of tensors, called as its network.
fn archive(store: &Store, network: &str, config: &str) -> PathBuf {
    store.packed(options(store, network, config))
}

fn options(store: &Store, network: &str, config: &str) -> PackOptions {
    let file = store.path().join(format!("{network}.yaml"));
    fs::write(&file, config).unwrap();
    PackOptions {
        model_name: network.into(),
        handler: "tensor".into(),
        serialized_file: Some(repository(&format!("tests/parity/onnx/{network}.onnx"))),
        config_file: Some(file),
        ..PackOptions::default()
    }
}

fn server(archive: &Path, model: &str) -> TestServer {
    let runtime = Arc::new(mar_runtime::Onnx::start());
    let server = TestServer::start(settings(), mar_handlers::all(), runtime);
    server.engine.load(None, archive).unwrap();
    assert_eq!(server.state(model), VersionState::Ready, "scripts/setup fetches ONNX Runtime");
    server
}

fn ask(url: String, body: &Value) -> Answer {
    let request = agent().post(url).header("content-type", "application/json");
    answer(request.send(body.to_string()))
}

fn predicted(server: &TestServer, model: &str, row: [f32; 2]) -> Value {
    let url = server.inference(&format!("/predictions/{model}"));
    let answer = ask(url, &json!({ "data": row }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn described(server: &TestServer, model: &str) -> Value {
    get(&server.management(&format!("/models/{model}"))).json()[0].clone()
}

/// Waits for longer than any test before a batch that is not full goes.
const TOGETHER: &str = "batchSize: 8\nmaxBatchDelay: 1000000\n";

#[test]
fn a_network_exported_for_one_row_is_not_kept_waiting_for_others() {
    let store = Store::new();
    let server = server(&archive(&store, "batch_of_one", TOGETHER), "batch_of_one");
    assert_eq!(predicted(&server, "batch_of_one", [1.0, 2.0]), json!([210.0, 5.0]));
    let told = described(&server, "batch_of_one");
    assert_eq!(told["batchSize"], 1, "{told}");
    let reason = told["batchSizeReason"].as_str().unwrap();
    assert!(reason.contains("first side of input \"x\" to 1"), "{reason}");
}

#[test]
fn a_network_exported_for_four_rows_serves_any_number_of_requests() {
    let store = Store::new();
    let server = server(&archive(&store, "fixed_batch", TOGETHER), "fixed_batch");
    assert_eq!(described(&server, "fixed_batch")["batchSize"], 4);
    std::thread::scope(|scope| {
        for row in [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]] {
            let server = &server;
            scope.spawn(move || {
                let twice = row.map(|number| 2.0 * number);
                assert_eq!(predicted(server, "fixed_batch", row), json!(twice));
            });
        }
    });

    // Tensors that go past the handler are as many rows as the network has, and others are refused.
    let infer = |rows: usize| {
        let data: Vec<usize> = (0..2 * rows).collect();
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [rows, 2], "data": data });
        ask(server.inference("/v2/models/fixed_batch/infer"), &json!({ "inputs": [input] }))
    };
    let all = infer(4);
    assert_eq!(all.status, 200, "{}", all.text());
    let twice: Vec<f64> = (0..8).map(|number| f64::from(2 * number)).collect();
    assert_eq!(all.json()["outputs"][0]["data"], json!(twice));
    let few = infer(3);
    assert_eq!(few.status, 400, "{}", few.text());
    assert!(few.text().contains('x') && few.text().contains('4'), "{}", few.text());
}

#[test]
fn a_request_alone_is_filled_up_and_its_known_answer_checked_likewise() {
    let store = Store::new();
    let at_once = archive(&store, "fixed_batch", "batchSize: 1\n");
    let served = server(&at_once, "fixed_batch");
    assert_eq!(predicted(&served, "fixed_batch", [1.5, 2.0]), json!([3.0, 4.0]));

    let (input, known) = (store.path().join("row.json"), store.path().join("answer.json"));
    fs::write(&input, r#"{"data": [1.0, 2.0]}"#).unwrap();
    fs::write(&known, "[2.0, 4.0]").unwrap();
    let archive = store.packed(PackOptions {
        samples: vec![PackSample::read(&input, &known).unwrap()],
        force: true,
        ..options(&store, "fixed_batch", "verifySamples: strict\n")
    });
    let served = server(&archive, "fixed_batch");
    assert_eq!(described(&served, "fixed_batch")["samples"]["verdict"], "reproduced");

    let mut check = Command::new(env!("CARGO_BIN_EXE_marserve"));
    let ended = check.arg("check").arg(&archive).args(["--device", "cpu"]).output().unwrap();
    let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.contains("run by ONNX Runtime"), "{said}");
}

#[test]
fn an_option_that_onnx_runtime_does_not_know_is_named_with_its_section() {
    let store = Store::new();
    let config = "onnx: {execution_mode: sideways}\n";
    let runtime = Arc::new(mar_runtime::Onnx::start());
    let server = TestServer::start(settings(), mar_handlers::all(), runtime);
    server.engine.load(None, &archive(&store, "batch_of_one", config)).unwrap();
    let told = described(&server, "batch_of_one");
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.starts_with("onnx: in model-config.yaml: "), "{reason}");
    assert!(reason.contains("execution_mode") && reason.contains("sideways"), "{reason}");
}

/// A server of this store without ONNX Runtime, in a process of its own as the library is found once a process.
struct Bare {
    child: Child,
    said: Vec<String>,
}

impl Bare {
    fn start(store: &Store) -> Self {
        let free = "http://127.0.0.1:0";
        let mut child = Command::new(env!("CARGO_BIN_EXE_marserve"))
            .args(["--foreground", "--ncs", "--models", "all", "--model-store"])
            .arg(store.path())
            .args(["--inference-address", free, "--management-address", free])
            .args(["--metrics-address", free])
            .args(["--grpc-inference-port", "0", "--grpc-management-port", "0"])
            .env("TMPDIR", store.path())
            .env("LOG_LOCATION", store.path())
            .env("XDG_CACHE_HOME", store.path())
            .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut said: Vec<String> = Vec::new();
        while said.last().is_none_or(|line| line != "Model server started.") {
            said.push(lines.next().unwrap_or_else(|| panic!("it ended: {said:?}")));
        }
        Self { child, said }
    }

    fn url(&self, port: &str, path: &str) -> String {
        let words = format!("{port} on ");
        let address = self.said.iter().find_map(|line| line.strip_prefix(&words));
        format!("{}{path}", address.unwrap())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn without_the_library_its_models_say_so_and_the_others_serve() {
    let store = Store::new();
    archive(&store, "batch_of_one", "");
    #[cfg(feature = "torch")]
    {
        let config = store.path().join("neighbour.yaml");
        fs::write(&config, "handler: {labels: [left, right]}\n").unwrap();
        let weights = repository("crates/runtime/tests/fixtures/convolution.pt");
        store.segmenter("neighbour", &weights, &config);
    }
    let server = Bare::start(&store);
    for (port, path, status) in [
        ("predictions", "/readyz", 503),
        ("predictions", "/v2/models/batch_of_one", 503),
        ("management", "/models/batch_of_one", 200),
    ] {
        let told = get(&server.url(port, path));
        assert_eq!(told.status, status, "{path}: {}", told.text());
        for words in ["batch_of_one.onnx needs ONNX Runtime", "/nowhere/libonnxruntime.so"] {
            assert!(told.text().contains(words), "{path}: {}", told.text());
        }
    }
    let refused = ask(server.url("predictions", "/predictions/batch_of_one"), &json!({}));
    assert_eq!(refused.status, 503, "{}", refused.text());
    let live = get(&server.url("predictions", "/livez"));
    assert_eq!(live.status, 200);
    #[cfg(feature = "torch")]
    {
        let ready = get(&server.url("predictions", "/v2/models/neighbour/ready"));
        assert_eq!(ready.status, 200, "{}", ready.text());
        let told = get(&server.url("predictions", "/readyz")).json();
        assert_eq!(told["models"].as_array().unwrap().len(), 1, "{told}");
    }
}
