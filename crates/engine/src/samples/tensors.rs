//! What a stage of preprocessing made, held against what it made before.

use mar::{Digest, KnownTensor};
use mar_handler::{DType, Numbers, Result, Tensor};

use super::Compared;
use super::numbers::{count, percent, row, short};

/// Whether an element may be what its copy in half precision was made of: within a unit of the copy's last
/// place, and what a resampling in single precision may move it by.
fn is_near(ours: f64, copy: f64) -> bool {
    if copy.is_finite() {
        (ours - copy).abs() <= copy.abs().max(1.0) / 1024.0 + 1e-4
    } else if copy.is_nan() {
        ours.is_nan()
    } else {
        // Too large for the copy.
        ours.abs() >= f64::from(half::f16::MAX)
            && ours.is_sign_positive() == copy.is_sign_positive()
    }
}

/// How far the mean of a channel may be from the known one. It is known exactly, so that it shows a mean or a
/// std that is a little off, which the copies hide.
fn near_mean(mean: f64) -> f64 {
    2e-4 * mean.abs().max(1.0)
}

/// Compares one tensor. `copy` reads the compact copy, where there is one; it is asked for where the bytes
/// differ alone.
pub(super) fn compare<E>(
    known: &KnownTensor,
    ours: &Tensor,
    copy: impl FnOnce() -> Result<Option<Vec<u8>>, E>,
) -> Result<Compared, E>
where
    E: From<mar_handler::Error>,
{
    let dtype = ours.dtype();
    if dtype.name() != known.dtype || ours.shape() != known.shape {
        return Ok(Err(format!(
            "{} {:?} where {} {:?} was known",
            dtype.name(),
            ours.shape(),
            known.dtype,
            known.shape
        )));
    }
    if Digest::of(ours.bytes()).to_string() == known.sha256.to_ascii_lowercase() {
        return Ok(Ok("equal, byte for byte".into()));
    }
    let values = ours.numbers();
    let shape = Shape::of(ours);
    let means = means(values, shape.as_ref());
    let copy = match copy()? {
        None => None,
        Some(bytes) => {
            let of = if dtype.is_float() { DType::F16 } else { dtype };
            Some(Tensor::from_bytes(of, ours.shape(), bytes.into())?)
        }
    };
    let Some(copy) = copy else { return Ok(without_copy(dtype, &known.channel_means, &means)) };
    let pair = Pair { ours: values, copy: copy.numbers(), shape: shape.as_ref() };
    if !dtype.is_float() {
        return Ok(Err(pair.of_whole_numbers(&known.channel_means, &means)));
    }
    Ok(pair.of_floats(&known.channel_means, &means))
}

/// What can be said of bytes that differ where nothing shows by how much.
fn without_copy(dtype: DType, known: &[f64], ours: &[f64]) -> Compared {
    if !dtype.is_float() || known.is_empty() || known.len() != ours.len() {
        let means = told_means(known, ours);
        return Err(format!(
            "the bytes differ, and the archive has no copy to tell by how much{means}"
        ));
    }
    match wrong_mean(known, ours) {
        Some(wrong) => Err(wrong),
        None => Ok(format!(
            "the bytes differ and the archive has no copy; the channels' means are {} as known",
            row(ours)
        )),
    }
}

fn told_means(known: &[f64], ours: &[f64]) -> String {
    if known.is_empty() || known.len() != ours.len() {
        return String::new();
    }
    format!("; the channels' means are {} where {} were known", row(ours), row(known))
}

/// The first channel whose mean is not the known one.
fn wrong_mean(known: &[f64], ours: &[f64]) -> Option<String> {
    let far = |(known, ours): &(&f64, &f64)| {
        let difference = (*ours - *known).abs();
        difference.is_nan() || difference > near_mean(**known)
    };
    known
        .iter()
        .zip(ours)
        .any(|pair| far(&pair))
        .then(|| format!("the channels' means are {} where {} were known", row(ours), row(known)))
}

/// Where the channels of an image are: the last side of bytes, the first of floating point.
#[derive(Clone, Copy)]
struct Shape {
    channels: usize,
    pixels: usize,
    is_first: bool,
}

impl Shape {
    fn of(tensor: &Tensor) -> Option<Self> {
        let [a, b, c] = *tensor.shape() else { return None };
        tensor.dtype().size()?;
        let is_first = tensor.dtype().is_float();
        let (channels, pixels) = if is_first { (a, b * c) } else { (c, a * b) };
        (channels > 0 && pixels > 0).then_some(Self { channels, pixels, is_first })
    }

    fn channel<'a>(
        &self,
        values: Numbers<'a>,
        channel: usize,
    ) -> impl Iterator<Item = f64> + Clone + use<'a> {
        let (from, step) =
            if self.is_first { (channel * self.pixels, 1) } else { (channel, self.channels) };
        (0..self.pixels).map(move |pixel| values.at(from + pixel * step))
    }
}

fn means(values: Numbers<'_>, shape: Option<&Shape>) -> Vec<f64> {
    let Some(shape) = shape else { return Vec::new() };
    let mean = |channel| shape.channel(values, channel).sum::<f64>() / count(shape.pixels);
    (0..shape.channels).map(mean).collect()
}

