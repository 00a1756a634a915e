use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mar::{PackOptions, PackSample};
use mar_engine::{VerifySamples, VersionState};
use serde_json::Value;

use crate::support::faults::{Fault, every_fault_is_named};
use crate::support::http::get;
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// The example, packed with what FastAI makes of its scene.
fn street_scenes(store: &Store) -> PathBuf {
    let example = repository("examples/street_scenes");
    let scene = example.join("sample/scene.png");
    let record = example.join("sample/scene.png.json");
    store.packed(PackOptions {
        model_name: "fastunet".into(),
        handler: "mask_segmenter".into(),
        serialized_file: Some(example.join("fastunet.pt")),
        config_file: Some(example.join("model-config.yaml")),
        samples: vec![PackSample::read(&scene, &record).unwrap()],
        ..PackOptions::default()
    })
}

#[test]
fn each_fault_in_the_example_is_named_at_its_stage() {
    let store = Store::new();
    every_fault_is_named(&street_scenes(&store));
}

#[test]
fn the_example_is_checked_when_it_is_loaded() {
    let store = Store::new();
    let archive = street_scenes(&store);
    let wrong = Fault::WrongMean.in_copy_of(&archive, store.path());
    let serve = |archive: &Path| {
        let mut settings = settings();
        settings.engine.defaults.verify_samples = VerifySamples::Strict;
        let runtime = Arc::new(mar_runtime::Torch::start());
        let server = TestServer::start(settings, mar_handlers::all(), runtime);
        server.engine.load(None, archive).unwrap();
        server
    };
    let server = serve(&archive);
    assert_eq!(server.state("fastunet"), VersionState::Ready);
    let told = &get(&server.management("/models/fastunet")).json()[0]["samples"];
    assert_eq!((&told["verdict"], &told["replayed"]), (&"reproduced".into(), &1.into()));
    let VersionState::Failed(reason) = serve(&wrong).state("fastunet") else { panic!() };
    assert!(reason.contains("sample \"scene.png\" differs at normalise: "), "{reason}");
}

#[test]
fn the_command_says_what_it_found_in_its_last_line_and_its_status() {
    let store = Store::new();
    let archive = street_scenes(&store);
    let wrong = Fault::OtherFilter.in_copy_of(&archive, store.path());
    let marserve = |arguments: &[&str]| {
        let temp = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
        let ended = command.arg("check").args(arguments).env("TMPDIR", temp.path());
        let ended = ended.output().unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), told)
    };
    let archive = archive.display().to_string();
    let (status, told, errors) = marserve(&[&archive, "--device", "cpu"]);
    assert_eq!(status, Some(0), "{told}{errors}");
    let last = "fastunet 1.0 on cpu: the known answers of the sample are reproduced";
    assert_eq!(told.lines().last(), Some(last));
    assert_eq!(told.matches("reproduced").count(), 7, "six stages and the verdict: {told}");
    let wrong = wrong.display().to_string();
    let (status, told, errors) = marserve(&[&wrong]);
    assert_eq!(status, Some(1), "{told}{errors}");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("fastunet 1.0 on cpu: sample \"scene.png\" differs at resize: "));
    let (status, told, _) = marserve(&[&wrong, "--json"]);
    assert_eq!(status, Some(1));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["verdict"], &told["model"]), (&"differs".into(), &"fastunet".into()));
    assert_eq!(told["first_difference"]["stage"], "resize");
    assert_eq!(told["samples"][0]["stages"][0]["verdict"], "reproduced");
    let (status, _, errors) = marserve(&[&archive, "--device", "cuda:7"]);
    assert_eq!(status, Some(2));
    assert!(errors.contains("there is no cuda:7"), "{errors}");
}
