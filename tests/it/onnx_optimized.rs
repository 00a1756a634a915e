use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mar::{Archive, PackOptions, PackSample};
use mar_engine::VersionState;
use serde_json::{Map, Value, json};

use crate::support::http::{agent, answer, get, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

fn fixture(file: &str) -> PathBuf {
    repository("tests/parity/onnx").join(file)
}

fn options(handler: &str, network: &str) -> PackOptions {
    PackOptions {
        model_name: "m".into(),
        handler: handler.into(),
        serialized_file: Some(fixture(network)),
        ..PackOptions::default()
    }
}

fn start(cores: usize, cache: Option<PathBuf>, archive: &Path) -> TestServer {
    let mut settings = settings();
    (settings.engine.cores, settings.engine.model_cache) = (cores, cache);
    let runtime = Arc::new(mar_runtime::Onnx::start());
    let server = TestServer::start(settings, mar_handlers::all(), runtime);
    server.engine.load(None, archive).unwrap();
    assert_eq!(server.state("m"), VersionState::Ready, "scripts/setup fetches ONNX Runtime");
    server
}

fn predicted(server: &TestServer, row: &Value) -> Value {
    let request = agent().post(server.inference("/predictions/m"));
    let answer = answer(request.header("content-type", "application/json").send(row.to_string()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn execution(server: &TestServer) -> Value {
    get(&server.management("/models/m")).json()[0]["execution"].clone()
}

fn optimize(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
    command.arg("optimize").args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// An archive with weights in a file of their own, an answer that is known, and files that nobody knows.
fn row_archive(store: &Store) -> PathBuf {
    let file = |name: &str, text: &str| {
        let path = store.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let sample = PackSample::read(
        &file("row.json", r#"{"data": [1.0, 2.0]}"#),
        &file("answer.json", "[210.0, 5.0]"),
    );
    let notes = file("notes.txt", "kept");
    let extra = [fixture("external.weights"), notes];
    store.packed(PackOptions {
        samples: vec![sample.unwrap()],
        extra_files: extra.iter().map(|path| path.display().to_string()).collect(),
        config_file: Some(file("settings.yaml", "batchSize: 3\n")),
        ..options("tensor", "external.onnx")
    })
}

#[test]
fn an_optimised_archive_keeps_all_but_the_network_and_reproduces_the_known_answers() {
    let store = Store::new();
    let archive = row_archive(&store);
    let out = store.path().join("fast.mar");
    let (from, to) = (archive.to_str().unwrap(), out.to_str().unwrap());
    let made = optimize(&[from, "--out", to]);
    assert_eq!(made.status.code(), Some(0), "{}", told(&made));
    assert_eq!(String::from_utf8_lossy(&made.stderr), "", "extended is for every processor");

    let (before, after) = (Archive::open(&archive).unwrap(), Archive::open(&out).unwrap());
    let mut names: Vec<&str> = before.entries().iter().map(|entry| &*entry.name).collect();
    names.retain(|name| *name != "external.weights");
    let left: Vec<&str> = after.entries().iter().map(|entry| &*entry.name).collect();
    assert_eq!(left, names);
    for name in names.iter().filter(|name| !["external.onnx", mar::MANIFEST_NAME].contains(*name)) {
        let read = |archive: &Archive| archive.read(name, 1 << 20).unwrap();
        assert_eq!(read(&before), read(&after), "{name}");
    }
    let mut manifest = after.manifest().clone();
    let made_by = manifest.extra.shift_remove("optimizedBy").unwrap();
    assert_eq!(&manifest, before.manifest());
    assert_eq!(
        (&made_by["runtime"], &made_by["level"]),
        (&json!("ONNX Runtime"), &json!("extended"))
    );

    let mut check = Command::new(env!("CARGO_BIN_EXE_marserve"));
    let check = check.arg("check").arg(&out).output().unwrap();
    assert_eq!(check.status.code(), Some(0), "{}", told(&check));

    let again = optimize(&[from, "--out", to]);
    assert_eq!(again.status.code(), Some(2), "{}", told(&again));
    assert!(told(&again).contains("--force"), "{}", told(&again));
    let forced = optimize(&[from, "--out", to, "--force", "--level", "all"]);
    assert_eq!(forced.status.code(), Some(0), "{}", told(&forced));
    assert!(told(&forced).contains("processors of this kind"), "{}", told(&forced));
    assert_eq!(Archive::open(&out).unwrap().manifest().extra["optimizedBy"]["level"], "all");
    let itself = optimize(&[to, "--out", to, "--force"]);
    assert_eq!(itself.status.code(), Some(2), "{}", told(&itself));
    assert!(told(&itself).contains("is the archive itself"), "{}", told(&itself));
    let server = start(1, None, &out);
    assert_eq!(predicted(&server, &json!({"data": [1.0, 2.0]})), json!([210.0, 5.0]));
}

#[test]
fn weights_that_another_network_of_the_archive_needs_stay() {
    let store = Store::new();
    let twin = store.path().join("twin.onnx");
    fs::copy(fixture("external.onnx"), &twin).unwrap();
    let extra = [fixture("external.weights"), twin];
    let archive = store.packed(PackOptions {
        extra_files: extra.iter().map(|path| path.display().to_string()).collect(),
        ..options("tensor", "external.onnx")
    });
    let out = store.path().join("fast.mar");
    let made = optimize(&[archive.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0), "{}", told(&made));
    let names = |archive: &Path| -> BTreeSet<String> {
        let opened = Archive::open(archive).unwrap();
        opened.entries().iter().map(|entry| entry.name.clone()).collect()
    };
    assert_eq!(names(&out), names(&archive));
}

#[test]
fn what_cannot_be_optimised_says_so_and_makes_nothing() {
    let store = Store::new();
    let torch = repository("crates/runtime/tests/fixtures/convolution.pt");
    let torch = store
        .packed(PackOptions { serialized_file: Some(torch), ..options("tensor", "simple.onnx") });
    let out = store.path().join("out.mar");
    for (archive, level, cause) in [
        (torch.as_path(), "all", if cfg!(feature = "torch") { "libtorch" } else { ".onnx" }),
        (Path::new("/nowhere.mar"), "all", "nowhere.mar"),
        (torch.as_path(), "most", "extended"),
    ] {
        let arguments =
            [archive.to_str().unwrap(), "--out", out.to_str().unwrap(), "--level", level];
        let ended = optimize(&arguments);
        assert_eq!(ended.status.code(), Some(2), "{}", told(&ended));
        assert!(told(&ended).contains(cause), "{}", told(&ended));
        assert!(!out.exists());
    }
}

#[test]
fn the_second_start_takes_the_graph_that_the_first_one_kept() {
    let (store, cache) = (Store::new(), tempfile::tempdir().unwrap());
    let archive = row_archive(&store);
    for from_cache in [false, true] {
        let server = start(1, Some(cache.path().to_owned()), &archive);
        assert_eq!(execution(&server)["graph_from_cache"], from_cache);
        assert_eq!(predicted(&server, &json!({"data": [1.0, 2.0]})), json!([210.0, 5.0]));
    }
}

#[test]
fn threads_follow_the_workers_and_answers_go_on() {
    let store = Store::new();
    let server = start(2, None, &row_archive(&store));
    let threads = || execution(&server)["intra_op_thread_count"].clone();
    assert_eq!(threads(), 2);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let row = predicted(&server, &json!({"data": [1.0, 2.0]}));
                    assert_eq!(row, json!([210.0, 5.0]));
                }
            });
        }
        for (workers, expected) in [(2, 1), (1, 2)] {
            let path =
                format!("/models/m?min_worker={workers}&max_worker={workers}&synchronous=true");
            assert_eq!(put(&server.management(&path)).status, 200);
            let begun = Instant::now();
            while threads() != expected {
                assert!(begun.elapsed() < Duration::from_mins(1), "{}", execution(&server));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A PNG of one colour.
fn picture(colour: [u8; 3]) -> Vec<u8> {
    const SIDE: u32 = 8;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIDE, SIDE);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&colour.repeat((SIDE * SIDE) as usize)).unwrap();
    writer.finish().unwrap();
    file
}

#[test]
fn halves_and_bytes_are_served_by_the_handlers() {
    let image = picture([200, 30, 90]);
    let likeliest = |network: &str| {
        let store = Store::new();
        let server = start(1, None, &store.packed(options("image_classifier", network)));
        let answer = answer(agent().post(server.inference("/predictions/m")).send(&image));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let classes = answer.json().as_object().unwrap().clone();
        assert_eq!(classes.len(), 5, "{classes:?}");
        classes
    };
    let half = likeliest("half_within.onnx");
    let dynamic = likeliest("bytes_dynamic.onnx");
    for (class, probability) in &half {
        let off = (probability.as_f64().unwrap() - dynamic[class].as_f64().unwrap()).abs();
        assert!(off < 0.05, "{dynamic:?}, {half:?}");
    }
    // Its ranges are those of other pictures, so that its numbers are less sure than its order.
    let order = |classes: &Map<String, Value>| classes.keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(&likeliest("bytes_static.onnx"))[..3], order(&half)[..3]);
}
