//! Epilogues where they take the least time: some as small networks of their own, which take the scores where they lie.
//!
//! On a device they are all but one: a mask of bytes crosses the bus instead of the scores of every class. The top of a
//! list is left to the host, because a list of classes is soon copied, and the host promises which of two equal ones
//! comes first. On the processor it is the other way round: ONNX Runtime sorts and exponentiates a list more than ten
//! times as fast as [`crate::epilogue`], which is as much faster with masks (docs/onnx.md has the numbers).
//!
//! The results are those of [`crate::epilogue`], which is asked instead where they would not be: numbers that are none,
//! types that are not compared here, an answer without a place in it.

mod graph;

use std::sync::Arc;

use mar_handler::{Epilogue, LoadSpec, Result, Tensor};
use ort::value::{DynValue, TensorElementType, ValueType};
use parking_lot::Mutex;

use self::graph::{Kind, Step};
use super::binding::Places;
use super::error::prediction;
use super::library::Library;
use super::providers::Providers;
use super::session::Network;
use super::values::{self, Input};
use crate::epilogue::{BYTE_CLASSES, apply, classes};

/// The small networks of a model, each made when it is first needed.
#[derive(Debug)]
pub(super) struct Steps {
    library: Library,
    spec: LoadSpec,
    /// Where a device leaves outputs; `None` on the processor.
    places: Option<Places>,
    made: Mutex<Vec<(Step, Arc<Network>)>>,
}

impl Steps {
    /// Those for a model of this device.
    pub(super) fn new(library: &Library, model: &LoadSpec, places: Option<Places>) -> Self {
        // The device is the model's; its file and its options are not about these.
        let spec = LoadSpec { device: model.device, ..LoadSpec::new(&model.file) };
        Self { library: library.clone(), spec, places, made: Mutex::new(Vec::new()) }
    }

    /// Where a device leaves outputs; `None` on the processor.
    pub(super) fn places(&self) -> Option<&Places> {
        self.places.as_ref()
    }

    /// Whether an epilogue of scores of this kind is done here at all.
    pub(super) fn take(&self, epilogue: Epilogue, scores: &ValueType) -> bool {
        let ValueType::Tensor { ty, .. } = scores else { return false };
        let is_wide = matches!(ty, TensorElementType::Float32 | TensorElementType::Float64);
        match (epilogue, self.places.is_some()) {
            (Epilogue::None, _) | (Epilogue::TopK { .. }, true) => false,
            (_, true) => is_wide || *ty == TensorElementType::Float16,
            (Epilogue::Softmax { .. } | Epilogue::TopK { .. }, false) => is_wide,
            (Epilogue::ArgMax { .. } | Epilogue::ArgMaxWithProbability { .. }, false) => false,
        }
    }

    /// The epilogue of scores, where they lie.
    pub(super) fn apply(&self, scores: &DynValue, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        let by_host = || apply(vec![self.fetched(scores)?], epilogue);
        let ValueType::Tensor { ty, shape, .. } = scores.dtype() else { return by_host() };
        let sides = shape.iter().map(|side| usize::try_from(*side).unwrap_or_default());
        let sides = sides.collect::<Vec<_>>();
        let (Some(dim), false) = (dimension(epilogue, sides.len()), sides.contains(&0)) else {
            return by_host();
        };
        let classes = classes(&sides, dim)?;
        let kind = match epilogue {
            Epilogue::Softmax { .. } => Kind::Softmax,
            Epilogue::ArgMaxWithProbability { .. } => Kind::WinnerAndProbability,
            Epilogue::TopK { k } => Kind::Top(k.min(classes)),
            Epilogue::ArgMax { .. } | Epilogue::None => Kind::Winner,
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
        let none = |odd: &Tensor| odd.as_slice::<f32>().is_ok_and(|odd| odd != [0.0]);
        let odd = answers.pop().is_some_and(|odd| none(&odd));
        if odd { by_host() } else { Ok(answers) }
    }

    /// What lies where the host may not be able to read it, as a tensor of the host's.
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
        let scores = [Input::Given(scores)];
        let answers = match &self.places {
            Some(places) => network.run_bound(&scores, wanted, &places.host),
            None => network.run(&scores, wanted),
        };
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

/// The dimension that an epilogue is about, of so many.
fn dimension(epilogue: Epilogue, rank: usize) -> Option<usize> {
    match epilogue {
        Epilogue::Softmax { dim }
        | Epilogue::ArgMax { dim }
        | Epilogue::ArgMaxWithProbability { dim } => Some(dim),
        Epilogue::TopK { .. } => rank.checked_sub(1),
        Epilogue::None => None,
    }
}

#[cfg(test)]
mod tests;
