//! ONNX files: packed with what they need, shown, drawn, and refused where they cannot be served.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bench::{Bench, Ran};

fn network(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/onnx").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs::read(network(name)).unwrap()
}

/// A folder with a network whose weights lie beside it.
fn with_external() -> Bench {
    let bench = Bench::new();
    bench.write("net/external.onnx", bytes("external.onnx"));
    bench.write("net/external.weights", bytes("external.weights"));
    bench
}

fn pack(bench: &Bench, weights: &str, more: &[&str]) -> Ran {
    let arguments = ["--handler", "tensor", "--serialized-file", weights];
    bench.try_pack(&[&arguments, more].concat())
}

/// What `mar verify` finds wrong.
fn problems(bench: &Bench, archive: &str) -> Vec<String> {
    let ran = bench.mar(&["verify", "--json", archive]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.status, i32::from(report["ok"] == json!(false)));
    let problems = report["problems"].as_array().unwrap();
    problems.iter().map(|problem| problem.as_str().unwrap().to_owned()).collect()
}

/// An archive that is made by what does not look into ONNX files.
fn unlooked(bench: &Bench, content: &[u8], form: &str) {
    bench.write("net/m.onnx", content);
    let packed = pack(bench, "net/m.onnx", &["--no-check", "-f", "--archive-format", form]);
    assert_eq!(packed.status, 0, "{}", packed.err);
}

