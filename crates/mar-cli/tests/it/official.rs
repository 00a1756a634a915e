//! Archives made by torch-model-archiver 0.12.0 (`fixtures/make_fixtures.sh`) open here, and say what
//! they were made to say.

use mar::{Archive, Format, Manifest, read_config};
use serde_json::{Value, json};

use crate::bench::{Bench, fixture, tree};

const FULL: [&str; 8] = [
    "MAR-INF/MANIFEST.json",
    "index_to_name.json",
    "labels.txt",
    "model-config.yaml",
    "my_handler.py",
    "requirements.txt",
    "vocab/grüße.txt",
    "weights.pt",
];

/// The manifest as JSON, but for the time it was made.
fn manifest(archive: &Archive) -> Value {
    let mut value = serde_json::to_value(archive.manifest()).unwrap();
    let created = value.as_object_mut().unwrap().remove("createdOn").unwrap();
    assert_eq!(created.as_str().unwrap().len(), "01/02/2024 03:04:05".len());
    value
}

fn full_manifest(name: &str) -> Value {
    json!({
        "runtime": "python",
        "model": {
            "modelName": name,
            "serializedFile": "weights.pt",
            "handler": "my_handler.py",
            "modelVersion": "1.0",
            "requirementsFile": "requirements.txt",
            "configFile": "model-config.yaml"
        },
        "archiverVersion": "0.12.0"
    })
}

fn check_full(file: &str, name: &str, format: Format) {
    let archive = Archive::open(&fixture(file)).unwrap();
    assert_eq!(archive.format(), format);
    assert_eq!(manifest(&archive), full_manifest(name));
    let names: Vec<_> = archive.entries().iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, FULL);

    let bench = Bench::new();
    let out = bench.path("out");
    archive.extract(&out).unwrap();
    let without_manifest = |mut files: Vec<(String, Vec<u8>)>| {
        files.retain(|(name, _)| !name.starts_with("MAR-INF"));
        files
    };
    assert_eq!(without_manifest(tree(&out)), without_manifest(tree(&fixture("folder"))));
    let config = read_config(&out.join("model-config.yaml")).unwrap();
    assert_eq!(config["useJobTicket"], json!(true), "`yes` is a boolean to PyYAML");
}

#[test]
fn the_default_zip_opens() {
    check_full("full.mar", "full", Format::Zip);
}

#[test]
fn the_stored_zip_opens() {
    check_full("stored.mar", "stored", Format::Zip);
    let archive = Archive::open(&fixture("stored.mar")).unwrap();
    assert!(archive.entries().iter().all(|entry| entry.size == entry.stored_size));
}

#[test]
fn the_gzipped_tar_opens_without_its_top_folder() {
    check_full("tarred.tar.gz", "tarred", Format::Tgz);
}

#[test]
fn the_folder_opens() {
    check_full("folder", "folder", Format::Folder);
}

#[test]
fn a_function_handler_opens() {
    let archive = Archive::open(&fixture("function.mar")).unwrap();
    let expected = json!({
        "runtime": "python",
        "model": {"modelName": "function", "handler": "functions:entry", "modelVersion": "2.1"},
        "archiverVersion": "0.12.0"
    });
    assert_eq!(manifest(&archive), expected);
}

#[test]
fn a_handler_named_without_its_ending_opens() {
    let archive = Archive::open(&fixture("stem.mar")).unwrap();
    assert_eq!(archive.manifest().model.handler.as_deref(), Some("my_handler"));
    assert!(archive.entries().iter().any(|entry| entry.name == "my_handler.py"));
}

#[test]
fn an_eager_model_opens() {
    let archive = Archive::open(&fixture("eager.mar")).unwrap();
    let expected = json!({
        "runtime": "python3",
        "model": {
            "modelName": "eager",
            "serializedFile": "eager.pth",
            "handler": "image_classifier",
            "modelFile": "model.py",
            "modelVersion": "1.0"
        },
        "archiverVersion": "0.12.0"
    });
    assert_eq!(manifest(&archive), expected);
}

#[test]
fn official_manifests_keep_their_order_when_written_again() {
    let archive = Archive::open(&fixture("full.mar")).unwrap();
    let text = String::from_utf8(archive.read(mar::MANIFEST_NAME, 10_000).unwrap()).unwrap();
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest.to_json().unwrap(), text);
}

#[test]
fn every_fixture_verifies() {
    let bench = Bench::new();
    for name in ["full.mar", "stored.mar", "tarred.tar.gz", "folder", "function.mar", "stem.mar"] {
        let ran = bench.mar(&["verify", fixture(name).to_str().unwrap()]);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{name}");
    }
}