/// Elements and their copies.
struct Pair<'a> {
    ours: Numbers<'a>,
    copy: Numbers<'a>,
    shape: Option<&'a Shape>,
}

impl Pair<'_> {
    /// How far elements are from their copies: the largest and the mean difference.
    fn differences(&self) -> (f64, f64) {
        let each = self.ours.iter().zip(self.copy.iter()).map(|(ours, copy)| (ours - copy).abs());
        let (mut largest, mut sum) = (0.0_f64, 0.0);
        for difference in each {
            // What is no number or infinite is told by the count.
            if difference.is_finite() {
                largest = largest.max(difference);
                sum += difference;
            }
        }
        (largest, sum / count(self.ours.len().max(1)))
    }

    /// Whole numbers whose bytes differ: pixels, or tokens.
    fn of_whole_numbers(&self, known_means: &[f64], means: &[f64]) -> String {
        let differ =
            self.ours.iter().zip(self.copy.iter()).filter(|(a, b)| a.total_cmp(b).is_ne()).count();
        let (largest, mean) = self.differences();
        let figures = format!(
            "{} of values differ, by {} at most and {} in the mean{}",
            percent(differ, self.ours.len()),
            short(largest),
            short(mean),
            told_means(known_means, means)
        );
        let reversed = |shape: &&Shape| {
            shape.channels > 1
                && (0..shape.channels).all(|channel| {
                    let other = shape.channel(self.copy, shape.channels - 1 - channel);
                    shape.channel(self.ours, channel).eq(other)
                })
        };
        match self.shape.filter(reversed) {
            Some(_) => format!("{figures}; {OTHER_ORDER}"),
            None => figures,
        }
    }

    fn of_floats(&self, known_means: &[f64], means: &[f64]) -> Compared {
        let outside = self
            .ours
            .iter()
            .zip(self.copy.iter())
            .filter(|(ours, copy)| !is_near(*ours, *copy))
            .count();
        let (largest, mean) = self.differences();
        let mut figures =
            format!("the largest difference is {}, the mean {}", short(largest), short(mean));
        let wrong =
            if known_means.len() == means.len() { wrong_mean(known_means, means) } else { None };
        if outside == 0 && wrong.is_none() {
            return Ok(figures);
        }
        if outside > 0 {
            let share = percent(outside, self.ours.len());
            figures = format!("{share} of values are too far from the known ones; {figures}");
        }
        for more in [wrong, self.hint()].into_iter().flatten() {
            figures = format!("{figures}; {more}");
        }
        Err(figures)
    }

    /// What would explain the difference.
    fn hint(&self) -> Option<String> {
        let shape = self.shape?;
        let line = |channel, of| {
            Line::through(&shape.channel(self.copy, of), &shape.channel(self.ours, channel))
        };
        let straight: Option<Vec<Line>> = (0..shape.channels).map(|c| line(c, c)).collect();
        if let Some(lines) = straight {
            let told: Vec<String> = lines
                .iter()
                .enumerate()
                .filter(|(_, line)| !line.is_identity())
                .map(|(channel, line)| format!("channel {channel} is {line}"))
                .collect();
            let told = told.join(", ");
            return (!told.is_empty())
                .then(|| format!("mean, std or scale differ: where a known value is x, {told}"));
        }
        let reversed = shape.channels > 1
            && (0..shape.channels).all(|c| line(c, shape.channels - 1 - c).is_some());
        reversed.then(|| OTHER_ORDER.to_owned())
    }
}

const OTHER_ORDER: &str = "the channels are in the other order";

/// What turns one list of numbers into another.
struct Line {
    slope: f64,
    offset: f64,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.keeps_size() {
            write!(f, "{} ", short(self.slope))?;
        }
        let sign = if self.offset < 0.0 { '-' } else { '+' };
        write!(f, "x {sign} {}", short(self.offset.abs()))
    }
}

impl Line {
    fn keeps_size(&self) -> bool {
        (self.slope - 1.0).abs() < 1e-3
    }

    /// Whether it changes nothing but for the rounding of copies.
    fn is_identity(&self) -> bool {
        self.keeps_size() && self.offset.abs() < near_mean(0.0)
    }

    /// The line through all pairs; `None` where they lie on none.
    fn through(
        x: &(impl Iterator<Item = f64> + Clone),
        y: &(impl Iterator<Item = f64> + Clone),
    ) -> Option<Self> {
        /// The least correlation of what is the same but for rounding.
        const STRAIGHT: f64 = 0.999_99;

        let pairs = || x.clone().zip(y.clone());
        let n = count(pairs().count());
        let (sum_x, sum_y) = pairs().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in pairs() {
            let (x, y) = (x - mean_x, y - mean_y);
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
        let slope = xy / xx;
        // Two points always lie on a line.
        let is_straight = n > 2.0 && slope > 0.0 && xy / (xx * yy).sqrt() > STRAIGHT;
        is_straight.then_some(Self { slope, offset: mean_y - slope * mean_x })
    }
}
