//! The first page of a TIFF, turned as its orientation tag says.

use std::io::Cursor;

use ::tiff::decoder::{Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;
use ::tiff::{ColorType, TiffError};

use super::{DecodeError, DecodeLimits, Format, convert};
use crate::RgbImage8;

/// The value of the tag `ExtraSamples` that says: alpha, and colours are multiplied with it.
const PREMULTIPLIED: u16 = 1;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let mut cap = Limits::default();
    cap.decoding_buffer_size = limits.alloc_bytes();
    cap.intermediate_buffer_size = limits.alloc_bytes();
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(convert_error)?.with_limits(cap);
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    limits.check(Format::Tiff, width, height)?;

    let colour = decoder.colortype().map_err(convert_error)?;
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples).map_err(convert_error)?;
    let premultiplied = extra.is_some_and(|extra| extra.first() == Some(&PREMULTIPLIED));
    let orientation = decoder.find_tag_unsigned::<u16>(Tag::Orientation).map_err(convert_error)?;
    let samples = decoder.read_image().map_err(convert_error)?;

    let mut data = Vec::with_capacity(3 * width as usize * height as usize);
    append_rgb(colour, premultiplied, &samples, width as usize, &mut data)?;
    // Another length also results from a file that keeps its channels in planes, of which the decoder
    // reads the first.
    let image = RgbImage8::new(width, height, data).ok_or_else(|| {
        DecodeError::unsupported(Format::Tiff, "channels in planes or of odd number")
    })?;
    Ok(turned(image, orientation.unwrap_or(1)))
}

fn append_rgb(
    colour: ColorType,
    premultiplied: bool,
    samples: &DecodingResult,
    width: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match (colour, samples) {
        (ColorType::Gray(bits @ (1 | 2 | 4 | 8)), DecodingResult::U8(bytes)) => {
            let scale = convert::gray_scale(bits);
            for row in bytes.chunks_exact((width * usize::from(bits)).div_ceil(8)) {
                convert::gray(convert::unpack(row, bits, width).map(|v| v * scale), out);
            }
        }
        (ColorType::Gray(16), DecodingResult::U16(values)) => {
            convert::gray(values.iter().map(|v| convert::clamp_gray16(*v)), out);
        }
        (ColorType::Multiband { bit_depth: 8, num_samples: 2 }, DecodingResult::U8(bytes)) => {
            convert::gray(bytes.iter().step_by(2).copied(), out);
        }
        (ColorType::RGB(8), DecodingResult::U8(bytes)) => out.extend_from_slice(bytes),
        (ColorType::RGBA(8), DecodingResult::U8(bytes)) if premultiplied => {
            convert::unpremultiply(bytes, out);
        }
        (ColorType::RGBA(8), DecodingResult::U8(bytes)) => convert::first_three(bytes, 4, out),
        (ColorType::CMYK(8), DecodingResult::U8(bytes)) => convert::cmyk(bytes, out),
        (ColorType::RGB(16), DecodingResult::U16(values)) => out.extend(high_bytes(values)),
        (ColorType::RGBA(16), DecodingResult::U16(values)) if !premultiplied => {
            convert::first_three(&high_bytes(values), 4, out);
        }
        (other, _) => {
            return Err(DecodeError::unsupported(Format::Tiff, format_args!("{other:?} samples")));
        }
    }
    Ok(())
}

fn high_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().map(|value| value.to_be_bytes()[0]).collect()
}

/// The image as the orientation tag (1 to 8) wants it shown; other values change nothing.
fn turned(image: RgbImage8, orientation: u16) -> RgbImage8 {
    // Which corner of the stored image comes first, and whether its columns become rows.
    let (swap, from_right, from_bottom) = match orientation {
        2 => (false, true, false),
        3 => (false, true, true),
        4 => (false, false, true),
        5 => (true, false, false),
        6 => (true, false, true),
        7 => (true, true, true),
        8 => (true, true, false),
        _ => return image,
    };
    let (stored_width, stored_height) = (image.width(), image.height());
    let (width, height) =
        if swap { (stored_height, stored_width) } else { (stored_width, stored_height) };
    RgbImage8::build(width, height, |data| {
        for y in 0..height {
            for x in 0..width {
                let (column, row) = if swap { (y, x) } else { (x, y) };
                let column = if from_right { stored_width - 1 - column } else { column };
                let row = if from_bottom { stored_height - 1 - row } else { row };
                let at = 3 * (row as usize * stored_width as usize + column as usize);
                data.extend_from_slice(&image.data()[at..at + 3]);
            }
        }
    })
}

fn convert_error(error: TiffError) -> DecodeError {
    match error {
        TiffError::UnsupportedError(what) => DecodeError::unsupported(Format::Tiff, what),
        TiffError::LimitsExceeded => {
            DecodeError::unsupported(Format::Tiff, "it needs too much memory")
        }
        error => DecodeError::from_decoder(Format::Tiff, error),
    }
}
