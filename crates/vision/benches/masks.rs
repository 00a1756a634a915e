//! From a mask to what a client reads.

#[path = "../../../benches/calibration.rs"]
mod calibration;

use divan::Bencher;
use mar_vision::{
    DecodeLimits, class_areas, decode, overlay, palette_png, polygons, rgb_png, rle, rles,
    voc_palette,
};

fn main() {
    divan::main();
}

/// Height and width of masks.
const SIZES: [(u32, u32); 2] = [(96, 128), (384, 512)];
/// Classes in a mask, as the example's network has them.
const CLASSES: u8 = 7;

/// What a network makes of a street: areas whose borders are not straight, each pixel of the class of the nearest of
/// forty points.
fn mask((height, width): (u32, u32)) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let points: Vec<[u32; 3]> =
        (0..40).map(|_| [next(height), next(width), next(CLASSES.into())]).collect();
    let nearest = |y: u32, x: u32| {
        let distance = |point: &&[u32; 3]| {
            let (down, across) = (point[0].abs_diff(y), point[1].abs_diff(x));
            down * down + across * across
        };
        let [_, _, class] = points.iter().min_by_key(distance).expect("forty points");
        u8::try_from(*class).expect("a class")
    };
    (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| nearest(y, x)).collect()
}

#[divan::bench(args = SIZES)]
fn rle_of_one_class(bencher: Bencher<'_, '_>, size: (u32, u32)) {
    let mask = mask(size);
    bencher.bench(|| rle(&mask, size.1, size.0, 1));
}

#[divan::bench(args = SIZES)]
fn rle_of_all(bencher: Bencher<'_, '_>, size: (u32, u32)) {
    let mask = mask(size);
    bencher.bench(|| rles(&mask, size.1, size.0));
}

#[divan::bench(args = SIZES)]
fn to_polygons(bencher: Bencher<'_, '_>, size: (u32, u32)) {
    let mask = mask(size);
    bencher.bench(|| polygons(&mask, size.1, size.0, None));
}

#[divan::bench(args = SIZES)]
fn to_areas(bencher: Bencher<'_, '_>, size: (u32, u32)) {
    let mask = mask(size);
    bencher.bench(|| class_areas(&mask, size.1, size.0, None));
}

#[divan::bench(args = SIZES)]
fn to_png(bencher: Bencher<'_, '_>, size: (u32, u32)) {
    let (mask, palette) = (mask(size), voc_palette(CLASSES.into()));
    bencher.bench(|| palette_png(&mask, size.1, size.0, &palette));
}

/// A mask over the photograph that it is of.
#[divan::bench(args = SIZES)]
fn over_500x375(bencher: Bencher<'_, '_>, size: (u32, u32)) {
    let (mask, palette) = (mask(size), voc_palette(CLASSES.into()));
    let scene = include_bytes!("../../../examples/street_scenes/sample/scene.jpg");
    let image = decode(scene, &DecodeLimits::default()).expect("a photograph");
    bencher.bench(|| {
        overlay(&image, &mask, size.1, size.0, &palette, 0.5).and_then(|over| rgb_png(&over))
    });
}
