use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, post};
use crate::support::server::TestServer;
use crate::support::store::{Store, repository};

const NAMES: [&str; 7] =
    ["wide.png", "small.png", "gray.png", "palette.png", "alpha.png", "photo.jpg", "gray.jpg"];

fn parity(file: &str) -> PathBuf {
    repository("tests/parity/handlers").join(file)
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(parity("expected.json")).unwrap()).unwrap()
}

fn served(archive: &str) -> TestServer {
    TestServer::of_archive(parity(archive), "m", 1)
}

/// A server of a network behind `tensor`.
fn tensors(weights: &str, config: &str) -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.network("tensor", parity(weights), config, &[]);
    let server = TestServer::of_archive(archive, "m", 1);
    (store, server)
}

/// Both hold the same, numbers to a hundred-thousandth.
fn assert_near(got: &Value, expected: &Value, what: &str) {
    match (got, expected) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{what}: {got} for {expected}");
            a.values().zip(b.values()).for_each(|(a, b)| assert_near(a, b, what));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{what}: {got} for {expected}");
            a.iter().zip(b).for_each(|(a, b)| assert_near(a, b, what));
        }
        _ => {
            let number =
                |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{what}: {value}"));
            assert!((number(got) - number(expected)).abs() <= 1e-5, "{what}: {got} for {expected}");
        }
    }
}

/// An answer is TorchServe's: the same classes in the same order, the same form but for last digits.
fn check(got: &Answer, expected: &Value, what: &str) {
    assert_eq!(got.status, 200, "{what}: {}", got.text());
    let expected = expected.as_str().unwrap();
    assert_near(&got.json(), &serde_json::from_str(expected).unwrap(), what);
    let without_digits =
        |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    assert_eq!(without_digits(got.text()), without_digits(expected), "{what}");
}

#[test]
fn images_are_classified_as_torchserve_classifies_them() {
    let server = served("classifier.mar");
    let url = server.inference("/predictions/m");
    let expected = expected();
    for image in NAMES {
        let got = post(&url, &fs::read(parity(image)).unwrap());
        check(&got, &expected["classifier"][image], image);
        assert_eq!(got.header("x-parity"), Some("exact"));
    }
}

#[test]
fn a_batch_of_images_is_answered_as_each_of_them_alone() {
    let server = TestServer::of_archive(parity("classifier.mar"), "m", NAMES.len());
    let url = server.inference("/predictions/m");
    let expected = expected();
    thread::scope(|scope| {
        for image in NAMES {
            let (url, expected) = (&url, &expected["classifier"][image]);
            scope.spawn(move || {
                check(&post(url, &fs::read(parity(image)).unwrap()), expected, image);
            });
        }
    });
}

/// The bytes of an 8-bit grayscale PNG.
fn gray(file: &PathBuf) -> Vec<u8> {
    let mut decoder = png::Decoder::new(BufReader::new(File::open(file).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(
        (info.color_type, info.bit_depth),
        (png::ColorType::Grayscale, png::BitDepth::Eight)
    );
    bytes
}

#[test]
fn every_pixel_has_torchserves_class_and_probability() {
    let server = served("segmenter.mar");
    let url = server.inference("/predictions/m");
    let expected = expected();
    for image in NAMES {
        let told = post(&url, &fs::read(parity(image)).unwrap());
        assert_eq!(told.status, 200, "{image}: {}", told.text());
        let got: Vec<Vec<[f32; 2]>> = serde_json::from_slice(&told.body).unwrap();
        let expected = &expected["segmenter"][image];
        assert_eq!(expected["shape"], json!([got.len(), got[0].len(), 2]), "{image}");
        let mask = gray(&parity(expected["mask"].as_str().unwrap()));
        let classes = got.iter().flatten().map(|[class, _]| *class);
        let differ = classes.zip(&mask).filter(|(a, b)| (a - f32::from(**b)).abs() > 0.0).count();
        println!("{image}: {differ} of {} pixels differ from TorchServe's", mask.len());
        assert!(10_000 * differ <= mask.len(), "{image}: {differ} pixels differ");
        let grid = usize::try_from(expected["grid"].as_u64().unwrap()).unwrap();
        let rows = got.iter().step_by(grid);
        let probabilities: Vec<Vec<f32>> =
            rows.map(|row| row.iter().step_by(grid).map(|[_, p]| *p).collect()).collect();
        assert_near(&json!(probabilities), &expected["probabilities"], image);
    }
}

#[test]
fn texts_are_classified_as_torchserve_classifies_them() {
    let expected = expected();
    let topics = expected["topics"].as_object().unwrap();
    let server = served("topics.mar");
    let url = server.inference("/predictions/m");
    for (text, expected) in topics {
        check(&post(&url, text.as_bytes()), expected, text);
        let form = ureq::unversioned::multipart::Form::new().text("data", text);
        check(&answer(agent().post(&url).send(form)), expected, text);
    }
    assert!(topics.len() >= 6);
}

#[test]
fn texts_of_one_length_share_a_batch() {
    let expected = expected();
    let (text, expected) = expected["topics"].as_object().unwrap().iter().next().unwrap();
    let server = TestServer::of_archive(parity("topics.mar"), "m", 3);
    let url = server.inference("/predictions/m");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| check(&post(&url, text.as_bytes()), expected, text));
        }
    });
}

#[test]
fn rows_of_a_table_come_as_json_and_as_numpys_files() {
    let expected = &expected()["table"];
    let (_store, server) = tensors("table.pt", "handler: {inputs: [{shape: [4]}]}");
    let url = server.inference("/predictions/m");
    let rows = expected["x"].as_array().unwrap().iter().zip(expected["y"].as_array().unwrap());
    for (x, y) in rows {
        assert_near(&post(&url, x.to_string().as_bytes()).json(), y, "a row");
    }
    let file = post(&format!("{url}?format=npy"), &fs::read(parity("row.npy")).unwrap());
    let numpys = fs::read(parity("scores.npy")).unwrap();
    // Three numbers of four bytes; everything before them is NumPy's to the byte.
    assert_eq!(file.body.len(), numpys.len());
    assert_eq!(file.body[..file.body.len() - 12], numpys[..numpys.len() - 12]);
    let again = post(&url, &fs::read(parity("row.npy")).unwrap());
    assert_near(&again.json(), &expected["y"][0], "a row of NumPy's");
    let (code, _, message) = post(&url, b"[1, 2, 3]").error();
    assert_eq!(code, 400);
    assert!(message.contains("shape [3] does not fit [4]"), "{message}");

    let config = "handler: {activation: softmax, labels: [a, b, c]}";
    let (_store, server) = tensors("table.pt", config);
    let told = post(&server.inference("/predictions/m"), expected["x"][0].to_string().as_bytes());
    let [a, b, c] = [0, 1, 2].map(|i| &expected["softmax"][0][i]);
    assert_near(&told.json(), &json!({ "a": a, "b": b, "c": c }), "with labels");
}

#[test]
fn a_network_of_two_inputs_and_outputs_has_names_for_them() {
    let expected = &expected()["two_inputs"];
    let config = "handler:\n  inputs: [{name: category, dtype: int64, shape: []}, {name: numbers}]\n  outputs: [scores, largest]\n";
    let (_store, server) = tensors("two_inputs.pt", config);
    let body = json!({ "category": expected["category"], "numbers": expected["numbers"] });
    let told = post(&server.inference("/predictions/m"), body.to_string().as_bytes());
    let wanted = json!({ "scores": expected["scores"], "largest": expected["largest"] });
    assert_eq!(told.status, 200, "{}", told.text());
    assert_near(&told.json(), &wanted, "by name");
}
