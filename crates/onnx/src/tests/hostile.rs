//! Bytes of any kind: no panic, no endless loop, no memory by a number in the file.

use prost::encoding::DecodeContext;

use super::{open, read, small};
use crate::Network;

/// Asks everything of a network that was read from bytes that may mean anything.
fn ask(network: &Network) {
    let _ = network.about();
    let _ = (network.signature(), network.dot(), network.external());
    let _ = network.check(&|_| None);
    let _ = network.check(&|_| Some(u64::MAX));
}

#[test]
fn any_byte_may_be_any_other() {
    for file in small() {
        let whole = std::fs::read(file).unwrap();
        for place in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[place] ^= flip;
                if let Ok(network) = read(&bytes) {
                    ask(&network);
                }
            }
        }
    }
}

#[test]
fn a_file_that_ends_early_is_told() {
    for file in small() {
        let whole = std::fs::read(&file).unwrap();
        for length in 0..whole.len() {
            // Where it ends behind a field, the rest of the check has to notice.
            let problems = match read(&whole[..length]) {
                Ok(network) => network.check(&|_| Some(u64::MAX)).problems,
                Err(cause) => vec![cause],
            };
            // What stands last are versions of domains and notes; those that no node needs may be missing.
            let spared = spared(&whole).contains(&length);
            assert!(!problems.is_empty() || spared, "{} at {length}", file.display());
        }
    }
}

/// The fields `opset_import` and `metadata_props` of a model.
const VERSIONS: u32 = 8;
const NOTES: u32 = 14;

/// Where each of the versions of operators and notes begins with which a file ends.
fn spared(file: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut rest = file;
    while !rest.is_empty() {
        let start = file.len() - rest.len();
        let (tag, wire) = prost::encoding::decode_key(&mut rest).unwrap();
        if [VERSIONS, NOTES].contains(&tag) {
            starts.push(start);
        } else {
            starts.clear();
        }
        prost::encoding::skip_field(wire, tag, &mut rest, DecodeContext::default()).unwrap();
    }
    starts
}

#[test]
fn nesting_ends() {
    // A graph in an attribute of a node of a graph, and so on: five fields of length-delimited bytes each.
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        for tag in [6_u8, 5, 1] {
            let mut outer = vec![tag << 3 | 2];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
    }
    let mut model = vec![7 << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut model);
    model.append(&mut bytes);
    let error = read(&model).unwrap_err();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn weights_are_not_read() {
    // A sparse file: a network whose one weight takes four gigabytes.
    use std::io::{Seek, SeekFrom, Write};
    const LENGTH: u64 = 4 << 30;
    let mut tensor = vec![1 << 3];
    prost::encoding::encode_varint(LENGTH / 4, &mut tensor);
    tensor.extend([2 << 3, 1, 8 << 3 | 2, 1, b'w', 9 << 3 | 2]);
    prost::encoding::encode_varint(LENGTH, &mut tensor);
    let mut graph = vec![5 << 3 | 2];
    prost::encoding::encode_varint(tensor.len() as u64 + LENGTH, &mut graph);
    graph.append(&mut tensor);
    // An output, which is the weight.
    let output = [12 << 3 | 2, 3, 1 << 3 | 2, 1, b'w'];
    let mut model = vec![1 << 3, 10, 8 << 3 | 2, 2, 2 << 3, 20, 7 << 3 | 2];
    prost::encoding::encode_varint(graph.len() as u64 + LENGTH + output.len() as u64, &mut model);
    model.append(&mut graph);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&model).unwrap();
    file.seek(SeekFrom::Current(i64::try_from(LENGTH).unwrap())).unwrap();
    file.write_all(&output).unwrap();
    let network = Network::read(file).unwrap();
    let about = network.about();
    assert_eq!((about.weights.tensors, about.weights.bytes), (1, LENGTH));
    assert_eq!(about.outputs[0].name, "w");
    assert_eq!(network.check(&|_| None).problems, Vec::<String>::new());
}

#[test]
fn a_forest_of_hundreds_of_megabytes_is_read() {
    // A node with attributes that take 300 MiB, a text of 1 KiB after the other.
    let field = |tag: u8, content: &[u8]| {
        let mut bytes = vec![tag << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    };
    let texts = field(9, &[b'a'; 1 << 10]).repeat(300 << 10);
    let attribute = [field(1, b"nodes_modes"), texts].concat();
    let node = [field(2, b"y"), field(4, b"Constant"), field(5, &attribute)].concat();
    let graph = [field(1, &node), field(12, &field(1, b"y"))].concat();
    let model = [&[1 << 3, 10, 8 << 3 | 2, 2, 2 << 3, 20][..], &field(7, &graph)].concat();
    let network = read(&model).unwrap();
    assert_eq!(network.check(&|_| None).problems, Vec::<String>::new());
}

#[test]
fn a_file_that_is_something_else_says_so() {
    for (bytes, says) in [
        (&b""[..], "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html>", "is no ONNX file"),
        (b"PK\x03\x04 a zip", "is no ONNX file"),
        (b"\x80\x02ccollections", "is no ONNX file"),
        (&[0; 64], "is no ONNX file"),
        (b"\x08\x0a", "holds no network"),
    ] {
        let error = read(bytes).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let whole = std::fs::read(super::fixtures().join("segmenter.onnx")).unwrap();
    let error = read(&[&*whole, &[0; 9]].concat()).unwrap_err();
    assert!(error.contains(&format!("what is at byte {} of", whole.len())), "{error}");
    let error = read(&whole[..100]).unwrap_err();
    assert!(error.contains("is cut off: it has 100 bytes of at least"), "{error}");
    // A field that no model has: ONNX Runtime passes over it.
    let network = read(&[&*whole, b"\xf2\x3f\x03abc"].concat()).unwrap();
    let findings = network.check(&|_| None);
    assert_eq!(findings.problems, Vec::<String>::new());
    assert!(findings.warnings[0].contains("6 bytes are no part"), "{findings:?}");
    assert_eq!(open("segmenter.onnx").check(&|_| None).warnings, Vec::<String>::new());
}
