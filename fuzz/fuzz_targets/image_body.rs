//! Any bytes sent as an image: an error or an image of the declared size, never a panic.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mar_vision::{Pipeline, PipelineConfig, Sides};

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
    let config = PipelineConfig {
        size: Some(Sides::Both { height: 96, width: 128 }),
        max_image_pixels: Some(1_000_000),
        ..PipelineConfig::default()
    };
    Pipeline::new(config).expect("the configuration is valid")
});

fuzz_target!(|data: &[u8]| {
    if let Ok(prepared) = PIPELINE.run(data) {
        assert_eq!(prepared.shape, [3, 96, 128]);
        assert!(u64::from(prepared.original.0) * u64::from(prepared.original.1) <= 1_000_000);
    }
});
