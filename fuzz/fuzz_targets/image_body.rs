//! Any bytes sent as an image, in both tiers: an error or an image of the declared size, never a panic.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mar_vision::{
    DecodeLimits, Exif, Filter, Pipeline, PipelineConfig, Sides, Size, decode_oriented,
    decode_resized,
};

const MAX_PIXELS: u64 = 1_000_000;

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
    let config = PipelineConfig {
        size: Some(Sides::Both { height: 96, width: 128 }),
        max_image_pixels: Some(MAX_PIXELS),
        ..PipelineConfig::default()
    };
    Pipeline::new(config).expect("the configuration is valid")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(prepared) = PIPELINE.run(data) {
        let original = prepared.geometry.original;
        assert_eq!(prepared.shape, [3, 96, 128]);
        assert!(u64::from(original.height) * u64::from(original.width) <= MAX_PIXELS);
    }
    let limits = DecodeLimits::for_pixels(MAX_PIXELS);
    let exact = decode_oriented(data, &limits, Exif::Apply);
    let size = Size { height: 24, width: 32 };
    let fast = decode_resized(data, &limits, Exif::Apply, Filter::Bilinear, size);
    assert_eq!(exact.is_ok(), fast.is_ok());
});
