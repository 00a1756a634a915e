use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mar::{PackOptions, PackSample};
use mar_engine::VersionState;
use mar_handler::ErrorCode;
use png::{BitDepth, ColorType};
use serde_json::{Value, json};

use crate::support::http::{agent, answer, post, put};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// The moments of `ImageNet` by which `image_classifier` and `image_segmenter` normalise.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

fn network(file: &str) -> PathBuf {
    repository("tests/parity/onnx").join(file)
}

fn archive(store: &Store, handler: &str, weights: &str, extra_files: &[&str]) -> PathBuf {
    store.packed(options(handler, weights, extra_files))
}

fn options(handler: &str, weights: &str, extra_files: &[&str]) -> PackOptions {
    let extra = |file: &&str| network(file).to_str().unwrap().to_owned();
    PackOptions {
        model_name: "m".into(),
        handler: handler.into(),
        serialized_file: Some(network(weights)),
        extra_files: extra_files.iter().map(extra).collect(),
        ..PackOptions::default()
    }
}

fn server(archive: &Path) -> TestServer {
    let server =
        TestServer::start(settings(), mar_handlers::all(), Arc::new(mar_runtime::Onnx::start()));
    server.engine.load(None, archive).unwrap();
    assert_eq!(server.state("m"), VersionState::Ready, "scripts/setup fetches ONNX Runtime");
    server
}

/// A PNG of one colour, and that colour as the handlers normalise it.
fn picture(colour: [u8; 3]) -> (Vec<u8>, [f64; 3]) {
    const SIDE: u32 = 8;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIDE, SIDE);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&colour.repeat((SIDE * SIDE) as usize)).unwrap();
    writer.finish().unwrap();
    let level = |i: usize| (f64::from(colour[i]) / 255.0 - MEAN[i]) / DEVIATION[i];
    (file, [level(0), level(1), level(2)])
}

/// The rows of the classifier's matrix: what it answered to a picture of 1 in one channel, and what is
/// left of its answer to the colours 0.5, -1 and 2.
fn matrix() -> [Vec<f64>; 3] {
    let table: Value =
        serde_json::from_str(&fs::read_to_string(network("expected.json")).unwrap()).unwrap();
    let answer = |case: usize| -> Vec<f64> {
        let hex =
            table["networks"]["classifier"]["cases"][case]["outputs"]["output"]["hex"].clone();
        let hex = hex.as_str().unwrap().as_bytes().chunks_exact(8);
        let number = |digits: &[u8]| {
            let bits = u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            f64::from(f32::from_bits(bits.swap_bytes()))
        };
        hex.map(number).collect()
    };
    let both = answer(1);
    let (red, green) = both.split_at(1000);
    let mixed = answer(0);
    let blue = |i: usize| 0.5 * (mixed[i] + green[i]) - 0.25 * red[i];
    [red.to_vec(), green.to_vec(), (0..1000).map(blue).collect()]
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score.exp() / sum).collect()
}

#[test]
fn a_classifier_tells_the_likeliest_classes() {
    let store = Store::new();
    let server = server(&archive(&store, "image_classifier", "classifier.onnx", &[]));
    let matrix = matrix();
    for colour in [[255, 0, 0], [0, 200, 90], [3, 3, 250]] {
        let (file, levels) = picture(colour);
        let score = |class: usize| -> f64 { (0..3).map(|i| levels[i] * matrix[i][class]).sum() };
        let likely = softmax(&(0..1000).map(score).collect::<Vec<_>>());
        let mut classes: Vec<usize> = (0..1000).collect();
        classes.sort_by(|a, b| likely[*b].total_cmp(&likely[*a]));

        let answer = post(&server.inference("/predictions/m"), &file);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let told: Vec<(&String, f64)> =
            answer.as_object().unwrap().iter().map(|(k, v)| (k, v.as_f64().unwrap())).collect();
        assert_eq!(told.len(), 5);
        for ((class, probability), expected) in told.into_iter().zip(&classes) {
            assert_eq!(*class, expected.to_string(), "{colour:?}");
            assert!((probability - likely[*expected]).abs() < 1e-4, "{colour:?}: {probability}");
        }
    }
}

#[test]
fn a_segmenter_tells_the_class_of_every_pixel_and_how_sure_it_is() {
    let store = Store::new();
    let server = server(&archive(&store, "image_segmenter", "segmenter.onnx", &[]));
    for (colour, expected) in [([255, 0, 0], 0_u8), ([0, 0, 255], 2), ([0, 0, 0], 3)] {
        let (file, [red, green, blue]) = picture(colour);
        let fourth = 0.25 * (red + green + blue) + 0.1;
        let sure = softmax(&[red, green, blue, fourth])[usize::from(expected)];
        let answer = post(&server.inference("/predictions/m"), &file);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let rows = answer.json();
        let pixels: Vec<&Value> =
            rows.as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap()).collect();
        assert_eq!(pixels.len(), 224 * 224);
        for pixel in pixels {
            let (class, probability) = (pixel[0].as_f64().unwrap(), pixel[1].as_f64().unwrap());
            assert!((class - f64::from(expected)).abs() < 1e-6, "{colour:?}: {pixel}");
            assert!((probability - sure).abs() < 1e-4, "{colour:?}: {pixel}, not {sure}");
        }
    }
}

