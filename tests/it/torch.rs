use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mar_engine::{TensorRequest, VersionState};
use mar_handler::{DType, Tensor};
use mar_server::Settings;
use mar_vision::{Pipeline, PipelineConfig, Samples};
use serde_json::Value;

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

fn example(path: &str) -> PathBuf {
    repository("examples/street_scenes").join(path)
}

fn street_scenes() -> (Store, TestServer) {
    let store = Store::new();
    let archive =
        store.segmenter("fastunet", &example("fastunet.pt"), &example("model-config.yaml"));
    let settings = Settings { max_request_size: 10_000_000, ..settings() };
    let server =
        TestServer::start(settings, mar_handlers::all(), Arc::new(mar_runtime::Torch::start()));
    server.engine.load(None, &archive).unwrap();
    assert_eq!(server.state("fastunet"), VersionState::Ready);
    (store, server)
}

fn mask(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    STANDARD.decode(answer.json()["base64_prediction"].as_str().unwrap()).unwrap()
}

/// The classes in a palette PNG, a byte a pixel, however few bits the file gives each.
fn classes(path: &Path) -> Vec<u8> {
    let mut decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut packed = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut packed).unwrap();
    assert_eq!(info.color_type, png::ColorType::Indexed);
    let bits = info.bit_depth as usize;
    let row = |row: &[u8]| -> Vec<u8> {
        let pixel = |i: usize| row[i * bits / 8] << (i * bits % 8) >> (8 - bits);
        (0..info.width as usize).map(pixel).collect()
    };
    packed.chunks(info.line_size).flat_map(row).collect()
}

/// The numbers of a NumPy file of little-endian float32.
fn npy(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "version 1.0");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = std::str::from_utf8(&bytes[10..10 + header]).unwrap();
    assert!(text.contains("'<f4'") && text.contains("False"), "{text}");
    let numbers = bytes[10 + header..].chunks_exact(4);
    numbers.map(|n| f32::from_le_bytes(n.try_into().unwrap())).collect()
}

#[test]
fn the_served_mask_is_fastais_own() {
    let (_store, server) = street_scenes();
    let url = server.inference("/predictions/fastunet");
    for scene in ["scene.jpg", "scene.png"] {
        let served = post(&url, &fs::read(example(&format!("sample/{scene}"))).unwrap());
        let described = served.json();
        let expected = classes(&example(&format!("sample/{scene}.mask.png")));
        let got = mask(&served);
        let side = |i: usize| usize::try_from(described["shape"][i].as_u64().unwrap()).unwrap();
        assert_eq!(side(0) * side(1), expected.len());
        assert_eq!(described["dtype"], "uint8");
        assert_eq!(described["labels"][0], "sky");
        let labels = described["labels"].as_array().unwrap().len();
        assert_eq!(described["palette"].as_array().unwrap().len(), labels);
        let different = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
        println!("{scene}: {different} of {} pixels differ from learn.predict", expected.len());
        assert!(1000 * different <= expected.len(), "{scene}: {different} pixels differ");
        let found: BTreeSet<u8> = got.into_iter().collect();
        assert!(found.len() >= 4, "a street scene has many classes, not {found:?}");
    }
}

#[test]
fn the_tensor_that_is_served_is_fastais_own() {
    let config = mar::read_config(&example("model-config.yaml")).unwrap();
    let Value::Object(mut section) = config["handler"].clone() else { panic!("a mapping") };
    section.retain(|key, _| PipelineConfig::KEYS.contains(&key.as_str()));
    let pipeline = Pipeline::new(serde_json::from_value(Value::Object(section)).unwrap()).unwrap();
    for scene in ["scene.jpg", "scene.png"] {
        let pixels =
            pipeline.pixels(&fs::read(example(&format!("sample/{scene}"))).unwrap()).unwrap();
        let expected = npy(&example(&format!("sample/{scene}.input.npy")));
        let plane = pixels.width() as usize * pixels.height() as usize;
        assert_eq!(expected.len(), 3 * plane);
        let difference = |(i, expected): (usize, &f32)| {
            let served = f32::from(pixels.data()[3 * (i % plane) + i / plane]);
            (served - 255.0 * expected).abs()
        };
        let worst = expected.iter().enumerate().map(difference).fold(0.0, f32::max);
        println!("{scene}: at most {worst}/255 from FastAI before normalisation");
        // The slack is FastAI's normalisation undone, in single precision.
        assert!(worst <= 2e-3, "{scene}: {worst}/255");
    }
}

