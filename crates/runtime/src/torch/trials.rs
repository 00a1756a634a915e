//! What the forms of a network are tried on: the inputs that are known, and others made of them.

use std::time::{Duration, Instant};

use mar_handler::{Error, Result};
use tch::{CModule, IValue, Kind, TchError, Tensor};

use super::agreement::agree;
use super::answer::{self, Named};
use super::error::prediction;

/// Sides that a network of images halves without a remainder, as often as any does.
const STEP: i64 = 32;
/// How many times as long as a quick pass the first may take to be worth a second one.
const FAR: u32 = 8;

/// Inputs, and what the network itself answers to them.
#[derive(Debug)]
struct Trial {
    inputs: Vec<IValue>,
    own: Vec<Named>,
}

/// Everything that a form is tried on.
#[derive(Debug)]
pub(super) struct Trials {
    /// What passes are timed on.
    timed: Trial,
    /// What a form is tried on beside that, before it is timed.
    before: Vec<Trial>,
    /// What takes so long that only a form is tried on it that is to be chosen.
    after: Option<Trial>,
}

impl Trials {
    /// Runs the network itself on what is known, and on what is made of it: smaller images, and more in a batch,
    /// where it takes them. Where a pass takes longer than `quick`, those are what is timed.
    ///
    /// # Errors
    /// Where it fails on what is known, or answers otherwise the second time.
    pub(super) fn of(network: &CModule, known: &[Tensor], quick: Duration) -> Result<Self> {
        let begun = Instant::now();
        let first = Trial::of(network, known)?;
        let mut pass = begun.elapsed();
        // libtorch makes ready during the first pass of all. One that is far above is not repeated for that.
        if pass > quick && pass < quick * FAR {
            let begun = Instant::now();
            first.try_on(network).map_err(unstable)?;
            pass = begun.elapsed();
        }
        let is_slow = pass > quick;
        let made = |inputs: Result<Option<Vec<Tensor>>, TchError>| {
            let inputs = inputs.ok()??;
            Some((Trial::of(network, &inputs).ok()?, inputs))
        };
        let smaller = made(smaller(known));
        let base = smaller.as_ref().filter(|_| is_slow).map_or(known, |(_, inputs)| inputs);
        let batch = made(batch(base)).map(|(batch, _)| batch);
        let smaller = smaller.map(|(smaller, _)| smaller);
        let (timed, other, after) = match smaller {
            Some(smaller) if is_slow => (smaller, None, Some(first)),
            smaller => (first, smaller, None),
        };
        timed.try_on(network).map_err(unstable)?;
        Ok(Self { timed, before: other.into_iter().chain(batch).collect(), after })
    }

    /// The shapes of what passes are timed on.
    pub(super) fn timed_on(&self) -> String {
        let shape = |input: &IValue| match input {
            IValue::Tensor(tensor) => format!("{:?}", tensor.size()),
            _ => String::new(),
        };
        self.timed.inputs.iter().map(shape).collect::<Vec<_>>().join(" and ")
    }

    /// A pass of a form, whose answer is dropped.
    pub(super) fn pass(&self, form: &CModule) -> Result<()> {
        form.forward_is(&self.timed.inputs).map(drop).map_err(prediction)
    }

    /// Fails where a form does not answer as the network itself does. Two passes and more: libtorch compiles
    /// in the second.
    pub(super) fn try_before(&self, form: &CModule) -> Result<()> {
        [&self.timed, &self.timed]
            .into_iter()
            .chain(&self.before)
            .try_for_each(|of| of.try_on(form))
    }

    /// The rest of it, for a form that is to be chosen.
    pub(super) fn try_after(&self, form: &CModule) -> Result<()> {
        self.after.iter().try_for_each(|trial| trial.try_on(form))
    }
}

impl Trial {
    fn of(network: &CModule, inputs: &[Tensor]) -> Result<Self> {
        let inputs: Vec<_> =
            inputs.iter().map(|input| IValue::Tensor(input.shallow_clone())).collect();
        let own = answered(network, &inputs)?;
        Ok(Self { inputs, own })
    }

    /// A pass of a form, whose answer has to be the network's own.
    fn try_on(&self, form: &CModule) -> Result<()> {
        agree(&self.own, &answered(form, &self.inputs)?)
    }
}

fn answered(module: &CModule, inputs: &[IValue]) -> Result<Vec<Named>> {
    answer::flatten(module.forward_is(inputs).map_err(prediction)?)
}

fn unstable(error: Error) -> Error {
    let message = format!("from one pass to the next {}", error.message());
    Error::new(error.code(), message).caused_by(error)
}

/// Images of about half the sides, cut out; `None` where there are none, or none that large.
fn smaller(known: &[Tensor]) -> Result<Option<Vec<Tensor>>, TchError> {
    let half = |side: i64| (side / 2 / STEP * STEP).max(STEP);
    let mut made = Vec::with_capacity(known.len());
    for input in known {
        let [_, _, height, width] = input.size()[..] else { return Ok(None) };
        let (to_height, to_width) = (half(height), half(width));
        if to_height >= height || to_width >= width {
            return Ok(None);
        }
        made.push(input.f_narrow(2, 0, to_height)?.f_narrow(3, 0, to_width)?.f_contiguous()?);
    }
    Ok(Some(made))
}

/// Twice as many in a batch; of floating-point numbers the second half is another.
fn batch(known: &[Tensor]) -> Result<Option<Vec<Tensor>>, TchError> {
    let twice = |input: &Tensor| {
        let floats = matches!(input.f_kind()?, Kind::Float | Kind::Double);
        let other = if floats { input.f_mul_scalar(0.5)? } else { input.shallow_clone() };
        Tensor::f_cat(&[input, &other], 0)
    };
    known.iter().map(twice).collect::<Result<_, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn shapes(made: &[Tensor]) -> Vec<Vec<i64>> {
        made.iter().map(Tensor::size).collect()
    }

    #[test]
    fn images_are_halved_to_what_networks_halve_without_a_remainder() {
        let image = |sides: [i64; 4]| Tensor::f_rand(sides, (Kind::Float, Device::Cpu)).unwrap();
        for (sides, expected) in [
            ([1, 3, 96, 128], Some([1, 3, 32, 64])),
            ([1, 3, 224, 224], Some([1, 3, 96, 96])),
            ([2, 3, 384, 512], Some([2, 3, 192, 256])),
            ([1, 3, 32, 64], None),
            ([1, 3, 1, 1], None),
        ] {
            let made = smaller(&[image(sides)]).unwrap();
            assert_eq!(
                made.as_deref().map(shapes),
                expected.map(|sides| vec![sides.to_vec()]),
                "{sides:?}"
            );
        }
        let row = Tensor::f_rand([1, 8], (Kind::Float, Device::Cpu)).unwrap();
        assert!(smaller(&[image([1, 3, 96, 128]), row]).unwrap().is_none());
    }

    #[test]
    fn a_batch_is_what_is_known_and_something_else() {
        let known = [Tensor::from_slice2(&[[1_f32, 2.0]]), Tensor::from_slice2(&[[3_i64]])];
        let made = batch(&known).unwrap().unwrap();
        assert_eq!(shapes(&made), [vec![2, 2], vec![2, 1]]);
        assert_eq!(Vec::<Vec<f32>>::try_from(&made[0]).unwrap(), [[1.0, 2.0], [0.5, 1.0]]);
        assert_eq!(Vec::<Vec<i64>>::try_from(&made[1]).unwrap(), [[3], [3]]);
    }
}
