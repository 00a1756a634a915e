use mar_vision::{
    ColorMode, DecodeError, DecodeLimits, Exif, Filter, Parity, Pipeline, PipelineConfig, Prepared,
    ResizeMethod, RgbImage8, SampleType, Samples, Sides, Size, decode_oriented, decode_resized,
};
use serde_json::json;

use crate::declared;
use crate::golden::{digest_of, load, number, read, rows};

fn floats(prepared: &Prepared) -> &[f32] {
    let Samples::F32(values) = &prepared.samples else { panic!("{:?}", prepared.samples) };
    values
}

#[test]
fn gives_the_tensor_of_fastai() {
    for row in rows("tensors") {
        let (height, width) = (number(&row["size"][0]), number(&row["size"][1]));
        let method =
            if row["method"] == "squish" { ResizeMethod::Squish } else { ResizeMethod::Crop };
        let config = PipelineConfig {
            size: Some(Sides::Both { height, width }),
            resize: Some(method),
            ..Default::default()
        };
        let prepared = Pipeline::new(config).unwrap().run(&read("source_scene.png")).unwrap();
        let bytes = read(row["file"].as_str().unwrap());
        let expected: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(prepared.shape, [3, height as usize, width as usize]);
        assert_eq!(prepared.geometry.original, Size { height: 45, width: 67 });
        let values = floats(&prepared);
        assert_eq!(values.len(), expected.len());
        let worst = values.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{row}: max difference {worst}");
        assert!(worst <= 1e-6, "{worst}");
    }
}

#[test]
fn planes_are_channels_first() {
    let config = PipelineConfig::to_tensor();
    let prepared = Pipeline::new(config).unwrap().run(&read("rgb.png")).unwrap();
    let image = load("rgb.png");
    assert_eq!(prepared.shape, [3, image.height() as usize, image.width() as usize]);
    let pixels = image.data().len() / 3;
    for (index, sample) in image.data().iter().enumerate() {
        let value = floats(&prepared)[index % 3 * pixels + index / 3];
        assert_eq!(value.to_bits(), (f32::from(*sample) / 255.0).to_bits());
    }
}

#[test]
fn gives_the_numbers_of_every_library() {
    for row in declared::rows("tensors") {
        let prepared = declared::run(&declared::pipeline(row, &json!({})), row);
        assert_eq!(json!(prepared.shape), row["shape"], "{row}");
        let expected = declared::read(row["file"].as_str().unwrap());
        assert_eq!(declared::little_endian(&prepared.samples), expected, "{row}");
    }
    assert!(declared::rows("tensors").len() > 10);
}

#[test]
fn gray_is_pillows_of_every_mode() {
    let config = PipelineConfig {
        color_mode: Some(ColorMode::L),
        dtype: Some(SampleType::Uint8),
        ..Default::default()
    };
    let pipeline = Pipeline::new(config).unwrap();
    for row in declared::rows("gray") {
        let file = read(row["file"].as_str().unwrap());
        let prepared = pipeline.run(&file).unwrap_or_else(|error| panic!("{row}: {error}"));
        let levels = declared::little_endian(&prepared.samples);
        assert_eq!(prepared.shape[0], 1);
        assert_eq!(digest_of(&levels), row["sha256"], "{row}");
        // What people are shown is the same gray.
        let shown = pipeline.pixels(&file).unwrap();
        assert!(shown.data().chunks_exact(3).map(|pixel| pixel[0]).eq(levels));
    }
}

#[test]
fn overlays_see_red_first_whatever_the_network_takes() {
    let pixels = |yaml| {
        let config = serde_saphyr::from_str(yaml).unwrap();
        Pipeline::new(config).unwrap().pixels(&read("rgb.png")).unwrap()
    };
    assert_eq!(pixels("channel_order: bgr\nlayout: hwc\ndtype: uint8"), load("rgb.png"));
}

