//! `mar pack`: every flag means what it means to torch-model-archiver.

use std::fs;

use mar::{Archive, Format};
use serde_json::json;

use crate::bench::{Bench, tree};

fn names(archive: &Archive) -> Vec<&str> {
    archive.entries().iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn all_flags_by_their_long_names() {
    let bench = Bench::with_model();
    fs::create_dir(bench.path("store")).unwrap();
    let ran = bench.mar(&[
        "pack",
        "--model-name",
        "full",
        "--version",
        "2.0",
        "--handler",
        "handler.py",
        "--serialized-file",
        "weights.pt",
        "--model-file",
        "net.py",
        "--extra-files",
        "labels.txt",
        "--runtime",
        "python3",
        "--export-path",
        "store",
        "--archive-format",
        "default",
        "--force",
        "--requirements-file",
        "requirements.txt",
        "--config-file",
        "model-config.yaml",
    ]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, "packed store/full.mar: 7 files, 6.4 kB\n");
    let archive = Archive::open(&bench.path("store/full.mar")).unwrap();
    let manifest = serde_json::to_value(archive.manifest()).unwrap();
    let expected = json!({
        "createdOn": "14/11/2023 22:13:20",
        "runtime": "python3",
        "model": {
            "modelName": "full",
            "serializedFile": "weights.pt",
            "handler": "handler.py",
            "modelFile": "net.py",
            "modelVersion": "2.0",
            "requirementsFile": "requirements.txt",
            "configFile": "model-config.yaml"
        },
        "archiverVersion": format!("0.12.0+mar.{}", env!("CARGO_PKG_VERSION"))
    });
    assert_eq!(manifest, expected);
    let keys: Vec<_> = manifest.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["createdOn", "runtime", "model", "archiverVersion"]);
}

#[test]
fn short_flags_abbreviations_and_repetition_as_in_argparse() {
    let bench = Bench::with_model();
    bench.pack(&[
        "-f",
        "-r",
        "requirements.txt",
        "-c",
        "model-config.yaml",
        "--serial",
        "weights.pt",
    ]);
    bench.pack(&["-f", "--serialized-file", "net.py", "--serialized-file", "weights.pt"]);
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    assert_eq!(names(&archive), ["MAR-INF/MANIFEST.json", "weights.pt"]);
}

#[test]
fn the_four_forms_hold_the_same_files() {
    let bench = Bench::with_model();
    let inputs = ["--serialized-file", "weights.pt", "--extra-files", "labels.txt,net.py"];
    let mut trees = Vec::new();
    for (form, file, format) in [
        ("default", "m.mar", Format::Zip),
        ("zip-store", "m.mar", Format::Zip),
        ("tgz", "m.tar.gz", Format::Tgz),
        ("no-archive", "m", Format::Folder),
    ] {
        bench.pack(&[&["-f", "--archive-format", form], &inputs[..]].concat());
        let archive = Archive::open(&bench.path(file)).unwrap();
        assert_eq!(archive.format(), format);
        archive.extract(&bench.path(&format!("out-{form}"))).unwrap();
        trees.push(tree(&bench.path(&format!("out-{form}"))));
    }
    assert_eq!(trees[0].len(), 4);
    assert!(trees.iter().all(|other| *other == trees[0]));
}

#[test]
fn handlers_by_path_by_stem_and_by_function() {
    let bench = Bench::with_model();
    bench.write("code/h.py", "");
    for (handler, named) in [("code/h.py", "h.py"), ("code/h", "h"), ("code/h:entry", "h:entry")] {
        bench.pack(&["-f", "--handler", handler]);
        let archive = Archive::open(&bench.path("m.mar")).unwrap();
        assert_eq!(archive.manifest().model.handler.as_deref(), Some(named));
        assert_eq!(names(&archive), ["MAR-INF/MANIFEST.json", "h.py"]);
    }
}

#[test]
fn our_own_handler_gives_way_to_a_file_of_its_name() {
    let bench = Bench::with_model();
    bench.pack(&["--handler", "mask_segmenter"]);
    assert_eq!(Archive::open(&bench.path("m.mar")).unwrap().entries().len(), 1);
    bench.write("mask_segmenter.py", "");
    bench.pack(&["-f", "--handler", "mask_segmenter"]);
    assert_eq!(Archive::open(&bench.path("m.mar")).unwrap().entries().len(), 2);
}

