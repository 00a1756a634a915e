//! The markers of a JPEG, read before a decoder is asked: size, what it costs, where it ends, how it is turned.
//!
//! Pillow reports "image file is truncated" where the end-of-image marker is missing, and so must a server: a
//! decoder would fill what is missing with gray. The same walk tells the size before anything is allocated.

use super::{DecodeError, DecodeLimits, Format};
use crate::Size;

/// What Pillow reads of a JPEG without decoding it.
#[derive(Debug)]
pub(super) struct Markers<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Sampling factors of the components, horizontal and vertical.
    pub(super) sampling: Vec<(u8, u8)>,
    /// Whether coefficients of the whole image are kept until the last scan has been read.
    pub(super) buffered: bool,
    scans: usize,
    /// Whether the scans are cut by restart markers.
    pub(super) restarts: bool,
    /// The segments that EXIF data and XMP data stand in, without their signatures.
    pub(super) exif: Vec<&'a [u8]>,
    pub(super) xmp: Option<&'a [u8]>,
}

/// Most scans of a file. Encoders write a dozen; each costs a pass over the whole image.
pub(super) const MAX_SCANS: usize = 500;
const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// Follows the markers from the first to the end of the image.
pub(super) fn walk(bytes: &[u8]) -> Result<Markers<'_>, DecodeError> {
    let mut frame: Option<(u8, &[u8])> = None;
    let (mut scans, mut restarts, mut interleaved) = (0_usize, false, true);
    let (mut exif, mut xmp) = (Vec::new(), None);
    let mut rest = &bytes[2..];
    loop {
        let (marker, after) = next_marker(rest).ok_or_else(ended)?;
        rest = after;
        match marker {
            0xd9 if scans > 0 => break,
            0xd9 => return Err(corrupt("no scan before the end of the image")),
            // Markers that stand alone: start of image, restarts, and one for arithmetic coding.
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let segment = segment(rest)?;
        rest = &rest[segment.len()..];
        match marker {
            // Start of frame, whatever the process; c4, c8 and cc are tables and an extension.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf if frame.is_none() => {
                frame = Some((marker, segment));
            }
            0xda => {
                scans += 1;
                let components = frame.and_then(|(_, frame)| frame.get(7)).copied();
                interleaved &= segment.get(2).copied() >= components;
            }
            0xdd => restarts |= segment.get(2..4).is_some_and(|interval| interval != [0, 0]),
            // Pillow reads these no further than the first scan.
            0xe1 if scans == 0 => match segment[2..].strip_prefix(EXIF) {
                Some(data) => exif.push(data),
                None => xmp = segment[2..].strip_prefix(XMP).or(xmp),
            },
            _ => {}
        }
    }
    let (marker, frame) = frame.ok_or_else(|| corrupt("no frame header"))?;
    let &[_, _, bits, h0, h1, w0, w1, count, ref components @ ..] = frame else {
        return Err(corrupt("the frame header is too short"));
    };
    if bits != 8 {
        return Err(DecodeError::unsupported(Format::Jpeg, format_args!("{bits} bits a sample")));
    }
    if ![1, 3, 4].contains(&count) {
        return Err(DecodeError::unsupported(Format::Jpeg, format_args!("{count} components")));
    }
    let components = components.get(..3 * usize::from(count));
    let components = components.ok_or_else(|| corrupt("the frame header is too short"))?;
    let side = |bytes| u32::from(u16::from_be_bytes(bytes));
    Ok(Markers {
        width: side([w0, w1]),
        height: side([h0, h1]),
        sampling: components.chunks_exact(3).map(|c| (c[1] >> 4, c[1] & 15)).collect(),
        buffered: !interleaved || matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce),
        scans,
        restarts,
        exif,
        xmp,
    })
}

impl Markers<'_> {
    pub(super) fn size(&self) -> Size {
        Size { height: self.height, width: self.width }
    }

    /// Refuses what would take more than `limits` allow, before anything is allocated for it.
    pub(super) fn check(&self, limits: &DecodeLimits) -> Result<(), DecodeError> {
        limits.check(Format::Jpeg, self.width, self.height)?;
        if self.scans > MAX_SCANS {
            let what = format_args!("more than {MAX_SCANS} scans");
            return Err(DecodeError::unsupported(Format::Jpeg, what));
        }
        if self.memory() > limits.max_alloc {
            return Err(DecodeError::unsupported(Format::Jpeg, "it needs too much memory"));
        }
        Ok(())
    }

    /// Bytes that a decoder holds: the components in whole blocks as samples, as coefficients of 16 bits where
    /// those are kept, and the image. A narrow image with large sampling factors has more blocks than pixels.
    fn memory(&self) -> u64 {
        let most = |side: fn(&(u8, u8)) -> u8| self.sampling.iter().map(side).max().unwrap_or(1);
        let (across, down) = (u64::from(most(|c| c.0).max(1)), u64::from(most(|c| c.1).max(1)));
        let units =
            u64::from(self.width).div_ceil(8 * across) * u64::from(self.height).div_ceil(8 * down);
        let blocks: u64 = self.sampling.iter().map(|c| u64::from(c.0) * u64::from(c.1)).sum();
        let per_sample = if self.buffered { 3 } else { 1 };
        let image = u64::from(self.width) * u64::from(self.height) * self.sampling.len() as u64;
        units * blocks * 64 * per_sample + image
    }
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
        Some(_) => Err(corrupt("a segment shorter than its own length")),
        None => Err(ended()),
    }
}

fn ended() -> DecodeError {
    DecodeError::truncated(Format::Jpeg, "no end-of-image marker")
}

fn corrupt(what: &'static str) -> DecodeError {
    DecodeError::corrupt(Format::Jpeg, what)
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
        let markers = walk(&TINY).unwrap();
        assert_eq!((markers.width, markers.height), (5, 3));
        assert_eq!(markers.sampling, [(1, 1)]);
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

    #[test]
    fn memory_counts_whole_blocks_and_coefficients() {
        let mut file = TINY;
        // One block of samples and fifteen pixels; with coefficients three times the block.
        assert_eq!(walk(&file).unwrap().memory(), 64 + 15);
        file[3] = 0xc2;
        assert_eq!(walk(&file).unwrap().memory(), 3 * 64 + 15);
        file[13] = 0x44;
        assert_eq!(walk(&file).unwrap().memory(), 3 * 16 * 64 + 15);
    }
}