const FORMS: [(&str, &str); 3] = [("default", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")];

#[test]
fn weights_beside_a_network_are_packed_with_it() {
    for (form, archive) in FORMS {
        let bench = with_external();
        let packed = pack(&bench, "net/external.onnx", &["--archive-format", form]);
        assert_eq!(packed.status, 0, "{}", packed.err);
        assert!(packed.out.starts_with("added external.weights: "), "{}", packed.out);
        assert!(bench.mar(&["unpack", archive, "--to", "out"]).err.is_empty());
        assert_eq!(
            fs::read(bench.path("out/external.weights")).unwrap(),
            bytes("external.weights")
        );
        assert_eq!(problems(&bench, archive), Vec::<String>::new());
    }
}

#[test]
fn weights_in_folders_below_keep_their_place_and_those_given_otherwise_stay() {
    let bench = Bench::new();
    let mut moved = bytes("external.onnx");
    let place = moved.windows(16).position(|bytes| bytes == b"external.weights").unwrap();
    moved[place..place + 16].copy_from_slice(b"sub/more/weights");
    bench.write("net/m.onnx", &moved);
    bench.write("net/sub/more/weights", bytes("external.weights"));
    assert_eq!(pack(&bench, "net/m.onnx", &[]).status, 0);
    assert_eq!(problems(&bench, "m.mar"), Vec::<String>::new());
    assert!(bench.mar(&["unpack", "m.mar", "--to", "out"]).err.is_empty());
    assert_eq!(fs::read(bench.path("out/sub/more/weights")).unwrap(), bytes("external.weights"));

    // As for torch-model-archiver, which knows nothing of such files.
    let bench = with_external();
    bench.write("given/external.weights", [7; 16]);
    let packed = pack(&bench, "net/external.onnx", &["--extra-files", "given/external.weights"]);
    assert_eq!((packed.status, packed.err.as_str()), (0, ""));
    assert!(!packed.out.contains("added"), "{}", packed.out);
    assert!(bench.mar(&["unpack", "m.mar", "--to", "out"]).err.is_empty());
    assert_eq!(fs::read(bench.path("out/external.weights")).unwrap(), [7; 16]);
}

#[test]
fn two_networks_share_a_file_with_weights_and_not_a_name_for_two() {
    let bench = with_external();
    bench.write("net/second.onnx", bytes("external.onnx"));
    let packed = pack(&bench, "net/external.onnx", &["--extra-files", "net/second.onnx"]);
    assert_eq!((packed.status, packed.err.as_str()), (0, ""));
    assert_eq!(problems(&bench, "m.mar"), Vec::<String>::new());

    let bench = with_external();
    bench.write("other/second.onnx", bytes("external.onnx"));
    bench.write("other/external.weights", [7; 16]);
    let refused = pack(&bench, "net/external.onnx", &["--extra-files", "other/second.onnx"]);
    assert_eq!(refused.status, 1, "one of the two would have the other's weights");
    for words in ["net/external.weights", "other/external.weights", "pack them in two archives"] {
        assert!(refused.err.contains(words), "{}", refused.err);
    }
}

#[test]
fn what_cannot_be_served_is_neither_packed_nor_verified() {
    let whole = bytes("weights_as_inputs.onnx");
    let mut damaged = whole.clone();
    let place = whole.windows(6).position(|bytes| bytes == b"MatMul").unwrap();
    damaged[place..place + 6].fill(0xff);
    let external = bytes("external.onnx");
    for (content, cause) in [
        (&whole[..100], "it is cut off: it has 100 bytes of at least"),
        (&damaged, "it is damaged"),
        (b"PK\x03\x04", "it is no ONNX file"),
        (&bytes("later.onnx"), "its operators of \"ai.onnx\" are of version 999"),
        (&external, "the file \"external.weights\", with weights such as \"weight\", is missing"),
    ] {
        for (form, archive) in FORMS {
            let bench = Bench::new();
            bench.write("m.onnx", content);
            let refused = pack(&bench, "m.onnx", &["--archive-format", form]);
            assert_eq!(refused.status, 1, "{cause}");
            assert!(refused.err.contains("m.onnx cannot be packed"), "{}", refused.err);
            assert!(refused.err.contains(cause), "{}", refused.err);
            assert_eq!(bench.names(), ["m.onnx"], "nothing is left behind");

            unlooked(&bench, content, form);
            let problems = problems(&bench, archive);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(&format!("{archive}: m.onnx: ")), "{problems:?}");
            assert!(problems[0].contains(cause), "{problems:?}");
        }
    }
}

#[test]
fn what_is_odd_is_told_and_packed() {
    let bench = Bench::new();
    bench.write("m.onnx", [&*bytes("simple.onnx"), b"\xf2\x3f\x03abc"].concat());
    let packed = pack(&bench, "m.onnx", &[]);
    assert_eq!(packed.status, 0);
    assert!(packed.err.contains("warning: m.onnx: 6 bytes are no part"), "{}", packed.err);
    let ran = bench.mar(&["verify", "m.mar"]);
    assert_eq!(ran.status, 0);
    assert!(ran.err.contains("mar: warning: m.mar: m.onnx: 6 bytes"), "{}", ran.err);
}

#[test]
fn inspect_tells_what_a_network_takes_and_gives() {
    let bench = with_external();
    pack(&bench, "net/external.onnx", &[]);
    let text = bench.mar(&["inspect", "m.mar"]).out;
    let section = "
network     external.onnx
IR version  10
opsets      ai.onnx 20, ai.onnx.ml 3
producer    marserve
input       x: FP32 [batch, 2]
output      y: FP32 [batch, 2]
batch       of any size
operators   1: MatMul 1
weights     16 B in 1 tensor of FP32
external    external.weights, 16 B
quantised   no
";
    assert!(text.contains(section), "{text}");

    let told = |name: &str| -> Value {
        let bench = Bench::new();
        bench.write("m.onnx", bytes(name));
        pack(&bench, "m.onnx", &["--no-check"]);
        let ran = bench.mar(&["inspect", "--json", "m.mar"]);
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        report["networks"][0].clone()
    };
    let zipmap = told("zipmap.onnx");
    assert_eq!(
        zipmap["inputs"],
        json!([{"name": "x", "type": "FP32 [batch, 2]", "shape": ["batch", 2]}])
    );
    assert_eq!(zipmap["outputs"][1]["type"], "sequence(map(INT64, FP32))");
    assert_eq!(zipmap["operators"]["ai.onnx.ml::ZipMap"], 1);
    assert_eq!(zipmap["batch"], "dynamic");
    assert_eq!(told("fixed_batch.onnx")["batch"], json!({"fixed": 4}));

    let bench = Bench::new();
    unlooked(&bench, b"PK\x03\x04", "default");
    let ran = bench.mar(&["inspect", "m.mar"]);
    assert_eq!(ran.status, 0, "the rest is shown");
    assert!(ran.out.contains("network: cannot be read: m.mar: m.onnx: it is no"), "{}", ran.out);
}

#[test]
fn a_graph_is_written_as_dot_or_as_it_is() {
    for (form, archive) in FORMS {
        let bench = with_external();
        pack(&bench, "net/external.onnx", &["--archive-format", form]);
        let dot = bench.mar(&["inspect", "--graph", "-", archive]).out;
        assert!(dot.starts_with("digraph"), "{dot}");
        assert!(dot.contains("node0 -> output0 [label=\"y\\nFP32 [batch, 2]\"]"), "{dot}");
        let ran = bench.mar(&["inspect", archive, "--graph", "graph.dot"]);
        assert_eq!((ran.status, ran.out.as_str()), (0, "wrote graph.dot\n"));
        assert_eq!(fs::read_to_string(bench.path("graph.dot")).unwrap(), dot);

        let ran = bench.mar(&["inspect", archive, "--graph", "out/net.onnx"]);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""));
        assert_eq!(fs::read(bench.path("out/net.onnx")).unwrap(), bytes("external.onnx"));
        assert_eq!(
            fs::read(bench.path("out/external.weights")).unwrap(),
            bytes("external.weights")
        );
        let again = bench.mar(&["inspect", archive, "--graph", "out/net.onnx"]);
        assert_eq!(again.status, 1, "what is there stays");
        assert!(again.err.contains("out/net.onnx is there already"), "{}", again.err);
        let wrong = bench.mar(&["inspect", archive, "--graph", "net.svg"]);
        assert_eq!(wrong.status, 1);
        assert!(wrong.err.contains("has to end in .dot or .onnx"), "{}", wrong.err);
    }
    let bench = Bench::with_model();
    bench.pack(&["--serialized-file", "weights.pt"]);
    let ran = bench.mar(&["inspect", "--graph", "-", "m.mar"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("m.mar has no ONNX file"), "{}", ran.err);
}
