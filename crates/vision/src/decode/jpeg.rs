//! JPEG. The choice of decoder is made in this file alone.
//!
//! The `image` crate's decoder fills what is missing of a truncated file with gray and reports success,
//! where Pillow raises "image file is truncated". So the markers are walked first: a file without its
//! end-of-image marker is refused, which is also what Pillow comes down to, and the same walk finds the
//! size before a decoder allocates anything.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;

use super::{DecodeError, DecodeLimits, Format, through_image};
use crate::RgbImage8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let (width, height) = walk(bytes)?;
    limits.check(Format::Jpeg, width, height)?;
    let decoder = JpegDecoder::new(Cursor::new(bytes))
        .map_err(|error| through_image::convert_error(Format::Jpeg, error))?;
    through_image::decode(decoder, Format::Jpeg, limits)
}

/// Follows the markers from the first to the end of the image, and returns width and height.
fn walk(bytes: &[u8]) -> Result<(u32, u32), DecodeError> {
    let mut size = None;
    let mut scanned = false;
    let mut rest = &bytes[2..];
    loop {
        let (marker, after) = next_marker(rest).ok_or_else(ended)?;
        rest = after;
        match marker {
            0xd9 if scanned => break,
            0xd9 => {
                return Err(DecodeError::corrupt(
                    Format::Jpeg,
                    "no scan before the end of the image",
                ));
            }
            // Markers that stand alone: start of image, restarts, and one for arithmetic coding.
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let segment = segment(rest)?;
        rest = &rest[segment.len()..];
        match marker {
            // Start of frame, whatever the process; c4, c8 and cc are tables and an extension.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf if size.is_none() => {
                let &[_, _, _, h0, h1, w0, w1, ..] = segment else {
                    return Err(DecodeError::corrupt(
                        Format::Jpeg,
                        "the frame header is too short",
                    ));
                };
                let side = |bytes| u32::from(u16::from_be_bytes(bytes));
                size = Some((side([w0, w1]), side([h0, h1])));
            }
            0xda => scanned = true,
            _ => {}
        }
    }
    size.ok_or_else(|| DecodeError::corrupt(Format::Jpeg, "no frame header"))
}

/// The next marker at or after the start of `bytes`, and what follows it. Bytes before it are skipped: within
/// a scan they are its data, elsewhere they are rubbish that libjpeg skips too.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let at = rest.iter().position(|byte| *byte == 0xff)?;
        rest = &rest[at..];
        let fill = rest.iter().position(|byte| *byte != 0xff)?;
        let marker = rest[fill];
        rest = &rest[fill + 1..];
        // A zero after ff is a data byte of ff.
        if marker != 0 {
            return Some((marker, rest));
        }
    }
}

/// The segment that `bytes` begin with, its two bytes of length included.
fn segment(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let length = bytes.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
    match length {
        Some(length @ 2..) => bytes.get(..length).ok_or_else(ended),
        Some(_) => Err(DecodeError::corrupt(Format::Jpeg, "a segment shorter than its own length")),
        None => Err(ended()),
    }
}

fn ended() -> DecodeError {
    DecodeError::truncated(Format::Jpeg, "no end-of-image marker")
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, walk};

    /// SOI, a frame of 5x3, a scan header, two bytes of data, EOI.
    const TINY: [u8; 27] = [
        0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 3, 0, 5, 1, 1, 0x11, 0, 0xff, 0xda, 0, 4, 1, 0, 0xff,
        0, 7, 0xff, 0xff, 0xd9,
    ];

    #[test]
    fn finds_the_size_and_the_end() {
        assert_eq!(walk(&TINY).unwrap(), (5, 3));
        for cut in 2..TINY.len() {
            assert!(matches!(walk(&TINY[..cut]), Err(DecodeError::Truncated { .. })), "{cut}");
        }
    }

    #[test]
    fn an_end_marker_inside_a_segment_does_not_count() {
        let mut file = vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xda, 0xff, 0xd9];
        file.extend(&TINY[2..20]);
        assert!(matches!(walk(&file), Err(DecodeError::Truncated { .. })));
    }
}
