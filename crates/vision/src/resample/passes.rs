//! The loops over pixels. Sums of 8-bit samples times 22-bit weights stay below 2^31, as in Pillow.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sides are below 2^32, samples are clamped before they are narrowed"
)]

use std::ops::Range;

use super::weights::{PRECISION_BITS, Weights};
use crate::image::Image8;

const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Pixels handled together in the vertical pass, so that the sums stay in registers.
const LANES: usize = 32;

/// Scales the width. Only the rows in `rows` are made: row 0 of the result is row `rows.start`.
///
/// Two rows are carried in one 64-bit word, so one multiplication serves both. The lower half of the sum is
/// exact modulo 2^32, hence exact; what it borrows from the upper half is known and given back at the end.
pub(super) fn horizontal<const C: usize>(
    image: &Image8<C>,
    rows: Range<u32>,
    weights: &Weights,
) -> Image8<C> {
    let stride = C * image.width() as usize;
    let (start, count) = (rows.start as usize, rows.len());
    let source = &image.data()[start * stride..][..count * stride];
    let target_stride = C * weights.len() as usize;
    Image8::build(weights.len(), count as u32, |data| {
        data.resize(count * target_stride, 0);
        let mut pair = vec![0_i64; stride];
        for (from, to) in source.chunks(2 * stride).zip(data.chunks_mut(2 * target_stride)) {
            let (upper, lower) = from.split_at(stride);
            // The last row of an odd number is its own partner.
            let lower = if lower.is_empty() { upper } else { lower };
            for ((word, upper), lower) in pair.iter_mut().zip(upper).zip(lower) {
                *word = i64::from(*upper) | i64::from(*lower) << 32;
            }
            horizontal_pair::<C>(&pair, to, target_stride, weights);
        }
    })
}

fn horizontal_pair<const C: usize>(
    pair: &[i64],
    to: &mut [u8],
    target_stride: usize,
    weights: &Weights,
) {
    let (upper, lower) = to.split_at_mut(target_stride);
    let mut lower = lower.chunks_exact_mut(C);
    for ((start, values), upper) in weights.iter().zip(upper.chunks_exact_mut(C)) {
        let mut sums = [0_i64; C];
        let samples = &pair[C * start..C * (start + values.len())];
        for (pixel, weight) in samples.chunks_exact(C).zip(values) {
            let weight = i64::from(*weight);
            for (sum, sample) in sums.iter_mut().zip(pixel) {
                *sum = sum.wrapping_add(sample.wrapping_mul(weight));
            }
        }
        let low = sums.map(|sum| sum as i32);
        upper.copy_from_slice(&low.map(|sum| clip(sum.wrapping_add(HALF))));
        if let Some(lower) = lower.next() {
            for ((out, sum), low) in lower.iter_mut().zip(sums).zip(low) {
                let high = (sum.wrapping_sub(i64::from(low)) >> 32) as i32;
                *out = clip(high.wrapping_add(HALF));
            }
        }
    }
}

/// Scales the height. `image`'s row 0 is row `first_row` of the source that `weights` speak of.
pub(super) fn vertical<const C: usize>(
    image: &Image8<C>,
    first_row: u32,
    weights: &Weights,
) -> Image8<C> {
    let stride = C * image.width() as usize;
    Image8::build(image.width(), weights.len(), |data| {
        for (start, values) in weights.iter() {
            let rows = &image.data()[(start - first_row as usize) * stride..];
            let mut at = 0;
            while at + LANES <= stride {
                data.extend_from_slice(&column_sums::<LANES>(rows, stride, at, values));
                at += LANES;
            }
            while at < stride {
                data.extend_from_slice(&column_sums::<1>(rows, stride, at, values));
                at += 1;
            }
        }
    })
}

/// `N` neighbouring columns, starting at column `at`, weighed from the top down.
fn column_sums<const N: usize>(rows: &[u8], stride: usize, at: usize, values: &[i32]) -> [u8; N] {
    let mut sums = [HALF; N];
    for (row, weight) in rows.chunks_exact(stride).zip(values) {
        for (sum, sample) in sums.iter_mut().zip(&row[at..at + N]) {
            *sum = sum.wrapping_add(i32::from(*sample).wrapping_mul(*weight));
        }
    }
    sums.map(clip)
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Picks the pixel under the centre of each target pixel.
pub(super) fn nearest<const C: usize>(image: &Image8<C>, width: u32, height: u32) -> Image8<C> {
    let columns = nearest_indices(image.width(), width).collect::<Vec<_>>();
    let rows = nearest_indices(image.height(), height);
    pick(image, &columns, rows)
}

/// The pixels at the crossings of `columns` and `rows`.
pub(super) fn pick<const C: usize>(
    image: &Image8<C>,
    columns: &[usize],
    rows: impl ExactSizeIterator<Item = usize>,
) -> Image8<C> {
    let stride = C * image.width() as usize;
    Image8::build(columns.len() as u32, rows.len() as u32, |data| {
        for row in rows {
            let row = &image.data()[row * stride..][..stride];
            for column in columns {
                data.extend_from_slice(&row[C * column..C * (column + 1)]);
            }
        }
    })
}

/// The source index of each target index. Pillow adds up the step instead of multiplying, and the
/// rounding of those additions is part of what it answers.
pub(crate) fn nearest_indices(source: u32, target: u32) -> impl ExactSizeIterator<Item = usize> {
    let step = f64::from(source as f32) / f64::from(target);
    let mut at = step * 0.5;
    (0..target as usize).map(move |_| {
        let index = (at as u64).min(u64::from(source) - 1) as usize;
        at += step;
        index
    })
}