#[test]
fn extra_files_are_files_folders_and_patterns() {
    let bench = Bench::with_model();
    for name in ["assets/a.txt", "assets/sub/b.txt", "assets/.git/c", "assets/__MACOSX/d"] {
        bench.write(name, name);
    }
    let ran = bench.pack(&["--extra-files", "labels.txt,assets, net.py,*.nothing,,n*.py"]);
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    let expected = ["MAR-INF/MANIFEST.json", "a.txt", "labels.txt", "net.py", "sub/b.txt"];
    assert_eq!(names(&archive), expected);
    assert!(ran.err.contains("warning: extra files pattern \"*.nothing\" matches nothing"));
}

#[test]
fn of_two_files_of_one_name_the_later_wins_with_a_warning() {
    let bench = Bench::with_model();
    bench.write("other/labels.txt", "other");
    let ran = bench.pack(&["--extra-files", "labels.txt,other/labels.txt"]);
    assert!(ran.err.contains("other/labels.txt replaces labels.txt"), "{}", ran.err);
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    assert_eq!(archive.read("labels.txt", 100).unwrap(), b"other");
}

#[test]
fn an_existing_archive_is_replaced_only_with_force() {
    let bench = Bench::with_model();
    for (form, file) in [("default", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")] {
        bench.pack(&["--archive-format", form, "--serialized-file", "weights.pt"]);
        let ran = bench.try_pack(&["--archive-format", form]);
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains("already exists; pass --force to replace it"), "{}", ran.err);
        assert_eq!(Archive::open(&bench.path(file)).unwrap().entries().len(), 2);
        bench.pack(&["--force", "--archive-format", form]);
        assert_eq!(Archive::open(&bench.path(file)).unwrap().entries().len(), 1, "{file}");
    }
}

#[test]
fn force_does_not_replace_what_is_no_archive() {
    let bench = Bench::with_model();
    bench.write("m/precious.txt", "x");
    let ran = bench.try_pack(&["-f", "--archive-format", "no-archive"]);
    assert!(ran.status == 1 && ran.err.contains("so it is not replaced"), "{}", ran.err);
    fs::create_dir(bench.path("m.mar")).unwrap();
    let ran = bench.try_pack(&["-f"]);
    assert!(ran.status == 1 && ran.err.contains("it is a folder"), "{}", ran.err);
    assert!(bench.path("m/precious.txt").exists());
}

#[test]
fn what_is_missing_is_named_and_nothing_is_written() {
    let bench = Bench::with_model();
    let before = bench.names();
    for (arguments, message) in [
        (["--serialized-file", "gone.pt"], "serialized file gone.pt is not a file"),
        (["--model-file", "gone.py"], "model file gone.py is not a file"),
        (["--handler", "gone"], "no handler \"gone\": no file gone.py"),
        (["--handler", "handler.py:entry"], "write module:function"),
        (["--extra-files", "labels.txt,gone.txt"], "extra file \"gone.txt\" does not exist"),
        (["-r", "gone.txt"], "requirements file gone.txt is not a file"),
        (["-c", "gone.yaml"], "config file gone.yaml is not a file"),
        (["--export-path", "gone"], "export path gone is not a folder; make it first"),
        (["--model-name", "a/b"], "model name \"a/b\" must start with a letter"),
    ] {
        let ran = bench.try_pack(&arguments);
        assert_eq!(ran.status, 1, "{arguments:?}");
        assert!(ran.err.contains(message), "{arguments:?}: {}", ran.err);
        assert_eq!(bench.names(), before);
    }
}

#[test]
fn a_broken_configuration_is_packed_with_a_warning() {
    let bench = Bench::with_model();
    bench.write("bad.yaml", "a: [1\nb: 2\n");
    let ran = bench.pack(&["-c", "bad.yaml"]);
    assert!(ran.err.contains("bad.yaml: not valid YAML"), "{}", ran.err);
    assert!(ran.err.contains("line 2, column 2"), "{}", ran.err);
    assert!(ran.err.contains("no server will read it"), "{}", ran.err);
}

#[test]
fn the_c_worker_has_its_own_handlers() {
    let bench = Bench::with_model();
    bench.write("libnet.so", "x");
    bench.pack(&["--runtime", "LSP", "--handler", "TorchScriptHandler"]);
    bench.pack(&["-f", "--runtime", "LSP", "--handler", "libnet:Net"]);
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    assert_eq!(names(&archive), ["MAR-INF/MANIFEST.json", "libnet.so"]);
}
