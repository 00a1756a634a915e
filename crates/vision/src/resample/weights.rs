//! Which source samples make a target sample, and how much each counts.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sides are below 2^32 and the conversions are part of the arithmetic being reproduced"
)]

use std::f64::consts::PI;
use std::ops::Range;

use super::Filter;

/// Fraction bits of a weight: 32, less 8 for the sample, less 2 for sums outside 0..1.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A filter's shape and how far it reaches at scale 1.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    weigh: fn(f64) -> f64,
    support: f64,
}

/// The shape of `filter`; none for nearest, which weighs nothing.
pub(super) fn kernel(filter: Filter) -> Option<Kernel> {
    let (weigh, support): (fn(f64) -> f64, f64) = match filter {
        Filter::Nearest => return None,
        Filter::Box => (box_shape, 0.5),
        Filter::Bilinear => (triangle, 1.0),
        Filter::Hamming => (hamming, 1.0),
        Filter::Bicubic => (cubic, 2.0),
        Filter::Lanczos => (lanczos, 3.0),
    };
    Some(Kernel { weigh, support })
}

/// The weights of every target sample along one axis.
pub(super) struct Weights {
    windows: Vec<Window>,
    values: Vec<i32>,
    stride: usize,
}

struct Window {
    start: usize,
    len: usize,
}

impl Weights {
    /// Scales an axis of `source` samples to `target` samples.
    pub(super) fn new(source: u32, target: u32, kernel: Kernel) -> Self {
        // Pillow carries the box's edges as 32-bit floats.
        let scale = f64::from(source as f32) / f64::from(target);
        let stretch = scale.max(1.0);
        let support = kernel.support * stretch;
        let inverse_stretch = 1.0 / stretch;
        let stride = support.ceil() as usize * 2 + 1;

        let mut windows = Vec::with_capacity(target as usize);
        let mut values = vec![0; stride * target as usize];
        let mut row = Vec::with_capacity(stride);
        for (index, slots) in values.chunks_exact_mut(stride).enumerate() {
            let centre = (index as f64 + 0.5) * scale;
            let start = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(i64::from(source));
            row.clear();
            row.extend(
                (start..end).map(|at| (kernel.weigh)((at as f64 - centre + 0.5) * inverse_stretch)),
            );
            let sum: f64 = row.iter().sum();
            for (slot, weight) in slots.iter_mut().zip(&row) {
                *slot = fixed_point(if sum == 0.0 { *weight } else { *weight / sum });
            }
            windows.push(Window { start: start as usize, len: row.len() });
        }
        Self { windows, values, stride }
    }

    /// How many target samples there are.
    pub(super) fn len(&self) -> u32 {
        self.windows.len() as u32
    }

    /// For each target sample: the first source sample it reads, and the weights from there on.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.windows
            .iter()
            .zip(self.values.chunks_exact(self.stride))
            .map(|(window, values)| (window.start, &values[..window.len]))
    }

    /// The source samples that any target sample reads.
    pub(super) fn span(&self) -> Range<u32> {
        let first = self.windows.first().map_or(0, |window| window.start);
        let end = self.windows.last().map_or(0, |window| window.start + window.len);
        first as u32..end as u32
    }
}

/// Rounds half away from zero, as C does with a half added and the fraction cut.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn box_shape(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        return 1.0;
    }
    if x >= 1.0 {
        return 0.0;
    }
    let x = x * PI;
    // The two constants are single precision in Pillow.
    x.sin() / x * (f64::from(0.54_f32) + f64::from(0.46_f32) * x.cos())
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{Filter, PRECISION_BITS, Weights, kernel};

    #[test]
    fn weights_of_a_target_sample_sum_to_one() {
        for filter in
            [Filter::Box, Filter::Bilinear, Filter::Hamming, Filter::Bicubic, Filter::Lanczos]
        {
            for (source, target) in [(1, 1), (1, 50), (50, 1), (37, 31), (31, 37)] {
                let weights = Weights::new(source, target, kernel(filter).unwrap());
                assert_eq!(weights.len(), target);
                assert!(weights.span().end <= source);
                for (start, values) in weights.iter() {
                    let sum: i64 = values.iter().map(|v| i64::from(*v)).sum();
                    let slack = i64::try_from(values.len()).unwrap();
                    assert!(
                        (sum - (1 << PRECISION_BITS)).abs() <= slack,
                        "{filter} {source}->{target}"
                    );
                    assert!(start + values.len() <= source as usize);
                }
            }
        }
    }
}
