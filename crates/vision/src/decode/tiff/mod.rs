//! The first page of a TIFF, turned as its orientation says: Pillow does that whatever it is asked for.

mod ifd;
mod jpeg;
mod samples;

use std::io::Cursor;

use ::tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;
use ::tiff::{ColorType, TiffError};

use self::ifd::Directory;
use self::samples::{Meaning, interleaved};
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
    let mut decoder = reader(bytes, limits)?;
    let (width, height) = decoder.dimensions().map_err(convert_error)?;
    limits.check(Format::Tiff, width, height)?;
    let size = Size { height, width };
    let tags = Directory::first_of(bytes);
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
        let plan = Jpegs { size, photometric, planar, limits };
        let (colour, samples) = plan.decode(bytes, &mut decoder)?;
        return finished(&meaning, size, colour, &samples);
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
    let mut samples = DecodingResult::U8(Vec::new());
    decoder.read_image_to_buffer(&mut samples).map_err(convert_error)?;
    if planar {
        samples = DecodingResult::U8(joined_planes(&samples, colour, size)?);
    }
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

fn joined_planes(
    samples: &DecodingResult,
    colour: ColorType,
    size: Size,
) -> Result<Vec<u8>, DecodeError> {
    let channels = match colour {
        ColorType::Gray(8) => 1,
        ColorType::RGB(8) => 3,
        ColorType::RGBA(8) | ColorType::CMYK(8) => 4,
        ColorType::Multiband { bit_depth: 8, num_samples: 2 } => 2,
        other => {
            let what = format_args!("{other:?} samples in planes");
            return Err(DecodeError::unsupported(Format::Tiff, what));
        }
    };
    match samples {
        DecodingResult::U8(planes) => {
            Ok(interleaved(planes, size.width as usize * size.height as usize, channels))
        }
        _ => Err(DecodeError::unsupported(Format::Tiff, "signed samples in planes")),
    }
}

/// Where the strips or tiles lie in the file.
fn chunks(decoder: &mut Reader) -> Result<Vec<std::ops::Range<usize>>, DecodeError> {
    let (offsets, lengths) = match decoder.get_chunk_type() {
        ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
        ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let offsets = decoder.get_tag_u64_vec(offsets).map_err(convert_error)?;
    let lengths = decoder.get_tag_u64_vec(lengths).map_err(convert_error)?;
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let ranges = offsets.into_iter().zip(lengths);
    Ok(ranges.map(|(at, length)| place(at)..place(at.saturating_add(length))).collect())
}

fn reverse_bits(bytes: &mut [u8], decoder: &mut Reader) -> Result<(), DecodeError> {
    for chunk in chunks(decoder)? {
        let end = chunk.end.min(bytes.len());
        for byte in bytes.get_mut(chunk.start..end).unwrap_or_default() {
            *byte = byte.reverse_bits();
        }
    }
    Ok(())
}

/// How strips or tiles of JPEG make an image.
struct Jpegs<'a> {
    size: Size,
    photometric: u64,
    planar: bool,
    limits: &'a DecodeLimits,
}

impl Jpegs<'_> {
    fn decode(
        &self,
        bytes: &[u8],
        decoder: &mut Reader,
    ) -> Result<(ColorType, DecodingResult), DecodeError> {
        let (colour, channels) = match self.photometric {
            _ if self.planar => {
                return Err(DecodeError::unsupported(Format::Tiff, "planes of JPEG"));
            }
            WHITE_IS_ZERO | 1 => (ColorType::Gray(8), 1),
            RGB | YCBCR => (ColorType::RGB(8), 3),
            CMYK => (ColorType::CMYK(8), 4),
            other => {
                let what = format_args!("JPEG of photometric interpretation {other}");
                return Err(DecodeError::unsupported(Format::Tiff, what));
            }
        };
        let tables = Tag::JPEGTables;
        let tables = decoder.find_tag(tables).map_err(convert_error)?;
        let tables = tables.map(::tiff::decoder::ifd::Value::into_u8_vec).transpose();
        let tables = tables.map_err(convert_error)?;
        let (wide, high) = decoder.chunk_dimensions();
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let (wide, high) = (wide as usize, high as usize);
        let across = width.div_ceil(wide.max(1)).max(1);

        let mut data = vec![0; width * height * channels];
        let ranges = chunks(decoder)?;
        if ranges.len() < across * height.div_ceil(high.max(1)) {
            return Err(DecodeError::corrupt(Format::Tiff, "strips are missing"));
        }
        for (index, range) in ranges.into_iter().enumerate() {
            let (left, top) = (index % across * wide, index / across * high);
            if top >= height {
                break;
            }
            let chunk = bytes
                .get(range)
                .ok_or_else(|| DecodeError::truncated(Format::Tiff, "a strip beyond the end"))?;
            let to_rgb = self.photometric == YCBCR;
            let (samples, stride) =
                jpeg::chunk(tables.as_deref(), chunk, channels, to_rgb, self.limits)?;
            let (columns, rows) = (wide.min(width - left), high.min(height - top));
            if stride < columns || samples.len() < rows * stride * channels {
                return Err(DecodeError::corrupt(Format::Tiff, "a strip of too few samples"));
            }
            for (row, source) in samples.chunks_exact(stride * channels).take(rows).enumerate() {
                let at = ((top + row) * width + left) * channels;
                data[at..at + columns * channels].copy_from_slice(&source[..columns * channels]);
            }
        }
        Ok((colour, DecodingResult::U8(data)))
    }
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
