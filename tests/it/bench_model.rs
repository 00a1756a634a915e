use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use mar_engine::{Device, MeasureRequest, Measured, Unmeasured, measure};
use mar_handler::Result;

use crate::support::store::Store;
use crate::support::{fake, picture};

/// Times do not matter here: three passes of each are run however short it is.
const TIME: Duration = Duration::from_nanos(1);

fn request(archive: &Path) -> MeasureRequest {
    MeasureRequest {
        archive: archive.to_owned(),
        device: None,
        handler: None,
        batch_sizes: vec![1, 4],
        threads: vec![1],
        time: TIME,
        shapes: Vec::new(),
        through_handler: false,
        temp_dir: std::env::temp_dir(),
    }
}

/// What came of it, and the sizes of the batches that the networks ran, in order.
fn measured(request: &MeasureRequest) -> (Result<Measured>, Vec<usize>, fake::Control) {
    let (runtime, control) = fake::runtime();
    let measured = measure(request, fake::handlers(), vec![runtime], &mut |_| ());
    let batches = control.take_batches();
    (measured, batches, control)
}

/// An archive with a second file of the same network, and how each behaves.
fn twins(store: &Store, first: &str, second: &str) -> std::path::PathBuf {
    let archive = store.fake("m", "1.0", first);
    fs::write(archive.join("twin.fake"), second).unwrap();
    archive
}

fn with_shape(archive: &Path) -> MeasureRequest {
    MeasureRequest { shapes: vec![("x".into(), vec![3])], ..request(archive) }
}

#[test]
fn files_of_an_archive_take_turns_and_a_twin_that_differs_is_told() {
    let store = Store::new();
    let archive = twins(&store, "times 2", "times -2");
    let request = MeasureRequest { threads: vec![1, 3], ..with_shape(&archive) };
    let (measured, batches, control) = measured(&request);
    let measured = measured.unwrap();
    assert_eq!((&*measured.model, &*measured.version, &*measured.device), ("m", "1.0", "cpu"));
    assert_eq!(measured.inputs, "made-up numbers, float32 [3]");
    assert!(measured.not_measured.is_empty(), "{:?}", measured.not_measured);
    let rows: Vec<_> =
        measured.rows.iter().map(|row| (&*row.file, row.threads, row.batch_size)).collect();
    let cell = |threads, size| [("weights.fake", threads, size), ("twin.fake", threads, size)];
    assert_eq!(rows, [cell(1, 1), cell(1, 4), cell(3, 1), cell(3, 4)].concat());
    for pair in measured.rows.chunks(2) {
        assert!(pair[0].parity.is_none() && (pair[0].speed - 1.0).abs() < 1e-9);
        let parity = pair[1].parity.as_ref().unwrap();
        assert!(parity.same < 0.001, "what is largest is smallest now: {parity:?}");
        assert!(parity.largest_difference.unwrap() > 1.0, "{parity:?}");
        let times = pair[1].milliseconds;
        assert!(times.lower_quartile <= times.median && times.median <= times.p95, "{times:?}");
        let speed = pair[0].milliseconds.median / times.median;
        assert!((pair[1].speed / speed - 1.0).abs() < 1e-9, "{}", pair[1].speed);
        assert!(pair.iter().all(|row| row.passes >= 3));
    }
    assert_eq!(control.loads(), 4, "each file once for each number of threads");
    assert_eq!(batches.iter().filter(|size| **size == 4).count() * 2, batches.len());
    let mut threads = control.threads();
    threads.dedup();
    assert_eq!(threads, [1, 3]);
}

#[test]
fn a_file_that_fails_is_told_and_the_others_are_measured() {
    let store = Store::new();
    for (behaviour, at_batch, words) in [
        ("broken", None, "the weights are broken"),
        ("panics on load", None, "no such layer"),
        ("panics", Some(1), "a tensor of lead"),
    ] {
        for (first, second, fails, runs) in [
            (behaviour, "times 2", "weights.fake", "twin.fake"),
            ("times 2", behaviour, "twin.fake", "weights.fake"),
        ] {
            let archive = twins(&store, first, second);
            let measured = measured(&with_shape(&archive)).0.unwrap();
            let rows: Vec<_> = measured.rows.iter().map(|row| &*row.file).collect();
            assert_eq!(rows, [runs; 2], "{behaviour}");
            assert!(
                measured.rows.iter().all(|row| row.parity.is_none()),
                "nothing to compare with"
            );
            let Unmeasured { file, variant, batch_size, reason, failed, .. } =
                &measured.not_measured[0];
            assert_eq!((&**file, variant.as_deref()), (fails, Some("fake")));
            assert_eq!((*batch_size, *failed), (at_batch, true));
            assert!(reason.contains(words), "{reason}");
            let once = if at_batch.is_some() { 2 } else { 1 };
            assert_eq!(measured.not_measured.len(), once, "{:?}", measured.not_measured);
        }
    }
}

