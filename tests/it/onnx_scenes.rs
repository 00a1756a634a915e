use std::fs::{self, File};
use std::io::BufReader;
use std::path::PathBuf;

use mar::{PackOptions, PackSample};
use mar_engine::{VerifySamples, VersionState};
use mar_server::Settings;
use png::{BitDepth, ColorType};

use crate::support::http::{get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

const SAMPLES: [&str; 2] = ["scene.jpg", "scene.png"];

fn example(path: &str) -> PathBuf {
    repository("examples/street_scenes").join(path)
}

/// The example's archive of this network, with what FastAI makes of its samples.
fn packed(store: &Store, name: &str, network: &str, beside: &[PathBuf]) -> PathBuf {
    let sample = |file: &str| {
        let (input, known) = (format!("sample/{file}"), format!("sample/{file}.json"));
        PackSample::read(&example(&input), &example(&known)).unwrap()
    };
    store.packed(PackOptions {
        model_name: name.into(),
        handler: "mask_segmenter".into(),
        serialized_file: Some(example(network)),
        extra_files: beside.iter().map(|file| file.to_str().unwrap().to_owned()).collect(),
        config_file: Some(example("model-config.yaml")),
        samples: SAMPLES.map(sample).to_vec(),
        ..PackOptions::default()
    })
}

/// Both archives in one store behind one server, which has replayed their known answers.
fn both() -> (Store, TestServer) {
    let store = Store::new();
    let archives = [
        packed(&store, "scenes", "fastunet.pt", &[]),
        packed(&store, "scenes-onnx", "fastunet.onnx", &[example("fastunet.pt")]),
    ];
    let mut settings = Settings { max_request_size: 10_000_000, ..settings() };
    settings.engine.defaults.verify_samples = VerifySamples::Strict;
    let server = TestServer::of_both_runtimes(settings);
    for archive in archives {
        server.engine.load(None, &archive).unwrap();
    }
    for name in ["scenes", "scenes-onnx"] {
        assert_eq!(server.state(name), VersionState::Ready, "{name}");
        let told = &get(&server.management(&format!("/models/{name}"))).json()[0]["samples"];
        assert_eq!((&told["verdict"], &told["replayed"]), (&"reproduced".into(), &2.into()));
    }
    (store, server)
}

/// Twenty parts of the sample, each of another size and shape.
fn parts_of_the_scene() -> Vec<Vec<u8>> {
    let mut decoder =
        png::Decoder::new(BufReader::new(File::open(example("sample/scene.png")).unwrap()));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (ColorType::Rgb, BitDepth::Eight));
    let (width, height) = (info.width as usize, info.height as usize);
    let part = |number: usize| {
        let (left, top) = (number * 37 % (width / 2), number * 53 % (height / 2));
        let (wide, high) =
            (64 + number * 29 % (width / 2 - 64), 48 + number * 41 % (height / 2 - 48));
        let row = |y: usize| &pixels[3 * ((top + y) * width + left)..][..3 * wide];
        let mut file = Vec::new();
        let side = |side: usize| u32::try_from(side).unwrap();
        let mut encoder = png::Encoder::new(&mut file, side(wide), side(high));
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&(0..high).flat_map(row).copied().collect::<Vec<u8>>()).unwrap();
        writer.finish().unwrap();
        file
    };
    (0..20).map(part).collect()
}

#[test]
fn the_example_is_served_in_both_forms_at_once_with_equal_masks() {
    let (_store, server) = both();
    let samples = SAMPLES.map(|file| fs::read(example(&format!("sample/{file}"))).unwrap());
    let pictures = samples.into_iter().chain(parts_of_the_scene());
    let mask = |name: &str, picture: &[u8]| {
        let answer = post(&server.inference(&format!("/predictions/{name}?format=raw")), picture);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.body.len(), 96 * 128);
        answer.body
    };
    let (mut differ, mut pixels) = (0, 0);
    for picture in pictures {
        let (torchscript, onnx) = (mask("scenes", &picture), mask("scenes-onnx", &picture));
        differ += torchscript.iter().zip(&onnx).filter(|(a, b)| a != b).count();
        pixels += torchscript.len();
    }
    println!("{differ} of {pixels} pixels differ between the runtimes");
    assert_eq!(pixels, 22 * 96 * 128);
    assert!(1000 * differ <= pixels, "{differ} of {pixels} pixels differ");
}

#[test]
fn the_weights_of_both_forms_are_one_file() {
    let graph = fs::metadata(example("fastunet.onnx")).unwrap().len();
    let weights = fs::metadata(example("fastunet.pt")).unwrap().len();
    assert!(graph < 100_000 && weights > 8_000_000, "{graph} and {weights} bytes");
    // An archive without the weights' file is told, by that file's name.
    let store = Store::new();
    let alone = packed(&store, "alone", "fastunet.onnx", &[]);
    let server = TestServer::of_both_runtimes(settings());
    let told = match server.engine.load(None, &alone) {
        Err(error) => error.message().to_owned(),
        Ok(_) => match server.state("alone") {
            VersionState::Failed(reason) => reason,
            other => panic!("it is {other:?}"),
        },
    };
    assert!(told.contains("fastunet.onnx") && told.contains("fastunet.pt"), "{told}");
}
