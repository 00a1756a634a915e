//! Windows bitmaps.

mod runs;

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;

use super::{DecodeError, DecodeLimits, Format, through_image};
use crate::RgbImage8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    if let Some(decoded) = runs::decode(bytes, limits) {
        return decoded;
    }
    let decoder = BmpDecoder::new(Cursor::new(bytes))
        .map_err(|error| through_image::convert_error(Format::Bmp, error))?;
    let image = through_image::decode(decoder, Format::Bmp, limits)?;
    Ok(match green_bits(bytes) {
        Some(green) => rescaled(&image, green),
        None => image,
    })
}

/// How many bits green has in a bitmap of 16 bits a pixel; none for other bitmaps.
fn green_bits(bytes: &[u8]) -> Option<u32> {
    let field = |at: usize| bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field));
    let (bits, compression, green_mask) = (field(26)? >> 16, field(30)?, field(58)?);
    // The masks of the colours stand behind the header where the compression says so (3).
    match (bits, compression) {
        (16, 0) => Some(5),
        (16, 3) => Some(green_mask.count_ones()).filter(|bits| (5..=6).contains(bits)),
        _ => None,
    }
}

/// Samples of 5 or 6 bits fill 0..255 rounded to nearest in the decoder, rounded down in Pillow.
fn rescaled(image: &RgbImage8, green_bits: u32) -> RgbImage8 {
    let down = |sample: u8, bits: u32| {
        let most = (1_u32 << bits) - 1;
        let stored = (u32::from(sample) * most + 127) / 255;
        u8::try_from(stored * 255 / most).unwrap_or(u8::MAX)
    };
    RgbImage8::build(image.width(), image.height(), |data| {
        for pixel in image.data().chunks_exact(3) {
            data.extend([down(pixel[0], 5), down(pixel[1], green_bits), down(pixel[2], 5)]);
        }
    })
}
