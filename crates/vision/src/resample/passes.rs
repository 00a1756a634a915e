//! The loops over pixels. Sums of 8-bit samples times 22-bit weights stay below 2^31, as in Pillow.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sides are below 2^32, samples are clamped before they are narrowed"
)]

use std::ops::Range;

use multiversion::multiversion;

use super::weights::{PRECISION_BITS, Weights};
use crate::image::Image8;

const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Samples handled together, so that their sums stay in registers.
const LANES: usize = 32;

/// Scales the width. Only the rows in `rows` are made: row 0 of the result is row `rows.start`.
///
/// Several rows are laid side by side, eight of colours or thirty-two of gray: what was a column is then a row, and
/// scaling the width is scaling a height.
pub(super) fn horizontal<const C: usize>(
    image: &Image8<C>,
    rows: Range<u32>,
    weights: &Weights,
) -> Image8<C> {
    let stride = C * image.width() as usize;
    let target_stride = C * weights.len() as usize;
    let (start, count) = (rows.start as usize, rows.len());
    let source = &image.data()[start * stride..][..count * stride];
    // A pixel of three samples is given four places, which are copied at once.
    let pitch = C.next_power_of_two();
    let together = LANES / pitch;
    Image8::build(weights.len(), count as u32, |data| {
        data.resize(count * target_stride, 0);
        let mut columns = vec![[0; LANES]; image.width() as usize];
        let mut scaled = vec![[0; LANES]; weights.len() as usize];
        let groups = source.chunks(together * stride);
        for (from, to) in groups.zip(data.chunks_mut(together * target_stride)) {
            // Where fewer rows are left, the others' places keep what they had, and nobody looks there.
            for (row, at) in from.chunks_exact(stride).zip((0..LANES).step_by(pitch)) {
                for (column, pixel) in columns.iter_mut().zip(row.as_chunks::<C>().0) {
                    column[at..at + C].copy_from_slice(pixel);
                }
            }
            weigh_rows(columns.as_flattened(), 0, weights, scaled.as_flattened_mut(), LANES);
            for (row, at) in to.chunks_exact_mut(target_stride).zip((0..LANES).step_by(pitch)) {
                for (column, pixel) in scaled.iter().zip(row.as_chunks_mut::<C>().0) {
                    pixel.copy_from_slice(&column[at..at + C]);
                }
            }
        }
    })
}

/// Scales the height. `image`'s row 0 is row `first_row` of the source that `weights` speak of.
pub(super) fn vertical<const C: usize>(
    image: &Image8<C>,
    first_row: u32,
    weights: &Weights,
) -> Image8<C> {
    let stride = C * image.width() as usize;
    Image8::build(image.width(), weights.len(), |data| {
        data.resize(stride * weights.len() as usize, 0);
        weigh_rows(image.data(), first_row as usize, weights, data, stride);
    })
}

#[multiversion(targets("x86_64+avx2", "x86_64+sse4.1"))]
fn weigh_rows(
    source: &[u8],
    first_row: usize,
    weights: &Weights,
    target: &mut [u8],
    stride: usize,
) {
    for ((start, values), row) in weights.iter().zip(target.chunks_exact_mut(stride)) {
        let rows = &source[(start - first_row) * stride..];
        let mut at = 0;
        while at + LANES <= stride {
            row[at..at + LANES].copy_from_slice(&column_sums::<LANES>(rows, stride, at, values));
            at += LANES;
        }
        if let Some(last) = stride.checked_sub(LANES).filter(|last| *last + LANES > at) {
            // Some columns a second time, which is less work than the others one by one.
            row[last..].copy_from_slice(&column_sums::<LANES>(rows, stride, last, values));
            continue;
        }
        for (at, sample) in row.iter_mut().enumerate().skip(at) {
            [*sample] = column_sums::<1>(rows, stride, at, values);
        }
    }
}

/// `N` neighbouring columns, starting at column `at`, weighed from the top down.
#[expect(clippy::inline_always, reason = "in a function of its own it is not compiled for AVX2")]
#[inline(always)]
fn column_sums<const N: usize>(rows: &[u8], stride: usize, at: usize, values: &[i32]) -> [u8; N] {
    let mut sums = [HALF; N];
    for (row, weight) in rows.chunks_exact(stride).zip(values) {
        for (sum, sample) in sums.iter_mut().zip(&row[at..at + N]) {
            *sum = sum.wrapping_add(i32::from(*sample).wrapping_mul(*weight));
        }
    }
    let mut levels = [0; N];
    for (level, sum) in levels.iter_mut().zip(sums) {
        *level = (sum >> PRECISION_BITS).clamp(0, 255) as u8;
    }
    levels
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
