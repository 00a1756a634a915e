//! A request to a handler's tensors, and its tensors to an answer, in the forms that clients send and ask for.

#[path = "../../benches/calibration.rs"]
mod calibration;

#[path = "../src/in_base64.rs"]
#[expect(dead_code, unused_imports, reason = "its tests, which no benchmark runs")]
mod in_base64;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use divan::Bencher;
use mar_handler::{Context, Handler, Part, Request, Tensor};
use mar_handlers::all;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// The photograph that the example is served with, and what its network makes of it.
const SCENE: &[u8] = include_bytes!("../../examples/street_scenes/sample/scene.jpg");
const MASK: &[u8] = include_bytes!("../../examples/street_scenes/sample/scene.jpg.mask.raw");

/// Bytes in base64: the example's mask, one of 384 x 512, and a large photograph.
const LENGTHS: [usize; 3] = [12_288, 196_608, 1_000_000];

fn handler(name: &str, section: &Value) -> Box<dyn Handler> {
    let config = json!({ "handler": section });
    let context = Context {
        model_name: "m".into(),
        model_version: "1.0".into(),
        config: config.as_object().expect("a mapping").clone(),
        ..Context::default()
    };
    let registration = all().into_iter().find(|it| it.name() == name).expect("a handler");
    registration.initialize(&context).expect("its section")
}

/// The example's.
fn segmenter() -> Box<dyn Handler> {
    let section = json!({
        "size": [96, 128],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "labels": ["sky", "building", "road", "sidewalk", "car", "tree", "pedestrian"],
    });
    handler("mask_segmenter", &section)
}

fn request(body: Vec<u8>, content_type: &str, query: &[(&str, &str)]) -> Request {
    let part =
        Part { name: "body".into(), content_type: Some(content_type.into()), data: body.into() };
    let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Request { parts: vec![part], query: query.collect(), ..Request::default() }
}

#[divan::bench(args = ["jpeg", "base64"])]
fn image_sent_as(bencher: Bencher<'_, '_>, form: &str) {
    let handler = segmenter();
    let request = if form == "jpeg" {
        request(SCENE.to_vec(), "image/jpeg", &[])
    } else {
        let body = json!({ "data": BASE64_STANDARD.encode(SCENE) }).to_string();
        request(body.into(), "application/json", &[])
    };
    assert!(handler.preprocess(&request).is_ok(), "what is measured is no error");
    bencher.bench(|| handler.preprocess(&request));
}

#[divan::bench(args = ["base64", "png", "raw", "npy", "rle", "polygons", "areas"])]
fn mask_answered_as(bencher: Bencher<'_, '_>, format: &str) {
    let handler = segmenter();
    let request = request(SCENE.to_vec(), "image/jpeg", &[("format", format)]);
    handler.preprocess(&request).expect("it keeps where the image was");
    let outputs = vec![Tensor::from_vec(&[96, 128], MASK.to_vec()).expect("a mask")];
    assert!(handler.postprocess(outputs.clone(), &request).is_ok(), "what is measured is no error");
    let outputs = || outputs.clone();
    bencher.with_inputs(outputs).bench_values(|outputs| handler.postprocess(outputs, &request));
}

/// Nothing but base64.
#[divan::bench(args = LENGTHS)]
fn base64_encode(bencher: Bencher<'_, '_>, length: usize) {
    let bytes: Vec<u8> = SCENE.iter().copied().cycle().take(length).collect();
    bencher.bench(|| {
        let mut text = String::with_capacity(2 * bytes.len());
        in_base64::append(&bytes, &mut text);
        text
    });
}

#[divan::bench(args = LENGTHS)]
fn base64_decode(bencher: Bencher<'_, '_>, length: usize) {
    let bytes: Vec<u8> = SCENE.iter().copied().cycle().take(length).collect();
    let text = BASE64_STANDARD.encode(&bytes);
    bencher.bench(|| in_base64::decode(text.as_bytes()));
}
