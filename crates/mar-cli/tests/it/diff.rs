//! `mar diff`.

use serde_json::Value;

use crate::bench::{Bench, weights};

fn two() -> Bench {
    let bench = Bench::with_model();
    bench.pack(&["--serialized-file", "weights.pt", "--extra-files", "labels.txt"]);
    std::fs::rename(bench.path("m.mar"), bench.path("a.mar")).unwrap();
    bench
}

#[test]
fn the_same_contents_in_other_forms_and_at_other_times_are_the_same() {
    let bench = two();
    for (form, file) in [("default", "m.mar"), ("tgz", "m.tar.gz"), ("no-archive", "m")] {
        let inputs = ["--serialized-file", "weights.pt", "--extra-files", "labels.txt"];
        let arguments = [
            &["pack", "--model-name", "m", "-v", "1.0", "--handler", "mask_segmenter"],
            &inputs[..],
        ]
        .concat();
        let mut command = bench.command(&[&arguments[..], &["--archive-format", form]].concat());
        assert!(command.env("SOURCE_DATE_EPOCH", "1").status().unwrap().success());
        let ran = bench.mar(&["diff", "a.mar", file]);
        assert_eq!(ran.status, 0, "{form}: {}{}", ran.out, ran.err);
        let expected = "manifest createdOn: 14/11/2023 22:13:20 -> 01/01/1970 00:00:01\n\
                        same contents; the weights are the same\n";
        assert_eq!(ran.out, expected);
    }
}

#[test]
fn every_difference_is_named() {
    let bench = two();
    bench.write("weights.pt", weights(5001));
    bench.write("new.txt", "new");
    bench.pack(&[
        "--handler",
        "tensor",
        "--serialized-file",
        "weights.pt",
        "--extra-files",
        "new.txt",
    ]);
    let ran = bench.mar(&["diff", "a.mar", "m.mar"]);
    let expected = "manifest model.handler: mask_segmenter -> tensor\nremoved labels.txt\n\
                    added new.txt\nchanged weights.pt\ndifferent contents; the weights changed\n";
    assert_eq!((ran.status, ran.out.as_str()), (1, expected));
}

#[test]
fn weights_that_only_changed_their_name_are_the_same_weights() {
    let bench = two();
    std::fs::rename(bench.path("weights.pt"), bench.path("renamed.pt")).unwrap();
    bench.pack(&["--serialized-file", "renamed.pt", "--extra-files", "labels.txt"]);
    let ran = bench.mar(&["diff", "--json", "a.mar", "m.mar"]);
    assert_eq!(ran.status, 1);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["weights"], "same");
    assert_eq!(report["same"], false);
    assert_eq!(report["added"][0], "renamed.pt");
    assert_eq!(report["manifest"][0]["field"], "model.serializedFile");
}

#[test]
fn an_archive_that_cannot_be_read_is_status_2() {
    let bench = two();
    let ran = bench.mar(&["diff", "a.mar", "gone.mar"]);
    assert!(ran.status == 2 && ran.err.contains("cannot open gone.mar"), "{}", ran.err);
    bench.write("bad.mar", "PK\x03\x04");
    assert_eq!(bench.mar(&["diff", "bad.mar", "a.mar"]).status, 2);
}
