//! Epilogues on the model's device: small networks of their own, which take the scores where they lie.
//!
//! A mask of bytes crosses the bus instead of the scores of every class. The results are those of [`super::epilogue`],
//! which is asked instead where they would not be: numbers that are none, types that a device does not compare, an
//! answer without a place in it. The top of a list is left to the host as well, because a list of classes is soon
//! copied, and the host promises which of two equal ones comes first.

mod graph;

use std::sync::Arc;

use mar_handler::{Epilogue, LoadSpec, Result, Tensor};
use ort::value::{DynValue, TensorElementType, ValueType};
use parking_lot::Mutex;

use self::graph::{Kind, Step};
use super::binding::Places;
use super::epilogue::{BYTE_CLASSES, apply, classes};
use super::error::prediction;
use super::library::Library;
use super::providers::Providers;
use super::session::Network;
use super::values::{self, Input};

/// The small networks of a model, each made when it is first needed.
#[derive(Debug)]
pub(super) struct Steps {
    library: Library,
    spec: LoadSpec,
    places: Places,
    made: Mutex<Vec<(Step, Arc<Network>)>>,
}

impl Steps {
    /// Those for a model of this device.
    pub(super) fn new(library: &Library, model: &LoadSpec, places: Places) -> Self {
        // The device is the model's; its file and its options are not about these.
        let spec = LoadSpec { device: model.device, ..LoadSpec::new(&model.file) };
        Self { library: library.clone(), spec, places, made: Mutex::new(Vec::new()) }
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The epilogue of scores that lie on the device.
    pub(super) fn apply(&self, scores: &DynValue, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        let (ValueType::Tensor { ty, shape, .. }, Some(dim)) =
            (scores.dtype(), dimension(epilogue))
        else {
            return apply(vec![self.fetched(scores)?], epilogue);
        };
        let sides = shape.iter().map(|side| usize::try_from(*side).unwrap_or_default());
        let sides = sides.collect::<Vec<_>>();
        let classes = classes(&sides, dim)?;
        if sides.contains(&0) {
            return apply(vec![self.fetched(scores)?], epilogue);
        }
        let kind = match epilogue {
            Epilogue::Softmax { .. } => Kind::Softmax,
            Epilogue::ArgMaxWithProbability { .. } => Kind::WinnerAndProbability,
            _ => Kind::Winner,
        };
        let step = Step {
            kind,
            dim,
            element: *ty,
            rank: sides.len(),
            single: classes == 1,
            bytes: classes <= BYTE_CLASSES,
        };
        let mut answers = self.run(step, scores)?;
        // Largest and smallest are not what the host has where a number is none.
        let odd =
            answers.pop().is_some_and(|odd| odd.as_slice::<f32>().is_ok_and(|odd| odd != [0.0]));
        if odd { apply(vec![self.fetched(scores)?], epilogue) } else { Ok(answers) }
    }

    /// What lies on the device, on the host.
    pub(super) fn fetched(&self, value: &DynValue) -> Result<Tensor> {
        let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
            return Err(prediction(ort::Error::new("scores that are no tensor lie on a device")));
        };
        let step = Step::copy(*ty, shape.len());
        let mut copies = self.run(step, value)?;
        copies.pop().ok_or_else(|| prediction(ort::Error::new("a copy holds no tensor")))
    }

    fn run(&self, step: Step, scores: &DynValue) -> Result<Vec<Tensor>> {
        let network = self.network(step)?;
        let wanted = network.session().outputs().len();
        let answers = network.run_bound(&[Input::Given(scores)], wanted, &self.places.host);
        let answers = answers.map_err(prediction)?.into_iter();
        answers.map(|answer| values::own(answer, "scores", network.memory(), &[])).collect()
    }

    fn network(&self, step: Step) -> Result<Arc<Network>> {
        let mut made = self.made.lock();
        if let Some((_, network)) = made.iter().find(|(known, _)| *known == step) {
            return Ok(Arc::clone(network));
        }
        let mut builder = Step::builder(&self.library.environment).map_err(prediction)?;
        Providers::read(&self.spec)?.register(&mut builder, &self.library.cuda)?;
        let network = step.session(&builder).and_then(Network::new).map_err(prediction)?;
        let network = Arc::new(network);
        made.push((step, Arc::clone(&network)));
        Ok(network)
    }
}

/// Whether an epilogue of scores of this kind is done on the device at all.
pub(super) fn take(epilogue: Epilogue, scores: &ValueType) -> bool {
    let floats =
        [TensorElementType::Float16, TensorElementType::Float32, TensorElementType::Float64];
    let ValueType::Tensor { ty, .. } = scores else { return false };
    dimension(epilogue).is_some() && floats.contains(ty)
}

fn dimension(epilogue: Epilogue) -> Option<usize> {
    match epilogue {
        Epilogue::Softmax { dim }
        | Epilogue::ArgMax { dim }
        | Epilogue::ArgMaxWithProbability { dim } => Some(dim),
        Epilogue::None | Epilogue::TopK { .. } => None,
    }
}

#[cfg(test)]
mod tests;
