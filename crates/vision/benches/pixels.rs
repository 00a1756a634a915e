//! From an image's file to the numbers of a network, whole and step by step.

#[path = "../../../benches/calibration.rs"]
mod calibration;

use divan::Bencher;
use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
use mar_vision::{
    DecodeLimits, Exif, Filter, IMAGENET_MEAN, IMAGENET_STD, PerChannel, Pipeline, PipelineConfig,
    RgbImage8, Sides, Size, decode, decode_resized, resize, rgb_png,
};

fn main() {
    divan::main();
}

/// The photograph that the example is served with, 500 x 375.
const SCENE: &[u8] = include_bytes!("../../../examples/street_scenes/sample/scene.jpg");

/// The scene in 256 x 192, as Pillow writes it: what `scripts/bench` sends.
const SMALL_SCENE: &[u8] = include_bytes!("../../../bench/material/scene-256x192.png");

/// Height and width of what the example's network sees, and four times as much.
const NETWORKS: [&str; 2] = ["96x128", "384x512"];

fn sides(named: &str) -> (u32, u32) {
    let (height, width) = named.split_once('x').expect("HEIGHTxWIDTH");
    (height.parse().expect("a height"), width.parse().expect("a width"))
}

/// The scene in another size.
fn scene(named: &str) -> RgbImage8 {
    let (height, width) = sides(named);
    let image = decode(SCENE, &DecodeLimits::default()).expect("a photograph");
    resize(&image, width, height, Filter::Bilinear)
}

fn jpeg(named: &str) -> Vec<u8> {
    let image = scene(named);
    let (width, height) = (image.width() as usize, image.height() as usize);
    compress(image.data(), width, height, PixelFormat::Rgb, 90, Subsampling::S420).expect("a JPEG")
}

fn png(named: &str) -> Vec<u8> {
    rgb_png(&scene(named)).expect("a PNG")
}

/// 24 bits a pixel from the last row to the first: as near as a file comes to pixels in memory.
fn bmp(named: &str) -> Vec<u8> {
    let image = scene(named);
    let (width, height) = (image.width(), image.height());
    let pixels = u32::try_from(image.data().len()).expect("a small image");
    let mut file = b"BM".to_vec();
    let head = [54 + pixels, 0, 54, 40, width, height, 24 << 16 | 1, 0, pixels, 0, 0, 0, 0];
    file.extend(head.iter().flat_map(|word| word.to_le_bytes()));
    // Each row of these sizes fills whole words.
    for row in image.data().chunks_exact(3 * width as usize).rev() {
        file.extend(row.chunks_exact(3).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]));
    }
    file
}

fn pipeline(named: &str) -> Pipeline {
    let (height, width) = sides(named);
    let config = PipelineConfig {
        size: Some(Sides::Both { height, width }),
        mean: Some(PerChannel::Three(IMAGENET_MEAN)),
        std: Some(PerChannel::Three(IMAGENET_STD)),
        ..Default::default()
    };
    Pipeline::new(config).expect("the example's pipeline")
}

#[divan::bench(args = ["192x256", "1080x1920"])]
fn decode_jpeg(bencher: Bencher<'_, '_>, size: &str) {
    let file = jpeg(size);
    bencher.bench(|| decode(&file, &DecodeLimits::default()));
}

#[divan::bench(args = ["192x256", "1080x1920"])]
fn decode_png(bencher: Bencher<'_, '_>, size: &str) {
    let file = png(size);
    bencher.bench(|| decode(&file, &DecodeLimits::default()));
}

/// A PNG of the filters that Pillow chooses, of which Paeth's is the most.
#[divan::bench]
fn decode_png_of_pillow_192x256(bencher: Bencher<'_, '_>) {
    bencher.bench(|| decode(SMALL_SCENE, &DecodeLimits::default()));
}

#[divan::bench(args = ["96x128"])]
fn resize_256x192_to(bencher: Bencher<'_, '_>, size: &str) {
    let image = scene("192x256");
    let (height, width) = sides(size);
    bencher.bench(|| resize(&image, width, height, Filter::Bilinear));
}

/// The fast tier, which decodes no more of a JPEG than it needs.
#[divan::bench(args = NETWORKS)]
fn decode_jpeg_1080x1920_fast_to(bencher: Bencher<'_, '_>, size: &str) {
    let file = jpeg("1080x1920");
    let (height, width) = sides(size);
    let to = Size { height, width };
    bencher.bench(|| {
        decode_resized(&file, &DecodeLimits::default(), Exif::Ignore, Filter::Bilinear, to)
    });
}

#[divan::bench(args = NETWORKS)]
fn resize_500x375_to(bencher: Bencher<'_, '_>, size: &str) {
    let image = scene("375x500");
    let (height, width) = sides(size);
    bencher.bench(|| resize(&image, width, height, Filter::Bilinear));
}

#[divan::bench(args = NETWORKS)]
fn resize_1080x1920_to(bencher: Bencher<'_, '_>, size: &str) {
    let image = scene("1080x1920");
    let (height, width) = sides(size);
    bencher.bench(|| resize(&image, width, height, Filter::Bilinear));
}

/// Pixels to planes of floating-point numbers, and little else: a BMP of the right size is hardly more than pixels.
#[divan::bench(args = NETWORKS)]
fn bmp_to_planes(bencher: Bencher<'_, '_>, size: &str) {
    let (file, pipeline) = (bmp(size), pipeline(size));
    bencher.bench(|| pipeline.run(&file));
}

#[divan::bench(args = NETWORKS)]
fn jpeg_1080x1920_to_planes(bencher: Bencher<'_, '_>, size: &str) {
    let (file, pipeline) = (jpeg("1080x1920"), pipeline(size));
    bencher.bench(|| pipeline.run(&file));
}

/// What a network that does next to nothing costs a client who sends images.
#[divan::bench(args = ["96x128"])]
fn png_192x256_to_planes(bencher: Bencher<'_, '_>, size: &str) {
    let pipeline = pipeline(size);
    assert!(pipeline.run(SMALL_SCENE).is_ok(), "what is measured is no error");
    bencher.bench(|| pipeline.run(SMALL_SCENE));
}