#[test]
fn the_network_itself_takes_the_prepared_tensor_of_several_scenes() {
    let (_store, server) = street_scenes();
    let version = server.engine.version("fastunet", None).unwrap();
    let interface = version.interface().cloned().unwrap();
    let inputs = interface.signature.inputs.unwrap();
    let outputs = interface.signature.outputs.unwrap();
    assert!(interface.batched && inputs.len() == 1 && outputs.len() == 1);
    assert_eq!(inputs[0].dtype, Some(DType::F32));
    assert_eq!(inputs[0].shape, Some(vec![None, Some(3), Some(96), Some(128)]));
    assert_eq!(outputs[0].name, "output");

    let config = mar::read_config(&example("model-config.yaml")).unwrap();
    let Value::Object(mut section) = config["handler"].clone() else { panic!("a mapping") };
    section.retain(|key, _| PipelineConfig::KEYS.contains(&key.as_str()));
    let pipeline = Pipeline::new(serde_json::from_value(Value::Object(section)).unwrap()).unwrap();
    let scene = fs::read(example("sample/scene.png")).unwrap();
    let Samples::F32(prepared) = pipeline.run(&scene).unwrap().samples else { panic!("floats") };
    let tensor = Tensor::from_vec(&[2, 3, 96, 128], prepared.repeat(2)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let admission = server.engine.admit().unwrap();
    let request = TensorRequest { inputs: vec![tensor], ..TensorRequest::default() };
    let answer = server.engine.infer(&admission, "fastunet", None, request);
    let answer = runtime.block_on(answer).unwrap();
    assert_eq!(answer.timing.rows, 2);

    // The class with the largest score is the handler's own mask, for each of the two.
    let expected = mask(&post(&server.inference("/predictions/fastunet"), &scene));
    let [scores] = &answer.outputs[..] else { panic!("one output") };
    let &[2, channels, 96, 128] = scores.shape() else { panic!("{:?}", scores.shape()) };
    let plane = 96 * 128;
    for of_scene in scores.as_slice::<f32>().unwrap().chunks(channels * plane) {
        let class = |pixel: usize| {
            let score = |class: &usize| of_scene[class * plane + pixel];
            (0..channels).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap()
        };
        let differ = (0..plane).filter(|pixel| class(*pixel) != usize::from(expected[*pixel]));
        let different = differ.count();
        assert!(1000 * different <= plane, "{different} of {plane} pixels differ");
    }
}

#[test]
fn every_kind_of_image_and_form_gives_the_same_mask() {
    let (_store, server) = street_scenes();
    let url = server.inference("/predictions/fastunet/1.0");
    let scene = fs::read(example("sample/scene.png")).unwrap();
    let expected = mask(&post(&url, &scene));
    for field in ["data", "body"] {
        let part = ureq::unversioned::multipart::Part::bytes(&scene).file_name("wrong-name.jpg");
        let form = ureq::unversioned::multipart::Form::new().part(field, part);
        assert_eq!(mask(&answer(agent().post(&url).send(form))), expected, "field {field}");
    }
    let typed = agent().post(&url).header("content-type", "text/plain").send(&scene[..]);
    assert_eq!(mask(&answer(typed)), expected, "the content decides, not its name");
}

#[test]
fn two_hundred_requests_a_quarter_of_them_broken_leave_the_same_worker() {
    const REQUESTS: usize = 200;
    const CLIENTS: usize = 16;
    let (_store, server) = street_scenes();
    let url = server.inference("/predictions/fastunet");
    let worker = || {
        let described = get(&server.management("/models/fastunet")).json();
        let worker = &described[0]["workers"][0];
        assert_eq!(worker["status"], "READY");
        (worker["id"].clone(), worker["startTime"].clone(), worker["pid"].clone())
    };
    let before = worker();

    let good = ["scene.jpg", "scene.png"]
        .map(|scene| fs::read(example(&format!("sample/{scene}"))).unwrap());
    let expected = good.each_ref().map(|scene| mask(&post(&url, scene)));
    let broken = [
        b"no image at all".to_vec(),
        good[0][..good[0].len() / 2].to_vec(),
        good[1][..good[1].len() / 2].to_vec(),
        Vec::new(),
        huge_png(),
    ];
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let agent = agent();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= REQUESTS {
                        break;
                    }
                    if i % 4 == 3 {
                        let body = &broken[i / 4 % broken.len()];
                        let refused = answer(agent.post(&url).send(&body[..]));
                        let (code, class, _) = refused.error();
                        assert_eq!((code, class.as_str()), (400, "BadRequestException"));
                    } else {
                        let served = answer(agent.post(&url).send(&good[i % 2][..]));
                        assert!(mask(&served) == expected[i % 2], "request {i} got another's mask");
                    }
                }
            });
        }
    });
    assert!(next.load(Ordering::Relaxed) >= REQUESTS);
    assert_eq!(worker(), before);
}

/// The header of a PNG of 60 000 x 60 000 pixels.
fn huge_png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    drop(encoder.write_header().unwrap());
    bytes
}

#[test]
fn an_image_of_too_many_pixels_and_a_body_that_is_no_image_say_so() {
    let (_store, server) = street_scenes();
    let url = server.inference("/predictions/fastunet");
    let message = |body: &[u8]| {
        let (code, _, message) = post(&url, body).error();
        assert_eq!(code, 400);
        message
    };
    assert!(message(&huge_png()).contains("60000"), "{}", message(&huge_png()));
    assert!(
        message(b"hello").contains("PNG"),
        "the known formats are named: {}",
        message(b"hello")
    );
}
