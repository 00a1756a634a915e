//! Windows bitmaps.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;

use super::{DecodeError, DecodeLimits, Format, through_image};
use crate::RgbImage8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let decoder = BmpDecoder::new(Cursor::new(bytes))
        .map_err(|error| through_image::convert_error(Format::Bmp, error))?;
    through_image::decode(decoder, Format::Bmp, limits)
}
