//! What a client gets, held against what one got before.

use std::collections::HashMap;

use mar::KnownAnswer;
use mar_handler::{Device, Response};
use serde_json::{Map, Value};

use super::Compared;
use super::numbers::{percent, short};

/// Coordinates in the hundreds have no more digits than probabilities: the share of a large number that it may
/// be off by, where the archive does not ask for more.
const DIGITS: f64 = 1e-4;

/// What CUDA's arithmetic may add to the tolerance of a number, as a share of it and at least of 1; and the
/// share of bytes that may differ for it, such as pixels on the border of two classes.
const ON_CUDA: f64 = 1e-2;
const BYTES_ON_CUDA: f64 = 1e-3;

/// Compares a response of a model on this device with a known body.
pub(super) fn compare(
    known: &KnownAnswer,
    body: &[u8],
    ours: &Response,
    device: Device,
) -> Compared {
    let is_exact = device == Device::Cpu;
    if !(200..300).contains(&ours.status) {
        return Err(format!("the answer has the status {}", ours.status));
    }
    if !is_json(&known.content_type) {
        let most = if is_exact { 1.0 } else { 1.0 - BYTES_ON_CUDA };
        return of_bytes(body, &ours.body, known.agreement.min(most));
    }
    let known_value: Value = serde_json::from_slice(body)
        .map_err(|error| format!("the known answer is no JSON: {error}"))?;
    let value: Value = serde_json::from_slice(&ours.body)
        .map_err(|error| format!("the answer is no JSON, as the known one is: {error}"))?;
    let share = if is_exact { 0.0 } else { ON_CUDA };
    let mut json = Json { tolerance: known.tolerance, share, largest: 0.0, numbers: 0 };
    json.compare(&known_value, &value, &mut String::new())?;
    Ok(if json.numbers == 0 {
        "the known members are there".into()
    } else {
        format!(
            "the known members are there; their numbers differ by {} at most",
            short(json.largest)
        )
    })
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

fn of_bytes(known: &[u8], ours: &[u8], agreement: f64) -> Compared {
    if known.len() != ours.len() {
        return Err(format!("{} bytes where {} were known", ours.len(), known.len()));
    }
    let differ = known.iter().zip(ours).filter(|(a, b)| a != b).count();
    let figures = if differ == 0 {
        "equal, byte for byte".to_owned()
    } else {
        let share = percent(differ, known.len());
        format!("{differ} of {} bytes differ, {share}", known.len())
    };
    let equal = super::numbers::count(known.len() - differ);
    if equal >= agreement * super::numbers::count(known.len()) {
        Ok(figures)
    } else {
        Err(format!("{figures}; {} of them must be the known ones", short(agreement)))
    }
}

/// Two values of JSON, walked side by side up to the first difference.
struct Json {
    tolerance: f64,
    /// What is allowed beside the tolerance, as a share of the number.
    share: f64,
    largest: f64,
    numbers: usize,
}

impl Json {
    /// `at` is the JSON pointer of these values.
    fn compare(&mut self, known: &Value, ours: &Value, at: &mut String) -> Result<(), String> {
        match (known, ours) {
            (Value::Object(known), Value::Object(ours)) => self.objects(known, ours, at),
            (Value::Array(known), Value::Array(ours)) => {
                if known.len() != ours.len() {
                    let (ours, known) = (ours.len(), known.len());
                    return Err(format!("{}: {ours} entries where {known} were known", shown(at)));
                }
                let pairs = known.iter().zip(ours).enumerate();
                for (index, (known, ours)) in pairs {
                    self.below(at, &index.to_string(), known, ours)?;
                }
                Ok(())
            }
            (Value::Number(_), Value::Number(_)) if known == ours => {
                self.numbers += 1;
                Ok(())
            }
            (Value::Number(a), Value::Number(b)) => {
                let whole = !a.is_f64() && !b.is_f64();
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                let difference = (a - b).abs();
                self.numbers += 1;
                self.largest = self.largest.max(difference);
                // Counts and classes are what they were, whatever the device.
                let allowed = if whole { self.tolerance } else { self.allowed(a) };
                if difference <= allowed {
                    return Ok(());
                }
                let (at, tolerance) = (shown(at), short(allowed));
                Err(format!("{at}: {b} where {a} was known, and {tolerance} is allowed"))
            }
            _ if known == ours => Ok(()),
            _ => Err(format!("{}: {} where {} was known", shown(at), brief(ours), brief(known))),
        }
    }

    /// How far a number may be from this one.
    fn allowed(&self, known: f64) -> f64 {
        let known = known.abs().max(1.0);
        self.tolerance.max(self.tolerance.min(DIGITS) * known).max(self.share * known)
    }

    fn below(
        &mut self,
        at: &mut String,
        token: &str,
        known: &Value,
        ours: &Value,
    ) -> Result<(), String> {
        let length = at.len();
        at.push('/');
        at.push_str(&token.replace('~', "~0").replace('/', "~1"));
        self.compare(known, ours, at)?;
        at.truncate(length);
        Ok(())
    }

    /// What is known is there, and in the known order where that is a rank. What is not known may be there,
    /// unless the known members are numbers alone: one more of those is one more label.
    fn objects(
        &mut self,
        known: &Map<String, Value>,
        ours: &Map<String, Value>,
        at: &mut String,
    ) -> Result<(), String> {
        let ranked = rank(known);
        let is_tie = ranked.as_ref().is_some_and(|ranked| self.is_tie_at_the_cut(ranked, ours));
        for (name, known) in known {
            let Some(ours) = ours.get(name) else {
                if is_tie {
                    continue;
                }
                let names: Vec<&str> = ours.keys().take(8).map(String::as_str).collect();
                let names = if names.is_empty() { "nothing".into() } else { names.join(", ") };
                return Err(format!(
                    "{}: no \"{name}\", which was known; found: {names}",
                    shown(at)
                ));
            };
            self.below(at, name, known, ours)?;
        }
        if known.values().all(Value::is_number)
            && !is_tie
            && let Some((name, value)) = ours.iter().find(|(name, _)| !known.contains_key(*name))
        {
            let value = brief(value);
            return Err(format!("{}: \"{name}\": {value}, which was not known", shown(at)));
        }
        let Some(ranked) = ranked else { return Ok(()) };
        let order: Vec<(&String, f64)> =
            ours.keys().filter_map(|name| Some((name, *ranked.get(name.as_str())?))).collect();
        // Two that are as good as equal may change places.
        let out_of_order =
            order.windows(2).find(|pair| pair[1].1 > pair[0].1 + 2.0 * self.allowed(pair[0].1));
        match out_of_order {
            Some([(before, _), (after, _)]) => {
                Err(format!("{}: \"{before}\" comes before \"{after}\"", shown(at)))
            }
            _ => Ok(()),
        }
    }
}

impl Json {
    /// Whether all that parts two rankings of one length is who of several that CUDA's arithmetic cannot tell
    /// apart comes last: the fifth and the sixth of the likeliest five.
    fn is_tie_at_the_cut(&self, known: &HashMap<&str, f64>, ours: &Map<String, Value>) -> bool {
        let last = known.values().copied().fold(f64::INFINITY, f64::min);
        // Of probabilities a hundredth is much, so that it is their own size that counts.
        let is_last = |number: f64| (number - last).abs() <= self.share * last.abs();
        let missing = known.iter().filter(|(name, _)| !ours.contains_key(**name));
        let strange = ours.iter().filter(|(name, _)| !known.contains_key(name.as_str()));
        self.share > 0.0
            && known.len() == ours.len()
            && missing.into_iter().all(|(_, number)| is_last(*number))
            && strange.into_iter().all(|(_, value)| value.as_f64().is_some_and(is_last))
    }
}

/// The members of an object that is a ranking, as a classifier's answer is: numbers, not all of them whole,
/// the largest first.
fn rank(known: &Map<String, Value>) -> Option<HashMap<&str, f64>> {
    let numbers: Vec<(&str, f64)> = known
        .iter()
        .map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
        .collect::<Option<_>>()?;
    let is_descending = numbers.windows(2).all(|pair| pair[0].1 >= pair[1].1);
    let has_fractions = numbers.iter().any(|(_, number)| number.fract() != 0.0);
    (is_descending && has_fractions).then(|| numbers.into_iter().collect())
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "the whole answer" } else { pointer }
}

/// A value in one short line.
fn brief(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
