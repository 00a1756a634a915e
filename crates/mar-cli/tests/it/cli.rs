//! Text, JSON and exit statuses of `inspect`, `unpack`, `verify` and of wrong usage.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::bench::{Bench, tree};
use crate::raw_zip::{RawEntry, manifest, model_with, zip};

fn packed() -> Bench {
    let bench = Bench::with_model();
    bench.pack(&[
        "--serialized-file",
        "weights.pt",
        "--extra-files",
        "labels.txt",
        "-c",
        "model-config.yaml",
    ]);
    bench
}

#[test]
fn inspect_shows_a_table() {
    let ran = packed().mar(&["inspect", "m.mar"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let expected = "\
model    m
version  1.0
handler  mask_segmenter
runtime  python
format   zip
weights  weights.pt
config   model-config.yaml
made     14/11/2023 22:13:20 by archiver 0.12.0+mar.0.1.0
";
    assert!(ran.out.starts_with(expected), "{}", ran.out);
    let lines: Vec<_> = ran.out.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(
        lines
            .iter()
            .any(|line| words(line)[..] == ["file", "size", "stored", "mapped", "at", "sha256"])
    );
    let row = lines
        .iter()
        .map(|line| words(line))
        .find(|words| words.first().is_some_and(|word| word == "labels.txt"));
    assert_eq!(row.unwrap()[..3], ["labels.txt", "900", "B"]);
    assert!(lines.iter().any(|line| words(line)[..] == ["handler", "{labels}"]), "{}", ran.out);
}

#[test]
fn inspect_json_has_everything() {
    let bench = packed();
    let ran = bench.mar(&["inspect", "--json", "m.mar"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["format"], "zip");
    assert_eq!(report["hasManifest"], true);
    assert_eq!(report["manifest"]["model"]["modelName"], "m");
    assert_eq!(report["config"]["handler"]["labels"][1], "road");
    let files = report["files"].as_array().unwrap();
    let weights = files.iter().find(|file| file["name"] == "weights.pt").unwrap();
    assert_eq!(weights["size"], 5000);
    assert_eq!(weights["mappedAt"].as_u64().unwrap() % 64, 0);
    let sum = bench.mar(&["verify", "m.mar"]).out;
    assert!(sum.contains(&format!("{}  weights.pt\n", weights["sha256"].as_str().unwrap())));
}

#[test]
fn inspect_tells_what_happens_to_an_image() {
    let bench = Bench::with_model();
    bench.pack(&["--handler", "image_classifier", "--serialized-file", "weights.pt"]);
    let told = |bench: &Bench| {
        let text = bench.mar(&["inspect", "m.mar"]).out;
        let json: Value =
            serde_json::from_str(&bench.mar(&["inspect", "--json", "m.mar"]).out).unwrap();
        let sentence = text.lines().find_map(|line| line.strip_prefix("preprocessing: "));
        assert_eq!(sentence, json["preprocessing"].as_str());
        sentence.map(str::to_owned)
    };
    let sentence = told(&bench).unwrap();
    for step in ["shorter side to 256", "bilinear", "centre 224x224", "0.485", "0.229"] {
        assert!(sentence.contains(step), "{sentence}");
    }
    bench.write("c.yaml", "handler:\n  size: [96, 128]\n  resize: crop\n  parity: fast\n");
    bench.pack(&["--serialized-file", "weights.pt", "-c", "c.yaml", "--force"]);
    let sentence = told(&bench).unwrap();
    assert!(sentence.contains("96x128") && sentence.contains("fast"), "{sentence}");
    bench.pack(&["--handler", "text_classifier", "--serialized-file", "weights.pt", "--force"]);
    assert_eq!(told(&bench), None, "no image goes into it");
}

#[test]
fn preprocessing_that_cannot_be_is_told_before_the_archive_is_served() {
    let bench = Bench::with_model();
    bench.write("c.yaml", "handler:\n  size: huge\n");
    bench.pack(&["--serialized-file", "weights.pt", "-c", "c.yaml"]);
    let ran = bench.mar(&["verify", "m.mar"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("handler: in model-config.yaml: size: "), "{}", ran.err);
    let shown = bench.mar(&["inspect", "m.mar"]);
    assert_eq!(shown.status, 0);
    assert!(shown.out.contains("preprocessing: cannot be served: handler: in"), "{}", shown.out);
}

#[test]
fn unpack_makes_a_folder_named_like_the_model_or_as_asked() {
    let bench = packed();
    let ran = bench.mar(&["unpack", "m.mar"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "unpacked m: 4 files\n"));
    assert_eq!(bench.mar(&["unpack", "m.mar", "--to", "there"]).status, 0);
    assert_eq!(tree(&bench.path("m")), tree(&bench.path("there")));
    assert_eq!(tree(&bench.path("m"))[3].1, fs::read(bench.path("weights.pt")).unwrap());
    let ran = bench.mar(&["unpack", "m.mar"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.starts_with("mar: m already exists; unpack to a folder"), "{}", ran.err);
}

#[test]
fn verify_prints_digests_and_ok() {
    let ran = packed().mar(&["verify", "m.mar"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[4], "ok: 4 files");
    assert_eq!(lines[0].len(), 64 + 2 + "MAR-INF/MANIFEST.json".len());
}

#[test]
fn verify_lists_every_problem_one_a_line() {
    let bench = Bench::new();
    let text = r#"{"runtime": "ruby", "model": {"modelName": "a b", "modelVersion": "1", "serializedFile": "gone.pt", "handler": "h.py", "configFile": "c.yaml"}}"#;
    bench.write(
        "m.mar",
        zip(&[
            RawEntry::stored("MAR-INF/MANIFEST.json", text),
            RawEntry::stored("c.yaml", "a: [1"),
            RawEntry::stored("../evil", "x"),
            RawEntry { crc: 7, ..RawEntry::stored("broken", "x") },
        ]),
    );
    let ran = bench.mar(&["verify", "m.mar"]);
    assert_eq!(ran.status, 1);
    let problems = [
        "entry \"../evil\" refused",
        "modelName \"a b\"",
        "no runtime \"ruby\"",
        "serializedFile names \"gone.pt\"",
        "handler names \"h.py\"",
        "entry \"broken\" is damaged",
        "c.yaml: not valid YAML",
    ];
    assert_eq!(ran.err.lines().count(), problems.len(), "{}", ran.err);
    for problem in problems {
        assert!(ran.err.lines().any(|line| line.contains(problem)), "{problem}: {}", ran.err);
    }
    let json: Value = serde_json::from_str(&bench.mar(&["verify", "--json", "m.mar"]).out).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"].as_array().unwrap().len(), problems.len());
}

#[test]
fn verify_reports_a_missing_manifest() {
    let bench = Bench::new();
    bench.write("m.mar", zip(&[RawEntry::stored("weights.pt", "x")]));
    assert_eq!(bench.mar(&["inspect", "m.mar"]).status, 0);
    let ran = bench.mar(&["verify", "m.mar"]);
    assert!(ran.status == 1 && ran.err.contains("no MAR-INF/MANIFEST.json"), "{}", ran.err);
}

#[test]
fn limits_are_flags() {
    let bench = packed();
    for (flag, message) in
        [("--max-entries=3", "more than 3 entries"), ("--max-total-bytes=100", "more than 100")]
    {
        for command in ["inspect", "unpack", "verify"] {
            let ran = bench.mar(&[command, flag, "m.mar"]);
            assert!(ran.status == 1 && ran.err.contains(message), "{command}: {}", ran.err);
        }
    }
}

#[test]
fn what_is_no_archive_says_so() {
    let bench = Bench::new();
    bench.write("m.mar", "hello");
    bench.write("empty.mar", "");
    for (file, message) in [
        ("m.mar", "not a model archive: neither a zip"),
        ("empty.mar", "not a model archive"),
        ("gone.mar", "cannot open gone.mar: No such file"),
    ] {
        let ran = bench.mar(&["inspect", file]);
        assert!(ran.status == 1 && ran.err.contains(message), "{}", ran.err);
    }
}

#[test]
fn text_from_archives_cannot_steer_the_terminal() {
    let bench = Bench::new();
    let text =
        r#"{"createdOn": "\u001b[31mred", "model": {"modelName": "m", "modelVersion": "1"}}"#;
    bench.write("m.mar", zip(&[RawEntry::stored("MAR-INF/MANIFEST.json", text)]));
    let ran = bench.mar(&["inspect", "m.mar"]);
    assert!(ran.out.contains("\\u{1b}[31mred") && !ran.out.contains('\x1b'), "{}", ran.out);
    bench.write("n.mar", model_with(&[RawEntry::stored("\x1b[31m", "x")]));
    assert!(!bench.mar(&["verify", "n.mar"]).err.contains('\x1b'));
    assert!(bench.mar(&["verify", "n.mar"]).err.contains("control character"));
    assert_eq!(manifest("x").method, 0);
}

#[test]
fn wrong_usage_is_status_2_and_help_is_0() {
    let bench = Bench::new();
    for arguments in [
        &[][..],
        &["pack"],
        &["pack", "--model-name", "m", "--handler", "tensor"],
        &["pack", "--model-name", "m", "-v", "1", "--handler", "tensor", "--archive-format", "rar"],
        &["pack", "--model-name", "m", "-v", "1", "--handler", "tensor", "--runtime", "ruby"],
        &["inspect"],
        &["nonsense"],
    ] {
        assert_eq!(bench.mar(arguments).status, 2, "{arguments:?}");
    }
    let ran = bench.mar(&["pack", "--help"]);
    assert_eq!(ran.status, 0);
    for flag in ["--model-name", "-v, --version", "-f, --force", "-r, --req", "-c, --config-file"] {
        assert!(ran.out.contains(flag), "{flag}: {}", ran.out);
    }
    assert_eq!(bench.mar(&["--version"]).out, "mar 0.1.0\n");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let bench = packed();
    let mut child =
        bench.command(&["inspect", "--json", "m.mar"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
