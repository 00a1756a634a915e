//! JPEG inside of a TIFF: every strip or tile is a JPEG of its own, whose tables may lie in a tag.

use super::super::{DecodeError, DecodeLimits, Format, jpeg};

/// An Adobe marker that says: three components are YCbCr, four are CMYK.
fn adobe(channels: usize) -> [u8; 16] {
    let transform = u8::from(channels == 3);
    [0xff, 0xee, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, transform]
}

/// The samples of a strip or tile, `channels` a pixel, and its width.
pub(super) fn chunk(
    tables: Option<&[u8]>,
    data: &[u8],
    channels: usize,
    to_rgb: bool,
    limits: &DecodeLimits,
) -> Result<(Vec<u8>, usize), DecodeError> {
    // The tables are a JPEG without an image: what lies between its start and its end belongs before the frame.
    let tables = tables.and_then(|tables| tables.strip_prefix(&[0xff, 0xd8])).unwrap_or_default();
    let tables = tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables);
    let frame = data
        .strip_prefix(&[0xff, 0xd8])
        .ok_or_else(|| DecodeError::corrupt(Format::Tiff, "a strip that should be a JPEG"))?;
    let file = [&[0xff, 0xd8], &adobe(channels)[..], tables, frame].concat();
    jpeg::samples(&file, channels, to_rgb, limits)
}
