//! Masks as the run lengths of COCO: the strings of pycocotools' `mask.encode`, byte for byte.
//!
//! The runs go down the columns, from left to right, and are of nothing and of something in turn, nothing
//! first. Each length but the first three is written as its difference from the last but one, in groups of
//! five bits, least first, each as a printable character.

use super::{MaskError, check_size};

/// How many columns are turned into rows at a time: few enough that they stay in a processor's cache.
const STRIP: usize = 64;

/// Where one class is in a mask. The fields are those that pycocotools takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rle {
    /// Height and width in pixels.
    pub size: [u32; 2],
    /// The run lengths.
    pub counts: String,
}

/// The pixels of `class` in `mask` (`width * height` bytes, row by row). A class that is not there gives a
/// mask of nothing.
///
/// # Errors
/// Where the length is not the size.
pub fn rle(mask: &[u8], width: u32, height: u32, class: u8) -> Result<Rle, MaskError> {
    check_size(mask, width, height)?;
    let mut writer = Writer::default();
    let mut end = 0;
    runs(mask, width, height, |found, run| {
        if found == class {
            writer.run(run.start - end);
            writer.run(run.end - run.start);
            end = run.end;
        }
    });
    Ok(writer.finish(end, [height, width]))
}

/// As [`rle`], for every class that has a pixel, by class, in one pass over the mask.
///
/// # Errors
/// Where the length is not the size.
pub fn rles(mask: &[u8], width: u32, height: u32) -> Result<Vec<(u8, Rle)>, MaskError> {
    check_size(mask, width, height)?;
    let mut classes: Vec<(usize, Writer)> = vec![(0, Writer::default()); 256];
    runs(mask, width, height, |class, run| {
        let (end, writer) = &mut classes[usize::from(class)];
        writer.run(run.start - *end);
        writer.run(run.end - run.start);
        *end = run.end;
    });
    let found = (0..=u8::MAX).zip(classes).filter(|(_, (end, _))| *end > 0);
    Ok(found.map(|(class, (end, writer))| (class, writer.finish(end, [height, width]))).collect())
}

impl Rle {
    /// The mask again, row by row: 1 where the class is, else 0.
    ///
    /// # Errors
    /// Where the lengths are cut short, or do not cover exactly the size.
    pub fn decode(&self) -> Result<Vec<u8>, MaskError> {
        let [height, width] = self.size.map(|side| side as usize);
        let pixels = height.checked_mul(width).ok_or(MaskError::Runs)?;
        let lengths = lengths(self.counts.as_bytes(), pixels)?;
        let mut mask = vec![0; pixels];
        let mut at = 0;
        for (number, length) in lengths.into_iter().enumerate() {
            if number % 2 == 1 {
                for pixel in at..at + length {
                    mask[pixel % height * width + pixel / height] = 1;
                }
            }
            at += length;
        }
        Ok(mask)
    }
}

/// Reads the run lengths of a mask of `pixels`.
fn lengths(text: &[u8], pixels: usize) -> Result<Vec<usize>, MaskError> {
    let mut lengths: Vec<usize> = Vec::new();
    let mut left = pixels;
    let mut characters = text.iter();
    while let Some(first) = characters.next() {
        let (mut value, mut shift, mut character) = (0_i64, 0, *first);
        loop {
            let bits =
                character.checked_sub(48).filter(|bits| *bits < 64).ok_or(MaskError::Runs)?;
            value |= i64::from(bits & 0x1f) << shift;
            shift += 5;
            if bits & 0x20 == 0 {
                if bits & 0x10 != 0 {
                    value |= -1 << shift;
                }
                break;
            }
            // Twelve groups hold more than any number of pixels.
            character = *characters.next().filter(|_| shift < 60).ok_or(MaskError::Runs)?;
        }
        if lengths.len() > 2 {
            let before = i64::try_from(lengths[lengths.len() - 2]).map_err(|_| MaskError::Runs)?;
            value = value.checked_add(before).ok_or(MaskError::Runs)?;
        }
        let length = usize::try_from(value).map_err(|_| MaskError::Runs)?;
        left = left.checked_sub(length).ok_or(MaskError::Runs)?;
        lengths.push(length);
    }
    if left == 0 { Ok(lengths) } else { Err(MaskError::Runs) }
}

