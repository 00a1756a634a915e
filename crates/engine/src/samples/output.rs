//! What the network gave, held against what is kept of what it gave before.

use mar::Summary;
use mar_handler::{DType, Device, Numbers, Tensor};

use super::Compared;
use super::numbers::{count, percent, short};

/// How far apart outputs may be, as a share of the largest known one and at least of 1: processors add up in
/// other orders; CUDA multiplies in `TF32`, and half precision has 8 to 11 bits.
const ON_CPU: f64 = 1e-3;
const COARSE: f64 = 1e-2;
/// Whole numbers are what they were; this is for the rounding of their mean.
const WHOLE: f64 = 1e-9;

/// Compares the outputs that are known: by their names where they have some, else in order.
pub(super) fn compare(known: &[Summary], ours: &[Tensor], device: Device) -> Compared {
    let mut same = Vec::new();
    for (index, summary) in known.iter().enumerate() {
        let found = match &summary.name {
            Some(name) => ours.iter().find(|tensor| tensor.name() == Some(name)),
            None => ours.get(index),
        };
        let called = match &summary.name {
            Some(name) => format!("output \"{name}\": "),
            None if known.len() > 1 => format!("output {index}: "),
            None => String::new(),
        };
        let Some(tensor) = found else {
            return Err(format!("{called}the network gave none; it gave {}", told(ours)));
        };
        match one(summary, tensor, device) {
            Ok(figures) => same.push(format!("{called}{figures}")),
            Err(figures) => return Err(format!("{called}{figures}")),
        }
    }
    Ok(same.join("; "))
}

fn told(outputs: &[Tensor]) -> String {
    let told = outputs.iter().map(|tensor| {
        let name = tensor.name().map_or_else(String::new, |name| format!("{name} of "));
        format!("{name}{} {:?}", tensor.dtype().name(), tensor.shape())
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() { "nothing".into() } else { told.join(", ") }
}

fn one(known: &Summary, ours: &Tensor, device: Device) -> Compared {
    let dtype = ours.dtype();
    if dtype.name() != known.dtype || ours.shape() != known.shape {
        return Err(format!(
            "{} {:?} where {} {:?} was known",
            dtype.name(),
            ours.shape(),
            known.dtype,
            known.shape
        ));
    }
    let values = ours.numbers();
    let allowed = tolerance(known, dtype, device);
    // Not-a-number is never near.
    let far = |difference: f64| difference.is_nan() || difference > allowed;
    let differences: Vec<f64> = known
        .values
        .iter()
        .enumerate()
        .map(|(k, known_value)| {
            // An index keeps no more values than there are elements.
            (values.at(k * values.len() / known.values.len()) - known_value).abs()
        })
        .collect();
    let outside = differences.iter().filter(|difference| far(**difference)).count();
    let largest = largest(&differences);
    let figures = format!(
        "at {} known places the largest difference is {}, where {} is allowed",
        differences.len(),
        short(largest),
        short(allowed)
    );
    if outside > 0 {
        let share = percent(outside, differences.len());
        return Err(format!("{figures}; {outside} places ({share}) are beyond that"));
    }
    for (what, known, ours) in moments(known, values) {
        if far((known - ours).abs()) {
            let (ours, known) = (short(ours), short(known));
            let wrong = format!("the {what} is {ours} where {known} was known");
            return Err(format!("{figures}; {wrong}"));
        }
    }
    Ok(figures)
}

/// How far an element of this type may be from a known one.
fn tolerance(known: &Summary, dtype: DType, device: Device) -> f64 {
    let is_half = matches!(dtype, DType::F16 | DType::BF16);
    let share = match device {
        _ if !dtype.is_float() => WHOLE,
        Device::Cpu if !is_half => ON_CPU,
        _ => COARSE,
    };
    share * known.max.abs().max(known.min.abs()).max(1.0)
}

/// The largest, or what is not a number where there is one.
fn largest(differences: &[f64]) -> f64 {
    let larger = |most: f64, one: &f64| if one.is_nan() || *one > most { *one } else { most };
    differences.iter().fold(0.0, larger)
}

/// What is known of all elements together, and what it is now. Nothing is known of no elements.
fn moments(known: &Summary, values: Numbers<'_>) -> Vec<(&'static str, f64, f64)> {
    if values.is_empty() {
        return Vec::new();
    }
    let smallest = values.iter().fold(f64::INFINITY, f64::min);
    let largest = values.iter().fold(f64::NEG_INFINITY, f64::max);
    let mean = values.iter().sum::<f64>() / count(values.len());
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count(values.len());
    vec![
        ("smallest", known.min, smallest),
        ("largest", known.max, largest),
        ("mean", known.mean, mean),
        ("standard deviation", known.std, variance.sqrt()),
    ]
}