#[test]
fn samples_go_through_the_handlers_preprocessing_and_made_up_numbers_where_sides_are_given() {
    let store = Store::new();
    let archive = picture::archive(&store, "1.0", 2);
    let samples = measured(&request(&archive)).0.unwrap();
    assert_eq!(samples.inputs, "2 of the archive's samples, float32 [3, 1, 2]");
    assert_eq!((samples.rows.len(), samples.pass), (2, "the network alone"));
    let through = MeasureRequest { through_handler: true, ..request(&archive) };
    assert_eq!(measured(&through).0.unwrap().pass, "the handler's inference");
    let made_up = measured(&with_shape(&archive)).0.unwrap();
    assert_eq!(made_up.inputs, "made-up numbers, float32 [3]");
}

#[test]
fn what_cannot_be_measured_says_what_to_do() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "times 2");
    let refused = |request: &MeasureRequest| measured(request).0.unwrap_err().message().to_owned();
    let told = refused(&request(&archive));
    assert!(told.contains("--shape x=3,96,128"), "{told}");
    let device = Some(Device::Cuda(1));
    let told = refused(&MeasureRequest { device, ..with_shape(&archive) });
    assert_eq!(told, "there is no cuda:1: fake finds no CUDA device; give --device cpu");
    let told = refused(&request(Path::new("no such.mar")));
    assert!(told.contains("no such.mar"), "{told}");

    let handler = Some("nobody".to_owned());
    let without = MeasureRequest { handler, ..with_shape(&archive) };
    let told = measured(&without).0.unwrap().inputs;
    assert!(told.contains("; the handler is left out: no handler \"nobody\""), "{told}");
    let told = refused(&MeasureRequest { through_handler: true, ..without });
    assert!(told.starts_with("no handler \"nobody\""), "{told}");

    fs::rename(archive.join("weights.fake"), archive.join("weights.odd")).unwrap();
    let manifest = archive.join("MAR-INF/MANIFEST.json");
    let text = fs::read_to_string(&manifest).unwrap().replace("weights.fake", "weights.odd");
    fs::write(&manifest, text).unwrap();
    fs::write(archive.join("twin.fake"), "times 2").unwrap();
    let measured = measured(&with_shape(&archive)).0.unwrap();
    assert_eq!(measured.rows[0].file, "twin.fake");
    let odd = &measured.not_measured[0];
    assert_eq!(odd.file, "weights.odd");
    assert!(odd.reason.starts_with("no runtime here opens weights.odd"), "{odd:?}");
}

