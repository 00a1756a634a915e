//! The first page of a TIFF, turned as its orientation says: Pillow does that whatever it is asked for.

mod chunks;
mod ifd;
mod jpeg;
mod samples;

use std::io::Cursor;

use ::tiff::decoder::{Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;
use ::tiff::{ColorType, TiffError};

use self::chunks::Mosaic;
use self::ifd::Directory;
use self::samples::Meaning;
use super::orientation::{Orientation, tag_in};
use super::{DecodeError, DecodeLimits, Format};
use crate::{RgbImage8, Size};

const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const ORIENTATION: u16 = 274;
const PLANAR: u16 = 284;
const XMP: u16 = 700;
const JPEG: u64 = 7;
/// Values of the tag of how samples are meant.
const WHITE_IS_ZERO: u64 = 0;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u64 = 2;
const PALETTE: u64 = 3;
const CMYK: u64 = 5;
const YCBCR: u64 = 6;
/// The value of the tag `ExtraSamples` that says: alpha, and colours are multiplied with it.
const PREMULTIPLIED: u16 = 1;

/// Bytes that the decoder may take for each value of a tag.
const BYTES_PER_VALUE: u64 = 64;

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let image = decode_stored(bytes, limits)?;
    Ok(orientation(bytes).turn(image))
}

/// The orientation that the image is turned by.
pub(super) fn orientation(bytes: &[u8]) -> Orientation {
    let xmp = Directory::first_of(bytes).and_then(|directory| directory.data(XMP));
    tag_in(Some(bytes), xmp).map_or(Orientation::UPRIGHT, Orientation::of_tag)
}

/// The orientation tag of EXIF data, which is a TIFF without an image.
pub(super) fn orientation_tag(exif: &[u8]) -> Option<u64> {
    Directory::first_of(exif)?.one(ORIENTATION)
}

fn decode_stored(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let tags = Directory::first_of(bytes);
    if tags.as_ref().is_some_and(|tags| !tags.is_sane(limits.max_alloc / BYTES_PER_VALUE)) {
        return Err(DecodeError::corrupt(Format::Tiff, "a tag of more values than the file holds"));
    }
    let mut decoder = reader(bytes, limits)?;
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    limits.check(Format::Tiff, width, height)?;
    let size = Size { height, width };
    let tag = |tag, default| tags.as_ref().and_then(|tags| tags.one(tag)).unwrap_or(default);
    let photometric = tag(PHOTOMETRIC, WHITE_IS_ZERO);
    let meaning = Meaning {
        width: width as usize,
        white_is_zero: photometric == WHITE_IS_ZERO,
        premultiplied: extra_samples(&mut decoder)?.first() == Some(&PREMULTIPLIED),
        palette: if photometric == PALETTE { Some(palette(&mut decoder)?) } else { None },
    };
    let planar = tag(PLANAR, 1) == 2;
    if tag(COMPRESSION, 1) == JPEG {
        let (colour, channels) = match photometric {
            WHITE_IS_ZERO | 1 => (ColorType::Gray(8), 1),
            RGB | YCBCR => (ColorType::RGB(8), 3),
            CMYK => (ColorType::CMYK(8), 4),
            other => {
                let what = format_args!("JPEG of photometric interpretation {other}");
                return Err(DecodeError::unsupported(Format::Tiff, what));
            }
        };
        let mosaic = Mosaic::new(&decoder, size, channels, planar);
        let samples = mosaic.read_jpegs(&mut decoder, bytes, photometric == YCBCR, limits)?;
        return finished(&meaning, size, colour, &DecodingResult::U8(samples));
    }

    // The decoder would refuse palettes and invert gray of 16 bits: to it both are gray that counts from black.
    let mut copy = None;
    if matches!(photometric, WHITE_IS_ZERO | PALETTE) {
        copy = tags.as_ref().and_then(|tags| tags.with(PHOTOMETRIC, BLACK_IS_ZERO));
    }
    if tag(FILL_ORDER, 1) == 2 {
        let mut turned = copy.unwrap_or_else(|| bytes.to_vec());
        reverse_bits(&mut turned, &mut decoder)?;
        copy = Some(turned);
    }
    let mut decoder = match &copy {
        Some(copy) => reader(copy, limits)?,
        None => decoder,
    };
    let colour = decoder.colortype().map_err(convert_error)?;
    let samples = if planar {
        let channels = planes(colour)?;
        DecodingResult::U8(Mosaic::new(&decoder, size, channels, true).read(&mut decoder)?)
    } else {
        decoder.read_image().map_err(convert_error)?
    };
    finished(&meaning, size, colour, &samples)
}

fn reader<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Reader<'a>, DecodeError> {
    let mut cap = Limits::default();
    cap.decoding_buffer_size = limits.alloc_bytes();
    cap.intermediate_buffer_size = limits.alloc_bytes();
    Ok(Decoder::new(Cursor::new(bytes)).map_err(convert_error)?.with_limits(cap))
}

fn finished(
    meaning: &Meaning,
    size: Size,
    colour: ColorType,
    samples: &DecodingResult,
) -> Result<RgbImage8, DecodeError> {
    let mut data = Vec::with_capacity(3 * size.width as usize * size.height as usize);
    meaning.append_rgb(colour, samples, &mut data)?;
    RgbImage8::new(size.width, size.height, data)
        .ok_or_else(|| DecodeError::corrupt(Format::Tiff, "other samples than the tags announce"))
}

fn extra_samples(decoder: &mut Reader) -> Result<Vec<u16>, DecodeError> {
    let extra = decoder.find_tag_unsigned_vec(Tag::ExtraSamples).map_err(convert_error)?;
    Ok(extra.unwrap_or_default())
}

/// The high bytes of the palette, which is stored as all reds, all greens, all blues of 16 bits.
fn palette(decoder: &mut Reader) -> Result<Box<[[u8; 3]; 256]>, DecodeError> {
    let planes = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(convert_error)?;
    let mut palette = Box::new([[0; 3]; 256]);
    let length = planes.len() / 3;
    for (index, colour) in palette.iter_mut().take(length).enumerate() {
        *colour = [0, 1, 2].map(|plane| planes[plane * length + index].to_be_bytes()[0]);
    }
    Ok(palette)
}

/// How many planes make a pixel.
fn planes(colour: ColorType) -> Result<usize, DecodeError> {
    match colour {
        ColorType::Gray(8) => Ok(1),
        ColorType::Multiband { bit_depth: 8, num_samples: 2 } => Ok(2),
        ColorType::RGB(8) => Ok(3),
        ColorType::RGBA(8) | ColorType::CMYK(8) => Ok(4),
        other => {
            let what = format_args!("{other:?} samples in planes");
            Err(DecodeError::unsupported(Format::Tiff, what))
        }
    }
}

fn reverse_bits(bytes: &mut [u8], decoder: &mut Reader) -> Result<(), DecodeError> {
    for chunk in chunks::ranges(decoder)? {
        let end = chunk.end.min(bytes.len());
        for byte in bytes.get_mut(chunk.start..end).unwrap_or_default() {
            *byte = byte.reverse_bits();
        }
    }
    Ok(())
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