#[test]
fn weights_may_lie_in_a_file_beside_the_network() {
    let store = Store::new();
    let server = server(&archive(&store, "tensor", "external.onnx", &["external.weights"]));
    assert_eq!(multiplied(&server), json!([210.0, 5.0]));
}

/// What a network of two numbers answers to 1 and 2.
fn multiplied(server: &TestServer) -> Value {
    let request = agent().post(server.inference("/predictions/m"));
    let request = request.header("content-type", "application/json");
    let answer = answer(request.send(r#"{"data": [1.0, 2.0]}"#));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn a_network_of_a_batch_of_one_serves_requests_that_came_together() {
    let store = Store::new();
    let runtime = Arc::new(mar_runtime::Onnx::start());
    let server = TestServer::start(settings(), mar_handlers::all(), runtime);
    let overrides = mar_engine::Overrides {
        batch_size: Some(2),
        // No test outlives it: a batch goes once it is full.
        max_batch_delay: Some(Duration::from_secs(1000)),
        ..mar_engine::Overrides::default()
    };
    let archive = archive(&store, "tensor", "batch_of_one.onnx", &[]);
    let request = mar_engine::LoadRequest { archive, overrides, ..Default::default() };
    server.engine.load_as(&request).unwrap();
    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| multiplied(&server)));
        for answer in both {
            assert_eq!(answer.join().unwrap(), json!([210.0, 5.0]));
        }
    });
}

#[test]
fn a_network_that_does_not_open_is_told_and_its_neighbour_serves_on() {
    let (store, broken) = (Store::new(), Store::new());
    let server = server(&archive(&store, "tensor", "weights_as_inputs.onnx", &[]));
    let alone = archive(&broken, "tensor", "external.onnx", &[]);
    let named = mar_engine::LoadRequest {
        archive: alone,
        name: Some("alone".into()),
        ..mar_engine::LoadRequest::default()
    };
    let told = match server.engine.load_as(&named) {
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            error.message().to_owned()
        }
        Ok(_) => match server.state("alone") {
            VersionState::Failed(reason) => reason,
            other => panic!("it is {other:?}"),
        },
    };
    assert!(told.contains("external.onnx does not open as ONNX"), "{told}");
    assert!(told.contains("external.weights"), "{told}");
    assert_eq!(multiplied(&server), json!([210.0, 5.0]));
}

#[test]
fn two_workers_share_the_weights_and_answer_alike() {
    let store = Store::new();
    let server = server(&archive(&store, "image_classifier", "classifier.onnx", &[]));
    let scaled = put(&server.management("/models/m?min_worker=2&max_worker=2&synchronous=true"));
    assert_eq!(scaled.status, 200, "{}", scaled.text());
    let url = server.inference("/predictions/m");
    let expected = post(&url, &picture([9, 99, 200]).0).json();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(post(&url, &picture([9, 99, 200]).0).json(), expected);
                }
            });
        }
    });
}

/// Runs `marserve check` on an archive with a known answer; its status, and all it said.
fn checked(archive: &Path, library: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marserve"));
    command.arg("check").arg(archive).args(["--device", "cpu"]);
    if let Some(library) = library {
        command.env("ORT_DYLIB_PATH", library);
    }
    let ended = command.output().unwrap();
    let told = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(told).unwrap())
}

#[test]
fn known_answers_are_checked_and_a_missing_library_says_what_to_do() {
    let store = Store::new();
    let (input, known) = (store.path().join("row.json"), store.path().join("answer.json"));
    fs::write(&input, r#"{"data": [1.0, 2.0]}"#).unwrap();
    fs::write(&known, "[210.0, 5.0]").unwrap();
    let archive = store.packed(PackOptions {
        samples: vec![PackSample::read(&input, &known).unwrap()],
        ..options("tensor", "weights_as_inputs.onnx", &[])
    });
    let (status, told) = checked(&archive, None);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("reproduced"), "{told}");
    let (status, told) = checked(&archive, Some("/nowhere/libonnxruntime.so"));
    assert_eq!(status, Some(2), "not checked: {told}");
    assert!(told.contains("weights_as_inputs.onnx needs ONNX Runtime"), "{told}");
    assert!(told.contains("/nowhere/libonnxruntime.so does not open"), "{told}");
    assert!(told.contains("scripts/setup"), "{told}");
}
