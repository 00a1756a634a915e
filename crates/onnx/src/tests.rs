//! Files as they should be, which are those of `tests/parity/onnx`, and files as they should not.

mod broken;
mod drawn;
mod hostile;

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use crate::{Batch, External, Findings, Length, Network, beside, signature};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/onnx")
}

/// The small fixtures: all but the weights of a thousand classes.
fn small() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "onnx"))
        .filter(|path| path.metadata().unwrap().len() < 4000)
        .collect();
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    files
}

fn open(name: &str) -> Network {
    Network::read(File::open(fixtures().join(name)).unwrap()).unwrap()
}

fn read(bytes: &[u8]) -> Result<Network, String> {
    Network::read(Cursor::new(bytes))
}

#[test]
fn what_exporters_write_checks_out() {
    for file in small() {
        let findings = Network::open(&file).unwrap().check(&beside(&file));
        if file.ends_with("later.onnx") {
            let Findings { problems, .. } = findings;
            assert_eq!(
                problems,
                [
                    "its operators of \"ai.onnx\" are of version 999, and ONNX Runtime 1.28 has 1 to 26; export it with opset 26"
                ]
            );
        } else {
            assert_eq!(findings, Findings::default(), "{}", file.display());
        }
    }
}

#[test]
fn a_network_tells_what_it_takes_and_gives() {
    let about = open("segmenter.onnx").about();
    let told: Vec<_> = about.inputs.iter().chain(&about.outputs).map(|port| &*port.kind).collect();
    assert_eq!(told, ["FP32 [batch, 3, input_2, input_3]", "FP32 [batch, 4, output_2, output_3]"]);
    assert_eq!(about.inputs[0].shape.as_ref().unwrap()[1], Length::Fixed(3));
    assert_eq!(about.batch, Batch::Dynamic);
    assert_eq!((about.ir_version, about.producer.as_deref()), (Some(10), Some("marserve")));
    assert_eq!(
        about.opsets.into_iter().collect::<Vec<_>>(),
        [("ai.onnx".to_owned(), 20), ("ai.onnx.ml".to_owned(), 3)]
    );
    assert_eq!(about.operators.into_iter().collect::<Vec<_>>(), [("Conv".to_owned(), 1)]);
    assert_eq!((about.weights.tensors, about.weights.bytes), (2, (4 * 3 + 4) * 4));
    assert!(!about.quantised);

    assert_eq!(open("fixed_batch.onnx").about().batch, Batch::Fixed(4));
    assert_eq!(open("simple_string.onnx").about().inputs[0].kind, "BYTES [batch, 16]");
    assert_eq!(open("scalar.onnx").about().outputs[0].kind, "FP32");
    assert_eq!(open("sequence_input.onnx").about().inputs[0].kind, "sequence(FP32 [?])");
}

#[test]
fn nodes_within_nodes_are_counted() {
    let operators = open("busy.onnx").about().operators;
    assert_eq!(operators.get("Add"), Some(&2), "one of them in the loop");
    assert_eq!(operators.values().sum::<usize>(), 6);
}

#[test]
fn a_list_of_maps_of_numbers_is_a_tensor_of_two_sides() {
    let network = open("zipmap.onnx");
    let about = network.about();
    assert_eq!(about.outputs[1].kind, "sequence(map(INT64, FP32))");
    assert_eq!(about.operators.get("ai.onnx.ml::ZipMap"), Some(&1));
    let outputs = network.signature().outputs.unwrap();
    assert_eq!(outputs[1].dtype, Some(mar_handler::DType::F32));
    assert_eq!(outputs[1].shape, Some(vec![None, None]));
}

#[test]
fn files_beside_the_network_are_told_once() {
    let network = open("external.onnx");
    let file = External { location: "external.weights".to_owned(), tensors: 1, bytes: 16 };
    assert_eq!(network.external(), [file]);
    assert_eq!(network.about().weights.bytes, 16);
    let findings = |size| network.check(&move |name| (name == "external.weights").then_some(size?));
    assert_eq!(findings(Some(16)), Findings::default());
    let [cut_off] = &*findings(Some(15)).problems else { panic!() };
    assert!(cut_off.contains("\"external.weights\"") && cut_off.contains("15 of 16"), "{cut_off}");
    let [missing] = &*findings(None).problems else { panic!() };
    assert!(missing.contains("\"external.weights\"") && missing.contains("missing"), "{missing}");
}

#[test]
fn a_file_that_is_none_has_no_signature() {
    let signature = signature(&fixtures().join("make.py")).unwrap();
    assert_eq!((signature.inputs, signature.outputs), (None, None));
    let error = crate::signature(Path::new("/nowhere/m.onnx")).unwrap_err();
    assert!(error.message().contains("m.onnx cannot be read"), "{error}");
    let error = Network::open(&fixtures().join("make.py")).unwrap_err();
    assert_eq!(error.message(), "make.py: it is no ONNX file; export the network again");
}
