//! Folders as archives: links may stay inside, and nothing else may be there but files.

use std::os::unix::fs::symlink;
use std::process::Command;

use mar::{Archive, Error, Format, Refusal};

use crate::bench::{Bench, tree};

const MANIFEST: &str = r#"{"model": {"modelName": "m", "modelVersion": "1.0"}}"#;

fn model() -> Bench {
    let bench = Bench::new();
    bench.write("m/MAR-INF/MANIFEST.json", MANIFEST);
    bench.write("m/weights.pt", "weights");
    bench.write("secret", "secret");
    bench
}

fn refusal(bench: &Bench) -> Refusal {
    match Archive::open(&bench.path("m")) {
        Err(Error::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_is_an_archive_and_can_be_unpacked() {
    let bench = model();
    let archive = Archive::open(&bench.path("m")).unwrap();
    assert_eq!(archive.format(), Format::Folder);
    archive.extract(&bench.path("out")).unwrap();
    assert_eq!(tree(&bench.path("out")), tree(&bench.path("m")));
}

#[test]
fn links_that_lead_out_are_refused() {
    let bench = model();
    symlink("../secret", bench.path("m/link")).unwrap();
    assert_eq!(refusal(&bench), Refusal::Link);

    let bench = model();
    symlink("/etc", bench.path("m/folder")).unwrap();
    assert_eq!(refusal(&bench), Refusal::Link);

    let bench = model();
    symlink("..", bench.path("m/up")).unwrap();
    assert!(Archive::open(&bench.path("m")).is_err());
}

#[test]
fn links_that_stay_inside_are_followed() {
    let bench = model();
    symlink("weights.pt", bench.path("m/link.pt")).unwrap();
    symlink(bench.path("m"), bench.path("m.link")).unwrap();
    let archive = Archive::open(&bench.path("m.link")).unwrap();
    assert_eq!(archive.read("link.pt", 100).unwrap(), b"weights");
}

#[test]
fn a_link_put_there_later_is_not_followed() {
    let bench = model();
    let archive = Archive::open(&bench.path("m")).unwrap();
    std::fs::remove_file(bench.path("m/weights.pt")).unwrap();
    symlink(bench.path("secret"), bench.path("m/weights.pt")).unwrap();
    let error = archive.extract(&bench.path("out")).unwrap_err();
    assert!(matches!(error, Error::Refused { reason: Refusal::Link, .. }), "{error}");
    assert!(!bench.path("out").exists());
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let bench = model();
    assert!(Command::new("mkfifo").arg(bench.path("m/pipe")).status().unwrap().success());
    assert_eq!(refusal(&bench), Refusal::NotAFile);
    let error = Archive::open(&bench.path("m/pipe")).unwrap_err();
    assert!(matches!(error, Error::UnknownFormat { .. }), "{error}");
}

#[test]
fn a_folder_with_one_folder_stands_for_it() {
    let bench = Bench::new();
    bench.write("outer/m/MAR-INF/MANIFEST.json", MANIFEST);
    let archive = Archive::open(&bench.path("outer")).unwrap();
    assert!(archive.has_manifest());
}

#[test]
fn a_folder_without_manifest_or_model_is_none() {
    let bench = Bench::new();
    bench.write("m/readme.txt", "x");
    bench.write("m/other.txt", "x");
    assert!(matches!(Archive::open(&bench.path("m")), Err(Error::NotAModel { .. })));
    bench.write("m/handler.py", "");
    assert!(!Archive::open(&bench.path("m")).unwrap().has_manifest());
}
