//! JPEG. The choice of decoder is made in this file alone.
//!
//! libjpeg-turbo-rs gives the samples of libjpeg-turbo, which Pillow decodes with. It is asked to be strict, as
//! its filling of damaged parts does not always equal libjpeg's. One kind of damage is read as Pillow
//! reads it: data that stops before the end of the image, which libjpeg fills with gray.

use libjpeg_turbo_rs::{
    ColorSpace, DecodeLimits as Cap, DecodeWarning, Decoder, Image, JpegError, PixelFormat,
    ScalingFactor,
};

use super::markers::{MAX_SCANS, Markers, walk};
use super::{DecodeError, DecodeLimits, Format, convert};
use crate::{RgbImage8, Size};

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let markers = walk(bytes)?;
    markers.check(limits)?;
    rgb(bytes, &markers, limits, None)
}

/// Decodes to fewer pixels than the file has, from fewer coefficients: `choose` is told the size of the image
/// and answers how many eighths of each side are wanted, 1 to 8, and what the caller wants to keep.
/// Sides are rounded up.
pub(crate) fn decode_scaled<T>(
    bytes: &[u8],
    limits: &DecodeLimits,
    choose: impl FnOnce(Size) -> Result<(u32, T), DecodeError>,
) -> Result<(RgbImage8, T), DecodeError> {
    let markers = walk(bytes)?;
    markers.check(limits)?;
    let (eighths, kept) = choose(markers.size())?;
    let mut scales = ScalingFactor::SUPPORTED.into_iter();
    let scale = scales.find(|scale| scale.num() * 8 == eighths * scale.denom());
    Ok((rgb(bytes, &markers, limits, scale)?, kept))
}

/// The samples of a strip of a TIFF, `channels` a pixel, and how many pixels a row has. Colours are converted
/// from YCbCr where the TIFF says so; inks are not inverted.
pub(super) fn samples(
    bytes: &[u8],
    channels: usize,
    to_rgb: bool,
    limits: &DecodeLimits,
) -> Result<(Vec<u8>, usize), DecodeError> {
    let markers = walk(bytes)?;
    markers.check(limits)?;
    if markers.sampling.len() != channels {
        return Err(DecodeError::corrupt(Format::Tiff, "a strip of another number of channels"));
    }
    let image = image(bytes, &markers, limits, |decoder| {
        // What the JPEG itself says of its colours is asked only in so far as the decoder believes it.
        if channels == 3 && !to_rgb && decoder.jpeg_color_space() == ColorSpace::YCbCr {
            decoder.set_output_colorspace(ColorSpace::YCbCr);
        }
    })?;
    Ok((image.data, image.width))
}

fn rgb(
    bytes: &[u8],
    markers: &Markers,
    limits: &DecodeLimits,
    scale: Option<ScalingFactor>,
) -> Result<RgbImage8, DecodeError> {
    let image =
        image(bytes, markers, limits, |decoder| decoder.set_scale(scale.unwrap_or_default()))?;
    let side = |side| u32::try_from(side).unwrap_or(0);
    let (width, height) = (side(image.width), side(image.height));
    let data = match image.pixel_format {
        PixelFormat::Grayscale => {
            with_room(&image, |out| convert::gray(image.data.iter().copied(), out))
        }
        PixelFormat::Cmyk => with_room(&image, |out| {
            // Inks are stored inverted, as Adobe's programs write them; Pillow takes it for granted.
            let inks: Vec<u8> = image.data.iter().map(|ink| !ink).collect();
            convert::cmyk(&inks, out);
        }),
        _ => image.data,
    };
    RgbImage8::new(width, height, data)
        .ok_or_else(|| DecodeError::corrupt(Format::Jpeg, "other samples than the frame announces"))
}

fn image(
    bytes: &[u8],
    markers: &Markers,
    limits: &DecodeLimits,
    configure: impl FnOnce(&mut Decoder),
) -> Result<Image, DecodeError> {
    let cap = Cap {
        max_pixels: limits.max_pixels,
        max_scans: MAX_SCANS,
        max_memory: Some(limits.max_alloc),
        ..Cap::default()
    };
    let mut decoder = Decoder::new_with_limits(bytes, cap).map_err(convert_error)?;
    decoder.set_output_format(match markers.sampling.len() {
        1 => PixelFormat::Grayscale,
        4 => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    });
    // What libjpeg does of itself for progressive files that lack their last scans.
    decoder.set_block_smoothing(true);
    configure(&mut decoder);
    match decoder.decode_image() {
        // Data that stops early inside of restart intervals is filled in another way than libjpeg's.
        Err(JpegError::UnexpectedEof) if !markers.restarts => filled(decoder),
        decoded => decoded.map_err(convert_error),
    }
}

fn with_room(image: &Image, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut data = Vec::with_capacity(3 * image.width * image.height);
    fill(&mut data);
    data
}

/// Decodes data that stops early as libjpeg does, which goes on as if zeros followed. Where more than the end
/// is wrong, the file is refused: what comes out then does not always equal libjpeg's.
fn filled(mut decoder: Decoder) -> Result<Image, DecodeError> {
    decoder.set_lenient(true);
    let image = decoder.decode_image().map_err(convert_error)?;
    let tolerated = |warning: &DecodeWarning| {
        let harmless = matches!(warning, DecodeWarning::ExtraneousData { .. });
        harmless || matches!(warning, DecodeWarning::TruncatedData { .. })
    };
    if image.warnings.iter().all(tolerated) {
        Ok(image)
    } else {
        Err(convert_error(JpegError::UnexpectedEof))
    }
}

fn convert_error(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(what) => DecodeError::unsupported(Format::Jpeg, what),
        JpegError::LimitExceeded { .. } | JpegError::AllocationFailed { .. } => {
            DecodeError::unsupported(Format::Jpeg, "it needs too much memory")
        }
        error => DecodeError::corrupt(Format::Jpeg, error),
    }
}
