use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mar::{PackOptions, PackSample};
use mar_engine::{CheckRequest, MeasureRequest, VersionState, check, measure};
use mar_server::Settings;
use serde_json::Value;

use crate::support::http::{get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

const FORMS: [&str; 4] = ["none", "freeze", "channels_last", "inference"];

/// Time enough for a pass on a busy machine.
const PATIENT: &str = "torch: {optimize_seconds: 2}\n";

fn example(path: &str) -> PathBuf {
    repository("examples/street_scenes").join(path)
}

/// The example with more in its configuration; with a sample and FastAI's answer, if that is asked for.
fn scenes(store: &Store, more: &str, sampled: bool) -> PathBuf {
    let config = store.path().join("model-config.yaml");
    let own = fs::read_to_string(example("model-config.yaml")).unwrap();
    fs::write(&config, format!("{own}{more}")).unwrap();
    let sample = || {
        PackSample::read(&example("sample/scene.jpg"), &example("sample/scene.jpg.json")).unwrap()
    };
    store.packed(PackOptions {
        model_name: "scenes".into(),
        handler: "mask_segmenter".into(),
        serialized_file: Some(example("fastunet.pt")),
        config_file: Some(config),
        samples: if sampled { vec![sample()] } else { Vec::new() },
        ..PackOptions::default()
    })
}

fn serve(archive: &Path) -> TestServer {
    serve_keeping(archive, None)
}

fn serve_keeping(archive: &Path, cache: Option<&Path>) -> TestServer {
    let mut settings = Settings { max_request_size: 10_000_000, ..settings() };
    settings.engine.model_cache = cache.map(Path::to_owned);
    let server =
        TestServer::start(settings, mar_handlers::all(), Arc::new(mar_runtime::Torch::start()));
    server.engine.load(None, archive).unwrap();
    server
}

fn described(server: &TestServer) -> Value {
    assert_eq!(server.state("scenes"), VersionState::Ready);
    get(&server.management("/models/scenes")).json()[0].clone()
}

fn mask(server: &TestServer) -> Vec<u8> {
    let scene = fs::read(example("sample/scene.jpg")).unwrap();
    let answer = post(&server.inference("/predictions/scenes"), &scene);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["base64_prediction"].as_str().unwrap().as_bytes().to_vec()
}

#[track_caller]
fn assert_tuned(execution: &Value) {
    assert_eq!(execution["runtime"], "libtorch");
    let chosen = execution["optimize"].as_str().unwrap();
    assert!(FORMS.contains(&chosen), "{execution}");
    let times = execution["milliseconds"].as_object().unwrap();
    assert_eq!(times.keys().collect::<Vec<_>>(), FORMS, "{execution}");
}

#[test]
fn all_workers_run_the_form_that_one_of_them_found_and_say_so() {
    for sampled in [false, true] {
        let store = Store::new();
        let server = serve(&scenes(&store, &format!("minWorkers: 2\n{PATIENT}"), sampled));
        let told = described(&server);
        assert_tuned(&told["execution"]);
        let workers = told["workers"].as_array().unwrap();
        assert_eq!(workers.len(), 2);
        for worker in workers {
            // The times, too: it was found once, and is shared.
            assert_eq!(worker["execution"], told["execution"]);
        }
        let plain = Store::new();
        let plain = serve(&scenes(&plain, "torch: {optimize: none}\n", false));
        assert_eq!(described(&plain)["execution"]["optimize"], "none");
        assert!(described(&plain)["execution"].get("milliseconds").is_none());
        let (mask, own) = (mask(&server), mask(&plain));
        let differ = mask.iter().zip(&own).filter(|(a, b)| a != b).count();
        assert!(mask.len() == own.len() && 1000 * differ <= own.len(), "{differ} letters differ");
    }
}

#[test]
fn the_second_start_takes_the_form_that_the_first_one_found() {
    let (store, cache) = (Store::new(), tempfile::tempdir().unwrap());
    let archive = scenes(&store, PATIENT, false);
    let start = || {
        let server = serve_keeping(&archive, Some(cache.path()));
        (described(&server)["execution"].clone(), mask(&server))
    };
    let (mut first, answer) = start();
    assert_tuned(&first);
    assert_eq!(first["form_from_cache"], false);
    first["form_from_cache"] = true.into();
    // The times, too: nothing was timed again.
    assert_eq!(start(), (first, answer));
}

#[test]
fn what_one_worker_found_the_next_does_not_look_for_where_each_loads_for_itself() {
    let (store, cache) = (Store::new(), tempfile::tempdir().unwrap());
    let config = store.path().join("model-config.yaml");
    let inputs = "handler: {inputs: [{name: x, dtype: float32, shape: [2]}]}\n";
    fs::write(&config, format!("minWorkers: 2\n{inputs}")).unwrap();
    let archive = store.packed(PackOptions {
        model_name: "scenes".into(),
        handler: "tensor".into(),
        serialized_file: Some(repository("crates/runtime/tests/fixtures/counter.pt")),
        config_file: Some(config),
        ..PackOptions::default()
    });
    let server = serve_keeping(&archive, Some(cache.path()));
    let told = described(&server);
    let workers = told["workers"].as_array().unwrap();
    let found = |known: bool| {
        let is = |worker: &&Value| worker["execution"]["form_from_cache"] == known;
        workers.iter().filter(is).count()
    };
    assert_eq!((workers.len(), found(false), found(true)), (2, 1, 1), "{told}");
}

#[test]
fn a_form_that_there_is_not_fails_the_load_and_names_those_that_there_are() {
    for (more, words) in [
        (
            "torch: {optimize: fast}\n",
            "write auto, or one of none, freeze, channels_last, inference",
        ),
        ("torch: {optimise: none}\n", "no parameter optimise of libtorch; known: "),
        ("torch: {optimize_seconds: -1}\n", "parameter optimize_seconds is \"-1\""),
    ] {
        let store = Store::new();
        let server = serve(&scenes(&store, more, false));
        let VersionState::Failed(reason) = server.state("scenes") else { panic!("{more}") };
        assert!(reason.starts_with("torch: in model-config.yaml: "), "{reason}");
        assert!(reason.contains(words), "{reason}");
    }
}

#[test]
fn an_archive_is_checked_in_the_form_that_serves() {
    let store = Store::new();
    let request = CheckRequest {
        archive: scenes(&store, PATIENT, true),
        threads: 1,
        temp_dir: std::env::temp_dir(),
        ..CheckRequest::default()
    };
    let runtimes: Vec<Arc<dyn mar_engine::Runtime>> = vec![Arc::new(mar_runtime::Torch::start())];
    let checked = check(&request, mar_handlers::all(), runtimes).unwrap();
    assert!(checked.first_difference().is_none(), "{:?}", checked.samples);
    assert_tuned(&serde_json::to_value(&checked.execution).unwrap());
}

#[test]
fn every_form_is_measured_against_the_network_as_it_was_exported() {
    let store = Store::new();
    let request = MeasureRequest {
        archive: scenes(&store, "torch: {optimize: freeze}\n", false),
        device: None,
        handler: None,
        batch_sizes: vec![1, 2],
        threads: vec![1],
        time: Duration::from_nanos(1),
        shapes: Vec::new(),
        through_handler: false,
        temp_dir: std::env::temp_dir(),
    };
    let runtimes: Vec<Arc<dyn mar_engine::Runtime>> = vec![Arc::new(mar_runtime::Torch::start())];
    let measured = measure(&request, mar_handlers::all(), runtimes, &mut |_| ()).unwrap();
    assert!(measured.not_measured.is_empty(), "{:?}", measured.not_measured);
    for rows in measured.rows.chunks(FORMS.len()) {
        let forms: Vec<_> = rows.iter().map(|row| row.how["optimize"].as_str().unwrap()).collect();
        assert_eq!(forms, FORMS);
        assert!(rows[0].parity.is_none() && rows[0].variant == "libtorch");
        for row in &rows[1..] {
            let same = row.parity.as_ref().unwrap().same;
            assert!(same > 0.9999, "{}: {same}", row.variant);
        }
    }
    assert_eq!(measured.rows.len(), 2 * FORMS.len());
}
