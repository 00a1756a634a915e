//! JPEG inside of a TIFF: every strip or tile is a JPEG of its own, whose tables may lie in a tag.

use super::super::{DecodeError, Format};

/// The JPEG of a strip or tile of `channels` samples a pixel.
pub(super) fn file(tables: &[u8], chunk: &[u8], channels: usize) -> Result<Vec<u8>, DecodeError> {
    // The tables are a JPEG without an image: what lies between its start and its end belongs before the frame.
    let tables = tables.strip_prefix(&[0xff, 0xd8]).unwrap_or_default();
    let tables = tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables);
    let frame = chunk
        .strip_prefix(&[0xff, 0xd8])
        .ok_or_else(|| DecodeError::corrupt(Format::Tiff, "a strip that should be a JPEG"))?;
    // An Adobe marker that says: three components are YCbCr, four are CMYK.
    let transform = u8::from(channels == 3);
    let adobe = [0xff, 0xee, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, transform];
    Ok([&[0xff, 0xd8], &adobe[..], tables, frame].concat())
}
