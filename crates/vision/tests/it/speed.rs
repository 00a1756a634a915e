use std::time::{Duration, Instant};

use mar_vision::{
    DecodeLimits, Filter, Pipeline, PipelineConfig, Sides, decode, palette_png, resize, rgb_png,
    voc_palette,
};

use crate::resizing::formula;

fn best(mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..5).map(|_| once(&mut work)).min().unwrap()
}

/// Prints, and asserts only what a slow machine keeps too.
#[test]
fn full_hd_to_224_is_fast() {
    let image = formula(1920, 1080);
    let filters = [
        Filter::Nearest,
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];
    for filter in filters {
        let time = best(|| drop(resize(&image, 224, 224, filter)));
        println!("resize 1920x1080 -> 224x224 {filter}: {time:.2?}");
        assert!(time < Duration::from_secs(2));
    }
    let up = resize(&image, 455, 256, Filter::Bilinear);
    println!(
        "resize 455x256 -> 1920x1080 bilinear: {:.2?}",
        best(|| drop(resize(&up, 1920, 1080, Filter::Bilinear)))
    );

    let png = rgb_png(&image).unwrap();
    println!(
        "decode PNG 1920x1080: {:.2?}",
        best(|| drop(decode(&png, &DecodeLimits::default()).unwrap()))
    );
    let config = PipelineConfig { size: Some(Sides::One(224)), ..Default::default() };
    let pipeline = Pipeline::new(config).unwrap();
    println!("PNG 1920x1080 -> planes 224x224: {:.2?}", best(|| drop(pipeline.run(&png).unwrap())));
    let mask: Vec<u8> = image.data().iter().step_by(3).map(|v| v >> 5).collect();
    println!(
        "palette PNG of a 1920x1080 mask: {:.2?}",
        best(|| drop(palette_png(&mask, 1920, 1080, &voc_palette(32)).unwrap()))
    );
}
