//! What stands between an encoded image and a network's numbers, against what the Python stack has there.

use mar_vision::{DecodeLimits, Exif, Parity, Pipeline, PipelineConfig, Steps};
use serde_json::{Value, json};

use crate::declared;
use crate::golden::{digest_of, load, read, rows};

fn steps(config: &Value, file: &[u8]) -> Steps {
    let config: PipelineConfig = serde_json::from_value(config.clone()).unwrap();
    let pipeline = Pipeline::new(config).unwrap();
    pipeline.steps(file).unwrap_or_else(|error| panic!("{config:?}: {error}"))
}

#[test]
fn the_first_is_the_image_as_pillow_opens_it() {
    // Nothing that comes later may show there.
    let config = json!({ "size": 8, "channel_order": "bgr", "layout": "hwc", "dtype": "uint8" });
    for row in rows("decode") {
        let file = read(row["file"].as_str().unwrap());
        let decoded = steps(&config, &file).decoded.unwrap();
        assert_eq!(json!(decoded.shape), json!([row["height"], row["width"], 3]), "{row}");
        assert_eq!(digest_of(&decoded.levels), row["sha256"], "{row}");
    }
    for row in declared::rows("gray") {
        let file = read(row["file"].as_str().unwrap());
        let decoded = steps(&json!({ "size": 8, "color_mode": "L" }), &file).decoded.unwrap();
        assert_eq!(decoded.shape[2], 1);
        assert_eq!(digest_of(&decoded.levels), row["sha256"], "{row}");
    }
}

#[test]
fn the_second_is_what_fastai_and_torchvision_resize_and_cut() {
    for row in declared::rows("fastai").iter().chain(declared::rows("torchvision")) {
        let mut config = row["config"].clone();
        config["dtype"] = json!("float16");
        let seen = steps(&config, &declared::read(row["source"].as_str().unwrap()));
        assert_eq!(json!(seen.resized.shape), row["shape"], "{row}");
        assert_eq!(digest_of(&seen.resized.levels), row["sha256"], "{row}");
    }
}

#[test]
fn the_order_of_channels_comes_after_both() {
    let file = read("rgb.png");
    let rgb = load("rgb.png").into_data();
    let seen = steps(&json!({ "channel_order": "bgr", "layout": "hwc" }), &file);
    assert_eq!((&seen.decoded.unwrap().levels, &seen.resized.levels), (&rgb, &rgb));
}

#[test]
fn an_image_is_turned_in_the_first_where_that_is_declared() {
    let file = read("orientation6.jpg");
    let [height, width, _] = steps(&json!({}), &file).decoded.unwrap().shape;
    let turned = steps(&json!({ "exif": "apply" }), &file).decoded.unwrap();
    assert_eq!(turned.shape, [width, height, 3]);
    let upright =
        mar_vision::decode_oriented(&file, &DecodeLimits::default(), Exif::Apply).unwrap();
    assert_eq!(turned.levels, upright.data());
}

#[test]
fn the_fast_tier_has_no_first() {
    let file = read("photo.jpg");
    let config = PipelineConfig { parity: Some(Parity::Fast), ..PipelineConfig::to_tensor() };
    let small = PipelineConfig { size: Some(mar_vision::Sides::One(24)), ..config };
    let pipeline = Pipeline::new(small).unwrap();
    let seen = pipeline.steps(&file).unwrap();
    assert_eq!(seen.decoded, None);
    assert_eq!(seen.resized.levels, pipeline.pixels(&file).unwrap().into_data());
    assert_eq!(seen.resized.shape, [24, 24, 3]);
}

#[test]
fn what_is_no_image_is_refused_as_in_a_run() {
    let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
    assert_eq!(
        pipeline.steps(b"no image").unwrap_err().to_string(),
        pipeline.run(b"no image").unwrap_err().to_string()
    );
}
