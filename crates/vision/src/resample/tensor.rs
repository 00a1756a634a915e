//! What torchvision makes of an 8-bit tensor without antialiasing: `resize(tensor, size, antialias=False)`.
//!
//! torchvision casts the levels to single precision, lets PyTorch interpolate (`align_corners=False`), rounds
//! half to even and casts back. A level changes where a sum lands on the other side of a half, so the sums here
//! are PyTorch's (`aten/src/ATen/native/cpu/UpSampleKernel.cpp`), with the fused multiplications that its
//! kernels are compiled to on every processor with AVX2 or NEON. The code is written afresh.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sides are below 2^32 and the conversions are part of the arithmetic being reproduced"
)]

use super::passes::pick;
use crate::image::Image8;

/// Up to this sum of the result's sides PyTorch interpolates linearly in one go, above it row by row.
const ONE_GO: u32 = 128;

/// How a tensor is interpolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// The pixel at the target pixel's own corner, cut to an integer.
    Nearest,
    /// Two by two pixels.
    Linear,
    /// Four by four pixels, cubic convolution with a = -0.75.
    Cubic,
}

/// `image` scaled to `width` x `height` pixels as a tensor is, however much smaller that is.
pub(crate) fn resize_tensor<const C: usize>(
    image: &Image8<C>,
    width: u32,
    height: u32,
    interpolation: Interpolation,
) -> Image8<C> {
    match interpolation {
        Interpolation::Nearest => {
            let columns = corners(image.width(), width).collect::<Vec<_>>();
            pick(image, &columns, corners(image.height(), height))
        }
        Interpolation::Linear => {
            let columns = axis(image.width(), width, linear);
            let rows = axis(image.height(), height, linear);
            let sum = if width + height <= ONE_GO { in_one_go } else { by_rows::<2> };
            interpolate(image, &columns, &rows, sum)
        }
        Interpolation::Cubic => {
            let columns = axis(image.width(), width, cubic);
            let rows = axis(image.height(), height, cubic);
            interpolate(image, &columns, &rows, by_rows::<4>)
        }
    }
}

/// The `N` source samples that make one target sample, and what each counts.
#[derive(Clone, Copy)]
struct Taps<const N: usize> {
    at: [usize; N],
    weights: [f32; N],
}

/// The taps of every target sample along one side: `taps` gets the place among the source samples that a
/// target sample's centre falls on, and the last source sample.
fn axis<const N: usize>(source: u32, target: u32, taps: fn(f32, usize) -> Taps<N>) -> Vec<Taps<N>> {
    let scale = source as f32 / target as f32;
    let centre = |index: u32| scale.mul_add(index as f32 + 0.5, -0.5);
    (0..target).map(|index| taps(centre(index), source as usize - 1)).collect()
}

fn linear(centre: f32, last: usize) -> Taps<2> {
    let centre = centre.max(0.0);
    let first = (centre.floor() as usize).min(last);
    let second = (centre - first as f32).clamp(0.0, 1.0);
    Taps { at: [first, (first + 1).min(last)], weights: [1.0 - second, second] }
}

fn cubic(centre: f32, last: usize) -> Taps<4> {
    // Never below -1, so that one sample more can be counted from 0.
    let first = ((centre.floor() + 1.0) as usize).min(last + 1);
    let beyond = (centre - (first as f32 - 1.0)).clamp(0.0, 1.0);
    let before = 1.0 - beyond;
    let at = [0, 1, 2, 3].map(|offset| (first + offset).saturating_sub(2).min(last));
    let weights = [far(beyond + 1.0), near(beyond), near(before), far(before + 1.0)];
    Taps { at, weights }
}

const A: f32 = -0.75;

/// The cubic's weight of a sample less than 1 away.
fn near(x: f32) -> f32 {
    (A + 2.0).mul_add(x, -(A + 3.0)) * x * x + 1.0
}

/// The cubic's weight of a sample 1 to 2 away.
fn far(x: f32) -> f32 {
    A.mul_add(x, -5.0 * A).mul_add(x, 8.0 * A) * x - 4.0 * A
}

/// The source index of each target index in PyTorch's `nearest`.
fn corners(source: u32, target: u32) -> impl ExactSizeIterator<Item = usize> {
    let scale = source as f32 / target as f32;
    let last = source as usize - 1;
    (0..target as usize).map(move |index| ((index as f32 * scale).floor() as usize).min(last))
}

/// What makes one sample of the values at the crossings of a row's and a column's taps.
type Sum<const N: usize> = fn([[f32; N]; N], &Taps<N>, &Taps<N>) -> f32;

fn interpolate<const C: usize, const N: usize>(
    image: &Image8<C>,
    columns: &[Taps<N>],
    rows: &[Taps<N>],
    sum: Sum<N>,
) -> Image8<C> {
    let stride = C * image.width() as usize;
    Image8::build(columns.len() as u32, rows.len() as u32, |data| {
        for row in rows {
            let lines = row.at.map(|at| &image.data()[at * stride..][..stride]);
            for column in columns {
                data.extend((0..C).map(|channel| {
                    let sample = |line: &[u8], at: usize| f32::from(line[C * at + channel]);
                    let values = lines.map(|line| column.at.map(|at| sample(line, at)));
                    sum(values, row, column).clamp(0.0, 255.0).round_ties_even() as u8
                }));
            }
        }
    })
}

/// Each row first, then the rows.
fn by_rows<const N: usize>(values: [[f32; N]; N], row: &Taps<N>, column: &Taps<N>) -> f32 {
    weighed(values.map(|values| weighed(values, column.weights)), row.weights)
}

/// All four with the products of their weights.
fn in_one_go(values: [[f32; 2]; 2], row: &Taps<2>, column: &Taps<2>) -> f32 {
    let [[a, b], [c, d]] = row.weights.map(|row| column.weights.map(|column| row * column));
    let [[at_a, at_b], [at_c, at_d]] = values;
    weighed([at_a, at_b, at_c, at_d], [a, b, c, d])
}

/// At least two values, the second product rounded before the others are added to it.
fn weighed<const N: usize>(values: [f32; N], weights: [f32; N]) -> f32 {
    let first = values[0].mul_add(weights[0], values[1] * weights[1]);
    let rest = values[2..].iter().zip(&weights[2..]);
    rest.fold(first, |sum, (value, weight)| value.mul_add(*weight, sum))
}
