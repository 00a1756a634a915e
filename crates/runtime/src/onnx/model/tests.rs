//! Models bound as on a device, with the processor's memory in its place, and models that take one item at a time.

use std::fs;
use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> LoadSpec {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/onnx");
    LoadSpec::new(folder.join(format!("{name}.onnx")))
}

fn load(name: &str) -> OnnxModel {
    let spec = fixture(name);
    let files = Files::checked(&spec.file).unwrap();
    OnnxModel::load(&Library::start().unwrap(), &spec, files).unwrap()
}

/// The model as it would be on a device.
fn bound(name: &str) -> OnnxModel {
    let library = Library::start().unwrap();
    let steps = Steps::new(&library, &fixture(name), Some(Places::of_processor()));
    OnnxModel { steps, ..load(name) }
}

fn floats(shape: &[usize]) -> Tensor {
    let count = u16::try_from(shape.iter().product::<usize>()).unwrap();
    Tensor::from_vec(shape, (0..count).map(|value| f32::from(value % 7)).collect()).unwrap()
}

#[test]
fn a_bound_run_gives_what_a_plain_one_gives() {
    let texts = Tensor::from_strings(&[2, 1], ["nul\0 within", ""]).unwrap();
    let whole = Tensor::from_vec(&[1, 16], (0..16).collect::<Vec<i32>>()).unwrap();
    for (name, inputs) in [
        ("identity_string", vec![texts]),
        ("simple", vec![whole.clone(), whole]),
        ("segmenter", vec![floats(&[2, 3, 4, 5])]),
        ("external", vec![floats(&[3, 2])]),
        ("scalar", vec![floats(&[3, 2])]),
    ] {
        let (plain, bound) = (load(name), bound(name));
        let answers = bound.forward(inputs.clone(), Epilogue::None).unwrap();
        assert_eq!(answers, plain.forward(inputs, Epilogue::None).unwrap(), "{name}");
    }
}

#[test]
fn an_epilogue_on_the_device_gives_what_the_host_gives() {
    let (plain, bound) = (load("segmenter"), bound("segmenter"));
    for inputs in [vec![floats(&[2, 3, 4, 5])], vec![floats(&[0, 3, 4, 5])]] {
        for epilogue in [
            Epilogue::ArgMax { dim: 1 },
            Epilogue::ArgMaxWithProbability { dim: 1 },
            Epilogue::Softmax { dim: 1 },
            Epilogue::TopK { k: 2 },
        ] {
            let here = bound.forward(inputs.clone(), epilogue).unwrap();
            let host = plain.forward(inputs.clone(), epilogue).unwrap();
            assert_eq!(here.len(), host.len());
            for (here, host) in here.iter().zip(&host) {
                let told = |tensor: &Tensor| {
                    (tensor.dtype(), tensor.shape().to_vec(), tensor.name().is_none())
                };
                assert_eq!(told(here), told(host), "{epilogue:?}");
                let far =
                    |place| (here.numbers().at(place) - host.numbers().at(place)).abs() > 1e-6;
                assert!(!(0..host.numbers().len()).any(far), "{epilogue:?}");
            }
        }
    }
}

#[test]
fn failures_of_a_bound_run_are_those_of_a_plain_one() {
    let rows = |n: usize| floats(&[n, 3]);
    let failed = |model: &OnnxModel| {
        model.forward(vec![rows(2), rows(5)], Epilogue::None).unwrap_err().message().to_owned()
    };
    let bound = bound("add_fp32");
    assert_eq!(failed(&bound), failed(&load("add_fp32")));
    assert!(bound.forward(vec![rows(2), rows(2)], Epilogue::None).is_ok());
    let missing = bound.forward(vec![rows(2), rows(2)], Epilogue::ArgMax { dim: 5 }).unwrap_err();
    assert!(missing.message().contains("shape [2, 3]"), "{missing}");
}

#[test]
fn a_batch_of_one_is_made_for_a_network_that_takes_batches_and_taken_off_its_answer() {
    let model = load("segmenter");
    let images = vec![floats(&[3, 2, 2]), floats(&[3, 4, 5])];
    let answers = model.forward_list(images.clone()).unwrap();
    assert_eq!(answers.len(), 2);
    for (image, answer) in images.into_iter().zip(&answers) {
        let shape = [&[1], image.shape()].concat();
        let batch = model.forward(vec![image.reshape(&shape).unwrap()], Epilogue::None).unwrap();
        assert_eq!(answer[0].shape(), &batch[0].shape()[1..]);
        assert_eq!(answer[0].bytes(), batch[0].bytes());
        assert_eq!(answer[0].name(), Some("output"));
    }
}

#[test]
fn a_network_that_takes_one_image_is_run_for_each_and_its_outputs_keep_their_names() {
    let model = load("detector");
    let bright = Tensor::from_vec(&[3, 2, 2], vec![0.9_f32; 12]).unwrap();
    let dark = Tensor::from_vec(&[3, 1, 4], vec![0.1_f32; 12]).unwrap();
    let answers = model.forward_list(vec![bright, dark]).unwrap();
    let names = answers[0].iter().map(Tensor::name).collect::<Vec<_>>();
    assert_eq!(names, [Some("boxes"), Some("labels"), Some("scores")]);
    // A box for the whole of a bright image, none for a dark one.
    assert_eq!(answers[0][0].shape(), [1, 4], "one box is not taken for a batch");
    assert_eq!(answers[0][0].as_slice::<f32>().unwrap(), [0.0, 0.0, 2.0, 2.0]);
    assert_eq!(answers[0][1].as_slice::<i64>().unwrap(), [1]);
    assert_eq!(answers[1][0].shape(), [0, 4]);
    assert!(model.forward_list(Vec::new()).unwrap().is_empty());
    let error = model.forward_list(vec![floats(&[2, 2])]).unwrap_err();
    assert!(error.message().contains("\"image\""), "{error}");
    assert!(fs::exists(fixture("detector").file).unwrap());
}