#[test]
fn the_tier_is_the_declared_one() {
    let parity = |yaml| Pipeline::new(serde_saphyr::from_str(yaml).unwrap()).unwrap().parity();
    assert_eq!((parity("{}"), parity("parity: fast")), (Parity::Exact, Parity::Fast));
    assert_eq!(Parity::Fast.to_string(), "fast");
}

#[test]
fn an_image_is_turned_before_all_else_where_that_is_declared() {
    let file = read("orientation6.jpg");
    let run =
        |yaml| Pipeline::new(serde_saphyr::from_str(yaml).unwrap()).unwrap().run(&file).unwrap();
    let Size { height, width } = run("{}").geometry.original;
    assert_ne!(height, width);
    assert_eq!(run("exif: apply").geometry.original, Size { height: width, width: height });
    for tier in ["exact", "fast"] {
        let config = format!("exif: apply\nparity: {tier}");
        let config: PipelineConfig = serde_saphyr::from_str(&config).unwrap();
        let pixels = Pipeline::new(config).unwrap().pixels(&file).unwrap();
        assert_eq!(pixels, decode_oriented(&file, &DecodeLimits::default(), Exif::Apply).unwrap());
    }
}

#[test]
fn the_fast_tier_is_used_where_it_is_declared() {
    let pixels = |yaml: &str| {
        let config = serde_saphyr::from_str(yaml).unwrap();
        Pipeline::new(config).unwrap().pixels(&read("photo.jpg")).unwrap()
    };
    let size = Size { height: 24, width: 20 };
    let (limits, exif) = (DecodeLimits::default(), Exif::Ignore);
    let fast = decode_resized(&read("photo.jpg"), &limits, exif, Filter::Bilinear, size).unwrap();
    assert_eq!(pixels("parity: fast\nsize: [24, 20]"), fast);
    assert_ne!(pixels("size: [24, 20]"), fast, "the tiers cannot be told apart here");
    // What follows the resize is the same in both.
    let cut = pixels("parity: fast\nsize: [24, 20]\ncenter_crop: 10\ncolor_mode: L");
    let red = |image: &RgbImage8, at: usize| i32::from(image.data()[3 * at]);
    let luma = |at: usize| {
        let pixel = &fast.data()[3 * at..3 * at + 3];
        (299 * i32::from(pixel[0]) + 587 * i32::from(pixel[1]) + 114 * i32::from(pixel[2])) / 1000
    };
    assert_eq!((cut.height(), cut.width()), (10, 10));
    for at in 0..100 {
        let there = (at / 10 + 7) * 20 + at % 10 + 5;
        assert!((red(&cut, at) - luma(there)).abs() <= 1, "pixel {at}");
    }
}

#[test]
fn a_frame_is_refused_before_memory_is_taken() {
    let config = serde_saphyr::from_str("size: 8\nresize: pad\nmax_image_pixels: 2000").unwrap();
    let strip = mar_vision::RgbImage8::new(1, 1992, vec![7; 5976]).unwrap();
    let error = Pipeline::new(config).unwrap().run(&mar_vision::rgb_png(&strip).unwrap());
    let error = error.unwrap_err();
    assert!(
        matches!(error, DecodeError::ResizeTooLarge { width: 1992, height: 1992, .. }),
        "{error:?}"
    );
}

#[test]
fn very_unequal_sides_are_refused_before_memory_is_taken() {
    let config = PipelineConfig {
        size: Some(Sides::One(8)),
        resize: Some(ResizeMethod::Shorter),
        max_image_pixels: Some(2000),
        ..Default::default()
    };
    let pipeline = Pipeline::new(config).unwrap();
    let strip = mar_vision::RgbImage8::new(2000, 1, vec![7; 6000]).unwrap();
    let error = pipeline.run(&mar_vision::rgb_png(&strip).unwrap()).unwrap_err();
    assert!(matches!(error, DecodeError::ResizeTooLarge { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the image would be padded or scaled to 16000x8 pixels, more than the limit of 2000; its sides are too unequal"
    );
}
