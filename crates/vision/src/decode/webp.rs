//! WebP, lossy and lossless; of an animation the first frame.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;

use super::{DecodeError, DecodeLimits, Format, through_image};
use crate::RgbImage8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    check_length(bytes)?;
    check_frames(bytes, limits)?;
    let decoder = WebPDecoder::new(Cursor::new(bytes))
        .map_err(|error| through_image::convert_error(Format::WebP, error))?;
    through_image::decode(decoder, Format::WebP, limits)
}

/// The data of the first chunk of this kind.
pub(super) fn chunk(bytes: &[u8], wanted: [u8; 4]) -> Option<&[u8]> {
    let mut rest = bytes.get(12..)?;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [kind @ .., l0, l1, l2, l3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if kind == wanted {
            return after.get(..length);
        }
        // Chunks are padded to an even length.
        rest = after.get(length.saturating_add(length % 2)..)?;
    }
    None
}

/// Refuses a file shorter than its container says: the decoder does not miss the last bytes of a lossy image.
fn check_length(bytes: &[u8]) -> Result<(), DecodeError> {
    let declared = bytes[4..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
    if (bytes.len() as u64) < u64::from(declared) + 8 {
        return Err(DecodeError::truncated(Format::WebP, "shorter than its header says"));
    }
    Ok(())
}

/// Refuses frames above the limit wherever they hide. A container may announce a small canvas around a large
/// frame, and the decoder notices the contradiction only after it has allocated the frame.
fn check_frames(bytes: &[u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
    let mut rest = &bytes[12..];
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [kind @ .., l0, l1, l2, l3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if &kind == b"ANMF" {
            // A frame of an animation: 16 bytes about it, then chunks of its own.
            rest = after.get(16..).unwrap_or_default();
            continue;
        }
        if let Some((width, height)) = frame_size(kind, after) {
            limits.check(Format::WebP, width, height)?;
        }
        // Chunks are padded to an even length.
        rest = after.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    Ok(())
}

/// Width and height in the head of a bitstream: lossy after a tag and a start code, lossless after a signature.
fn frame_size(kind: [u8; 4], data: &[u8]) -> Option<(u32, u32)> {
    match (&kind, data) {
        (b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let side = |bytes| u32::from(u16::from_le_bytes(bytes) & 0x3fff);
            Some((side([w0, w1]), side([h0, h1])))
        }
        (b"VP8L", &[0x2f, b0, b1, b2, b3, ..]) => {
            let bits = u32::from_le_bytes([b0, b1, b2, b3]);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        _ => None,
    }
}
