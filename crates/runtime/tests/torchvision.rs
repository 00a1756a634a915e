//! torchvision's detectors on plain libtorch, against what torchvision itself made of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use mar_handler::{Epilogue, ErrorCode, LoadSpec, Model, Runtime, Tensor};
use serde_json::Value;

fn parity(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/detector").join(file)
}

fn open(network: &str) -> Arc<dyn Model> {
    let file = parity(&format!("{network}.pt"));
    mar_runtime::Torch::start().load(&LoadSpec::new(file)).unwrap()
}

/// An image as `ToTensor` gives it.
fn image(file: &str) -> Tensor {
    let mut reader = png::Decoder::new(BufReader::new(File::open(parity(file)).unwrap()));
    reader.set_transformations(png::Transformations::IDENTITY);
    let mut reader = reader.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    let (height, width) = (info.height as usize, info.width as usize);
    let channel = |c: usize| pixels.iter().skip(c).step_by(3).map(|v| f32::from(*v) / 255.0);
    Tensor::from_vec(&[3, height, width], (0..3).flat_map(channel).collect()).unwrap()
}

fn calls() -> Vec<Value> {
    let table: Value =
        serde_json::from_reader(BufReader::new(File::open(parity("expected.json")).unwrap()))
            .unwrap();
    table["calls"].as_array().unwrap().clone()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The numbers in a list, or in a list of lists.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

fn entry<'a>(answer: &'a [Tensor], name: &str) -> &'a Tensor {
    answer.iter().find(|tensor| tensor.name() == Some(name)).unwrap()
}

/// The largest difference between a tensor's numbers and those expected.
fn difference(got: &Tensor, expected: &Value) -> f64 {
    let expected = numbers(expected);
    let got = got.as_slice::<f32>().unwrap();
    assert_eq!(got.len(), expected.len());
    got.iter()
        .zip(&expected)
        .map(|(got, expected)| (f64::from(*got) - expected).abs())
        .fold(0.0, f64::max)
}

#[test]
fn the_operations_give_torchvisions_own_results() {
    let model = open("operations");
    let nothing = Tensor::from_vec(&[1], vec![0_f32]).unwrap();
    let answer = model.forward(vec![nothing], Epilogue::None).unwrap();
    let mut cases = 0;
    for expected in &answer {
        let Some(case) = expected.name().unwrap().strip_prefix("expected ") else { continue };
        let got = entry(&answer, case);
        assert_eq!((got.dtype(), got.shape()), (expected.dtype(), expected.shape()), "{case}");
        if case == "roi_align: halves" {
            // Sums in another order, rounded to halves: by one step at most, of values below 4.
            let half = |tensor: &Tensor| {
                tensor
                    .bytes()
                    .chunks_exact(2)
                    .map(|two| half(u16::from_ne_bytes([two[0], two[1]])))
                    .collect::<Vec<_>>()
            };
            for (got, expected) in half(got).into_iter().zip(half(expected)) {
                assert!((got - expected).abs() <= 2e-3, "{case}: {got} is not {expected}");
            }
        } else {
            assert!(got.bytes() == expected.bytes(), "{case} differs");
        }
        cases += 1;
    }
    assert_eq!(cases, 18);
}

#[test]
fn a_box_that_is_endless_along_one_side_and_empty_along_the_other_gives_zeros() {
    let features = Tensor::from_vec(&[1, 1, 4, 4], vec![1_f32; 16]).unwrap();
    let pooled = open("endless").forward(vec![features], Epilogue::None).unwrap();
    assert_eq!(pooled[0].as_slice::<f32>().unwrap(), [0.0; 4]);
}

/// A number in half precision.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (bits >> 15, i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2_f32.powi(-24),
        _ => (1024.0 + fraction) * 2_f32.powi(exponent - 25),
    };
    if sign == 1 { -size } else { size }
}

#[test]
fn a_box_of_an_image_that_is_not_there_is_refused() {
    let features = Tensor::from_vec(&[1, 1, 4, 4], vec![0_f32; 16]).unwrap();
    let error = open("refused").forward(vec![features], Epilogue::None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PredictionFailed);
    assert!(error.message().contains("a box belongs to image 1 of 1"), "{error}");
}

#[test]
fn every_detector_finds_what_torchvision_finds() {
    let mut networks = Vec::new();
    for call in calls() {
        let name = call["network"].as_str().unwrap();
        let files = texts(&call["files"]);
        if networks.last().is_none_or(|(last, _)| last != name) {
            networks.push((name.to_owned(), open(name)));
        }
        let (_, model) = networks.last().unwrap();
        let found = model.forward_list(files.iter().map(|file| image(file)).collect()).unwrap();
        assert_eq!(found.len(), files.len());
        let mut names: Vec<_> = found[0].iter().map(|tensor| tensor.name().unwrap()).collect();
        let mut entries = texts(&call["entries"]);
        names.sort_unstable();
        entries.sort_unstable();
        assert_eq!(names, entries, "{name}");
        for (got, expected) in found.iter().zip(call["found"].as_array().unwrap()) {
            let labels = entry(got, "labels").as_slice::<i64>().unwrap();
            assert_eq!(serde_json::json!(labels), expected["labels"], "{name} {files:?}");
            let boxes = difference(entry(got, "boxes"), &expected["boxes"]);
            assert!(boxes <= 1e-3, "{name} {files:?}: a side is {boxes} pixels off");
            let scores = difference(entry(got, "scores"), &expected["scores"]);
            assert!(scores <= 1e-5, "{name} {files:?}: a score is {scores} off");
            assert!(!labels.is_empty());
        }
    }
    assert_eq!(networks.len(), 6);
}

#[test]
fn a_scripted_detector_is_loaded_once_a_worker_because_it_keeps_its_anchors() {
    for call in calls() {
        assert!(!open(call["network"].as_str().unwrap()).is_shareable());
    }
}

#[test]
fn a_network_traced_with_one_image_is_run_image_by_image() {
    let model = open("traced");
    let both = model.forward_list(vec![image("a.png"), image("b.png")]).unwrap();
    let expected =
        calls().into_iter().find(|call| call["files"].as_array().unwrap().len() == 2).unwrap();
    for (got, expected) in both.iter().zip(expected["found"].as_array().unwrap()) {
        assert!(got.iter().all(|tensor| tensor.name().is_none()));
        let [boxes, labels, scores] = &got[..] else { panic!("three tensors, not {}", got.len()) };
        assert!(difference(boxes, &expected["boxes"]) <= 1e-3);
        assert!(difference(scores, &expected["scores"]) <= 1e-5);
        assert_eq!(serde_json::json!(labels.as_slice::<i64>().unwrap()), expected["labels"]);
    }
}
