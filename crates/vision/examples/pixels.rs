//! Times decoding and resizing as `scripts/pixels` asks for it: a line of `exact|fast file width height filter`
//! on the input, the milliseconds and the pixels in hexadecimal digits on the output.

#![expect(clippy::print_stdout, reason = "the answers are what it is for")]

use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::io::stdin;
use std::time::Instant;

use mar_vision::{
    DecodeError, DecodeLimits, Exif, Filter, RgbImage8, Size, decode, decode_resized, resize,
};

fn main() -> Result<(), Box<dyn Error>> {
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let &[tier, file, width, height, filter] = &words[..] else {
            return Err(format!("not a request: {line}").into());
        };
        let file = std::fs::read(file)?;
        let size = Size { height: height.parse()?, width: width.parse()? };
        let filter = match filter {
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "lanczos" => Filter::Lanczos,
            other => return Err(format!("no filter {other}").into()),
        };
        let start = Instant::now();
        let image = black_box(prepared(tier, &file, size, filter)?);
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let mut pixels = String::with_capacity(2 * image.data().len());
        for sample in image.data() {
            write!(pixels, "{sample:02x}")?;
        }
        println!("{milliseconds} {pixels}");
    }
    Ok(())
}

fn prepared(tier: &str, file: &[u8], size: Size, filter: Filter) -> Result<RgbImage8, DecodeError> {
    let limits = DecodeLimits::default();
    if tier == "fast" {
        return decode_resized(file, &limits, Exif::Ignore, filter, size);
    }
    Ok(resize(&decode(file, &limits)?, size.width, size.height, filter))
}