/// Runs `marserve bench-model`.
fn bench(arguments: &[&str]) -> Output {
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
    command.arg("bench-model").args(arguments).env("TMPDIR", temp.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_command_ends_with_2_where_nothing_was_measured() {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "times 2").display().to_string();
    for (arguments, words) in [
        (&[archive.as_str()][..], "marserve: not measured: weights.fake: no runtime here opens"),
        (&["nowhere.mar"], "nowhere.mar"),
        (&[], "Usage: marserve bench-model"),
        (&[archive.as_str(), "--batch-sizes", "0"], "give numbers from 1 to"),
        (&[archive.as_str(), "--seconds", "0"], "give a number above 0"),
        (&[archive.as_str(), "--shape", "3,4"], "such as x=3,96,128"),
    ] {
        let ended = bench(arguments);
        let told = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
        assert!(ended.stdout.is_empty());
    }
    let json = bench(&[&archive, "--json"]);
    assert_eq!(json.status.code(), Some(2));
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["verdict"], "not_measured");
    let help = bench(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    assert!(help.contains("--through-handler") && help.contains("Exit status: 0"), "{help}");
}

/// The command on ONNX Runtime.
#[cfg(feature = "onnx")]
mod onnx {
    use std::path::PathBuf;

    use mar::PackOptions;
    use serde_json::Value;

    use super::{bench, text};
    use crate::support::store::{Store, repository};

    const QUICK: [&str; 6] = ["--seconds", "0.001", "--batch-sizes", "1,4", "--threads", "1"];

    /// An archive of a product with a matrix, and other files beside it.
    fn archive(store: &Store, others: &[&str]) -> String {
        let file = |name: &str| -> PathBuf { repository("tests/parity/onnx").join(name) };
        let archive = store.packed(PackOptions {
            model_name: "m".into(),
            handler: "tensor".into(),
            serialized_file: Some(file("weights_as_inputs.onnx")),
            extra_files: others.iter().map(|name| file(name).display().to_string()).collect(),
            ..PackOptions::default()
        });
        archive.display().to_string()
    }

    fn json(arguments: &[&str]) -> (Option<i32>, Value) {
        let ended = bench(arguments);
        let told = serde_json::from_slice(&ended.stdout).unwrap();
        (ended.status.code(), told)
    }

    /// The rows of a file at a size of batch.
    fn rows<'a>(told: &'a Value, file: &str, size: u64) -> Vec<&'a Value> {
        let rows = told["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["file"] == file && row["batch_size"] == size).collect()
    }

    #[test]
    fn twins_are_compared_where_both_can_run_and_what_does_not_load_is_told() {
        let store = Store::new();
        let archive = archive(&store, &["batch_of_one.onnx", "later.onnx"]);
        let (status, told) = json(&[&[&*archive, "--json"], &QUICK[..]].concat());
        assert_eq!((status, &told["verdict"]), (Some(0), &"measured".into()), "{told}");
        assert_eq!(told["inputs"], "made-up numbers, float32 [2]");
        assert!(rows(&told, "weights_as_inputs.onnx", 4)[0]["milliseconds"]["median"].is_f64());
        let twin = rows(&told, "batch_of_one.onnx", 1)[0];
        let parity = &twin["parity"];
        assert_eq!(parity["same"], 1.0);
        assert!(parity["largest_difference"].as_f64().unwrap() < 1e-5, "rounding: {parity}");
        assert!(rows(&told, "batch_of_one.onnx", 4).is_empty());
        let why = |file: &str| {
            let not_measured = told["not_measured"].as_array().unwrap();
            not_measured.iter().find(|of| of["file"] == file).unwrap().clone()
        };
        let unfit = why("batch_of_one.onnx");
        assert_eq!((&unfit["batch_size"], &unfit["failed"]), (&4.into(), &false.into()));
        assert_eq!(unfit["reason"], "takes batches of 1 alone");
        assert_eq!(why("later.onnx")["failed"], true);
        assert!(why("later.onnx")["reason"].as_str().unwrap().contains("later.onnx"), "{told}");
    }

    #[test]
    fn a_table_is_printed_and_answers_that_differ_are_a_status_where_that_is_asked() {
        let store = Store::new();
        let archive = archive(&store, &["identity_fp32.onnx"]);
        let ended = bench(&[&[&*archive], &QUICK[..]].concat());
        let told = text(&ended.stdout);
        assert_eq!(ended.status.code(), Some(0), "{told}");
        for words in ["identity_fp32.onnx", "median ms", "m 1.0 on cpu, the network alone: "] {
            assert!(told.contains(words), "{told}");
        }
        assert!(ended.stderr.is_empty(), "nobody waits at a terminal");
        let least = ["--min-parity", "0.999"];
        let ended = bench(&[&[&*archive], &QUICK[..], &least].concat());
        assert_eq!(ended.status.code(), Some(1));
        let told = text(&ended.stderr);
        assert!(told.contains("identity_fp32.onnx (ONNX Runtime) at batch "), "{told}");
        assert!(told.contains("--min-parity is 0.999"), "{told}");
        let (status, told) = json(&[&[&*archive, "--json"], &QUICK[..], &least].concat());
        assert_eq!((status, &told["verdict"]), (Some(1), &"differs".into()), "{told}");
        assert!(told["reason"].as_str().unwrap().contains("identity_fp32.onnx"), "{told}");
    }

    #[test]
    fn parity_that_cannot_be_shown_is_missed() {
        let store = Store::new();
        let archive = archive(&store, &["later.onnx"]);
        let ended = bench(&[&[&*archive, "--min-parity", "0.5"], &QUICK[..]].concat());
        assert_eq!(ended.status.code(), Some(1));
        let told = text(&ended.stderr);
        assert!(told.contains("later.onnx") && told.contains("did not run"), "{told}");
    }
}
