//! The formats that the `image` crate decodes to 8-bit samples as they should be.

use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::{DecodeError, DecodeLimits, Format, convert};
use crate::RgbImage8;

/// Runs `decoder`, whose header has been read, under `limits`.
pub(super) fn decode(
    mut decoder: impl ImageDecoder,
    format: Format,
    limits: &DecodeLimits,
) -> Result<RgbImage8, DecodeError> {
    let (width, height) = decoder.dimensions();
    limits.check(format, width, height)?;
    let mut cap = Limits::default();
    cap.max_alloc = Some(limits.max_alloc);
    cap.reserve(decoder.total_bytes()).map_err(|error| convert_error(format, error))?;
    decoder.set_limits(cap).map_err(|error| convert_error(format, error))?;

    let colour = decoder.color_type();
    let mut samples = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut samples).map_err(|error| convert_error(format, error))?;
    let data = match colour {
        ColorType::Rgb8 => samples,
        ColorType::L8 => {
            to_rgb(samples.len() * 3, |out| convert::gray(samples.iter().copied(), out))
        }
        ColorType::Rgba8 => {
            to_rgb(samples.len() / 4 * 3, |out| convert::first_three(&samples, 4, out))
        }
        other => return Err(DecodeError::unsupported(format, format_args!("{other:?} samples"))),
    };
    RgbImage8::new(width, height, data).ok_or_else(|| {
        DecodeError::corrupt(format, "the decoder gave another size than it announced")
    })
}

fn to_rgb(bytes: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut data = Vec::with_capacity(bytes);
    fill(&mut data);
    data
}

/// Sorts the `image` crate's errors into ours.
pub(super) fn convert_error(format: Format, error: ImageError) -> DecodeError {
    match error {
        ImageError::Unsupported(error) => DecodeError::unsupported(format, error.kind_text()),
        ImageError::Limits(error) => {
            DecodeError::unsupported(format, format_args!("it needs too much memory ({error})"))
        }
        error => DecodeError::from_decoder(format, error),
    }
}

/// The reason in an error of the `image` crate, without the name of the format, which ours states.
trait KindText {
    fn kind_text(&self) -> String;
}

impl KindText for image::error::UnsupportedError {
    fn kind_text(&self) -> String {
        match self.kind() {
            image::error::UnsupportedErrorKind::GenericFeature(what) => what.clone(),
            other => format!("{other:?}"),
        }
    }
}