/// Writes the lengths of one class.
#[derive(Clone, Debug, Default)]
struct Writer {
    counts: String,
    written: usize,
    last: [i64; 2],
}

impl Writer {
    fn run(&mut self, length: usize) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let mut left = if self.written > 2 { length - self.last[0] } else { length };
        self.last = [self.last[1], length];
        self.written += 1;
        loop {
            let bits = left.to_le_bytes()[0] & 0x1f;
            left >>= 5;
            let more = if bits & 0x10 == 0 { left != 0 } else { left != -1 };
            self.counts.push(char::from((bits | u8::from(more) << 5) + 48));
            if !more {
                break;
            }
        }
    }

    /// Ends with the pixels behind the last run, where there are any.
    fn finish(mut self, end: usize, size: [u32; 2]) -> Rle {
        let pixels = size[0] as usize * size[1] as usize;
        if end < pixels {
            self.run(pixels - end);
        }
        Rle { size, counts: self.counts }
    }
}

/// Calls `found` for each longest run of one class down the columns, in order, with its pixels counted in
/// that order.
fn runs(mask: &[u8], width: u32, height: u32, mut found: impl FnMut(u8, std::ops::Range<usize>)) {
    let (width, height) = (width as usize, height as usize);
    let mut strip = vec![0; STRIP.min(width) * height];
    let (mut class, mut start, mut at) = (mask[0], 0, 0);
    for left in (0..width).step_by(STRIP) {
        let columns = STRIP.min(width - left);
        for (y, row) in mask.chunks_exact(width).enumerate() {
            for (x, pixel) in row[left..left + columns].iter().enumerate() {
                strip[x * height + y] = *pixel;
            }
        }
        for run in strip[..columns * height].chunk_by(|a, b| a == b) {
            if run[0] != class {
                found(class, start..at);
                (class, start) = (run[0], at);
            }
            at += run.len();
        }
    }
    found(class, start..at);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rle, rle, rles};
    use crate::MaskError;

    #[test]
    fn lengths_that_do_not_fit_the_size_are_refused() {
        let decode = |counts: &str| Rle { size: [2, 3], counts: counts.into() }.decode();
        assert_eq!(decode("6").unwrap(), [0; 6]);
        assert_eq!(decode("06").unwrap(), [1; 6]);
        // Cut short, too long, below zero, no such character, a group without its next, without an end.
        for counts in ["", "5", "7", "O", "\u{1f}6", "V", "60O", "oooooooooooooooo0"] {
            assert!(matches!(decode(counts), Err(MaskError::Runs)), "{counts:?}");
        }
        let huge = Rle { size: [u32::MAX, u32::MAX], counts: "1".into() };
        assert!(huge.decode().is_err(), "refused before memory is taken");
    }

    #[test]
    fn a_mask_of_another_size_is_refused() {
        assert!(matches!(rle(&[0; 5], 2, 3, 0), Err(MaskError::Size { .. })));
        assert!(matches!(rles(&[], 0, 0), Err(MaskError::Size { .. })));
    }

    /// A width, a height, and as many pixels of few classes, in runs.
    fn masks() -> impl Strategy<Value = (u32, u32, Vec<u8>)> {
        (1_u32..150, 1_u32..40, 1_usize..200, any::<u64>()).prop_map(
            |(width, height, run, seed)| {
                let mut state = seed;
                let pixels = (0..width as usize * height as usize).map(|i| {
                    if i % run == 0 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    }
                    (state >> 62) as u8
                });
                (width, height, pixels.collect())
            },
        )
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding((width, height, mask) in masks()) {
            let all = rles(&mask, width, height).unwrap();
            for class in 0..5 {
                let expected: Vec<u8> = mask.iter().map(|c| u8::from(*c == class)).collect();
                let one = rle(&mask, width, height, class).unwrap();
                prop_assert_eq!(one.decode().unwrap(), expected);
                let among = all.iter().find(|(found, _)| *found == class).map(|(_, rle)| rle);
                prop_assert_eq!(among, mask.contains(&class).then_some(&one));
            }
        }
    }
}
