//! Bitmaps of run lengths. Pixels that are jumped over have the palette's first colour, as in Pillow; the `image`
//! crate makes them black.

use super::super::{DecodeError, DecodeLimits, Format, convert};
use crate::RgbImage8;

/// Decodes a bitmap whose runs have 4 or 8 bits a pixel; none where it is another kind of bitmap.
pub(super) fn decode(
    bytes: &[u8],
    limits: &DecodeLimits,
) -> Option<Result<RgbImage8, DecodeError>> {
    let header = Header::read(bytes)?;
    Some(header.decode(bytes, limits))
}

/// What the header says.
#[derive(Debug)]
struct Header {
    width: u32,
    height: u32,
    top_down: bool,
    half_bytes: bool,
    palette: usize,
    colours: usize,
    pixels: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let place = |at: u32| usize::try_from(at).ok();
        let (size, bits, compression) = (word(14)?, word(26)? >> 16, word(30)?);
        if size < 40 || !matches!((bits, compression), (8, 1) | (4, 2)) {
            return None;
        }
        let height = word(22)?.cast_signed();
        let palette = 14 + place(size)?;
        let colours = match place(word(46)?)? {
            0 => 1 << bits,
            count => count.min(256),
        };
        let mut pixels = place(word(10)?)?;
        // A file that says its pixels stand where the palette does means: behind it.
        if pixels == 0 || pixels == palette {
            pixels = palette + 4 * colours;
        }
        let (top_down, half_bytes) = (height < 0, compression == 2);
        let (width, height) = (word(18)?, height.unsigned_abs());
        Some(Self { width, height, top_down, half_bytes, palette, colours, pixels })
    }

    fn decode(&self, bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
        limits.check(Format::Bmp, self.width, self.height)?;
        let palette = bytes.get(self.palette..self.palette + 4 * self.colours);
        let palette = palette.ok_or_else(|| DecodeError::truncated(Format::Bmp, "no palette"))?;
        let mut colours = [[0; 3]; 256];
        for (colour, entry) in colours.iter_mut().zip(palette.as_chunks::<4>().0) {
            *colour = [entry[2], entry[1], entry[0]];
        }
        let (width, height) = (self.width as usize, self.height as usize);
        let indices = self.indices(bytes, width, width * height);
        if indices.len() < width * height {
            return Err(DecodeError::truncated(Format::Bmp, "runs end before the last pixel"));
        }
        Ok(RgbImage8::build(self.width, self.height, |data| {
            for y in 0..height {
                let row = if self.top_down { y } else { height - 1 - y };
                let row = &indices[row * width..][..width];
                convert::palette(row.iter().copied(), &colours, data);
            }
        }))
    }

    /// The indices as far as the runs go, `most` of them at least where they all are there.
    fn indices(&self, bytes: &[u8], width: usize, most: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(most);
        let (mut at, mut x) = (self.pixels, 0);
        while data.len() < most {
            let Some(&[count, value]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else {
                break;
            };
            at += 2;
            match (count, value) {
                // The end of a row, of the bitmap, and a jump.
                (0, 0) => {
                    data.resize(data.len().next_multiple_of(width), 0);
                    x = 0;
                }
                (0, 1) => break,
                (0, 2) => {
                    let Some(&[right, up]) = bytes.get(at..).and_then(|rest| rest.first_chunk())
                    else {
                        break;
                    };
                    at += 2;
                    let jump = usize::from(right) + usize::from(up) * width;
                    data.resize(data.len() + jump.min(most - data.len()), 0);
                    x = data.len() % width;
                }
                // Pixels that are not a run.
                (0, count) => {
                    let wanted = usize::from(count).min(most - data.len());
                    let length = if self.half_bytes { wanted.div_ceil(2) } else { wanted };
                    let Some(source) = bytes.get(at..at + length) else { break };
                    let bits = if self.half_bytes { 4 } else { 8 };
                    data.extend(convert::unpack(source, bits, wanted));
                    x += usize::from(count);
                    at += length;
                    // The next code stands at an even place in the file.
                    at += at % 2;
                }
                (count, value) => {
                    let count = usize::from(count).min(width.saturating_sub(x));
                    if self.half_bytes {
                        data.extend((0..count).map(|index| value >> (4 * (1 - index % 2)) & 15));
                    } else {
                        data.resize(data.len() + count, value);
                    }
                    x += count;
                }
            }
        }
        data
    }
}
