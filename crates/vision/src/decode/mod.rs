//! From the bytes of a file to RGB, as Pillow's `Image.open(f).convert("RGB")` makes it.
//!
//! The format is read from the content; a file's name or media type plays no part. Alpha is dropped, not
//! blended; transparency of a palette or a colour key is ignored; 16-bit gray is clamped to 255 (Pillow's
//! mode `I;16`), 16-bit colour keeps its high bytes; of an animation the first frame is taken. The EXIF
//! orientation of a JPEG, PNG or WebP is ignored, as Pillow and FastAI ignore it; the orientation tag of a
//! TIFF is applied, as Pillow applies it.
//!
//! What is read comes out equal to the bytes of Pillow 13; `docs/pixels.md` says what is read, and where Pillow and
//! this crate do not agree on what is refused.

mod bmp;
mod classes;
mod convert;
mod error;
mod format;
mod gif;
mod jpeg;
mod markers;
mod orientation;
mod png;
mod through_image;
mod tiff;
mod webp;

pub use classes::png_classes;
pub use error::DecodeError;
pub use format::Format;
pub use orientation::Exif;

pub(crate) use jpeg::decode_scaled;
pub(crate) use orientation::Orientation;

use crate::RgbImage8;

/// Twice Pillow's `Image.MAX_IMAGE_PIXELS`: from there on Pillow raises `DecompressionBombError`.
pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

/// Longest side of an image, in pixels. Resizing and masks hold some bytes for each row and column, which a
/// small file of one endless row would otherwise turn into gigabytes.
const MAX_IMAGE_SIDE: u32 = 1 << 20;

/// What an image may cost. Checked against the file's header before a buffer for pixels exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width times height) that are decoded.
    pub max_pixels: u64,
    /// Most bytes a decoder may take for its own buffers.
    pub max_alloc: u64,
}

impl DecodeLimits {
    /// Bytes a decoder may hold for a pixel: four channels of 8 bits, and as much again with their coefficients.
    const BYTES_PER_PIXEL: u64 = 16;
    /// What a decoder may hold besides pixels: tables, windows, compressed chunks.
    const OVERHEAD: u64 = 16 << 20;

    /// Limits for images of at most `max_pixels` pixels, with room for any of the formats.
    pub const fn for_pixels(max_pixels: u64) -> Self {
        let max_alloc =
            max_pixels.saturating_mul(Self::BYTES_PER_PIXEL).saturating_add(Self::OVERHEAD);
        Self { max_pixels, max_alloc }
    }

    /// Refuses a size that the header declares, before anything is allocated for it.
    fn check(&self, format: Format, width: u32, height: u32) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::corrupt(format, "a side of zero pixels"));
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooManyPixels { width, height, limit: self.max_pixels });
        }
        if width.max(height) > MAX_IMAGE_SIDE {
            return Err(DecodeError::SideTooLong { width, height, limit: MAX_IMAGE_SIDE });
        }
        Ok(())
    }

    /// `max_alloc` for decoders that count in `usize`.
    fn alloc_bytes(&self) -> usize {
        usize::try_from(self.max_alloc).unwrap_or(usize::MAX)
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self::for_pixels(DEFAULT_MAX_PIXELS)
    }
}

/// Decodes an image file held in `bytes` to RGB. The orientation that a camera wrote is ignored.
///
/// # Errors
/// [`DecodeError`] tells apart an empty body, bytes of no known format, a size above `limits`, a file that
/// ends too early, one that is damaged, and a variant of a format that is not supported. A truncated
/// file never yields a partly filled image.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    match format_of(bytes)? {
        Format::Png => png::decode(bytes, limits),
        Format::Jpeg => jpeg::decode(bytes, limits),
        Format::WebP => webp::decode(bytes, limits),
        Format::Bmp => bmp::decode(bytes, limits),
        Format::Gif => gif::decode(bytes, limits),
        Format::Tiff => tiff::decode(bytes, limits),
    }
}

/// Decodes as [`decode`] does; with [`Exif::Apply`] the image is turned upright.
///
/// # Errors
/// As [`decode`].
pub fn decode_oriented(
    bytes: &[u8],
    limits: &DecodeLimits,
    exif: Exif,
) -> Result<RgbImage8, DecodeError> {
    let image = decode(bytes, limits)?;
    Ok(match exif {
        Exif::Ignore => image,
        Exif::Apply => Orientation::of_file(format_of(bytes)?, bytes)?.turn(image),
    })
}

/// The format of `bytes`.
pub(crate) fn format_of(bytes: &[u8]) -> Result<Format, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    Format::of(bytes).ok_or(DecodeError::NotAnImage)
}
