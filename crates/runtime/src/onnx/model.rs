//! An ONNX network that is open, on the processor or on a device.

use mar_handler::{Device, Epilogue, Error, LoadSpec, Model, Result, Tensor};
use serde_json::{Map, Value};

use super::binding::Places;
use super::error::{not_onnx, prediction};
use super::files::Files;
use super::following::Following;
use super::items::Items;
use super::library::Library;
use super::ports::Port;
use super::session::Network;
use super::steps::Steps;
use super::values::{self, Input};
use crate::cache::name;
use crate::epilogue::apply;
use crate::failure;

#[derive(Debug)]
pub(super) struct OnnxModel {
    session: Following,
    inputs: Vec<Port>,
    outputs: Vec<String>,
    items: Items,
    steps: Steps,
    device: Device,
    version: String,
}

impl OnnxModel {
    /// Opens an ONNX file, with the weights in files beside it, where it has such.
    pub(super) fn load(library: &Library, spec: &LoadSpec, files: Files) -> Result<Self> {
        let name = name(&spec.file);
        let session = Following::open(library, spec, files)?;
        let opened = session.current();
        opened.report.log(&name);
        let network = opened.network.session();
        let inputs = Port::all(network.inputs()).map_err(|cause| {
            Error::invalid_model(format!(
                "{name} cannot be served: {cause}, which no client can send"
            ))
        })?;
        let items = Items::of(network);
        let places = Places::of(spec.device).map_err(|error| not_onnx(&spec.file, error))?;
        let steps = Steps::new(library, spec, places);
        let outputs = network.outputs().iter().map(|port| port.name().to_owned());
        Ok(Self {
            outputs: outputs.collect(),
            inputs,
            session,
            items,
            steps,
            device: spec.device,
            version: library.version.clone(),
        })
    }

    fn check(&self, tensors: &[Tensor]) -> Result<()> {
        if tensors.len() != self.inputs.len() {
            let names: Vec<&str> = self.inputs.iter().map(|port| &*port.name).collect();
            return Err(Error::invalid_input(format!(
                "{} tensors for a network of {} inputs ({})",
                tensors.len(),
                names.len(),
                names.join(", ")
            )));
        }
        self.inputs.iter().zip(tensors).try_for_each(|(port, tensor)| port.check(tensor))
    }
}

impl OnnxModel {
    fn item(&self, item: Tensor) -> Result<Vec<Tensor>> {
        let Some(batch) = self.items.batch(item.shape()) else {
            return self.forward(vec![item], Epilogue::None);
        };
        let answers = self.forward(vec![item.reshape(&batch)?], Epilogue::None)?;
        self.items.without_batch(answers)
    }

    /// The first outputs, where the host can read them, under their names.
    fn answers(
        &self,
        network: &Network,
        inputs: &[Tensor],
        views: &[Input<'_>],
        wanted: usize,
    ) -> Result<Vec<Tensor>> {
        let answers = match self.steps.places() {
            Some(places) => network.run_bound(views, wanted, &places.host),
            None => network.run(views, wanted),
        };
        let named = answers.map_err(prediction)?.into_iter().zip(&self.outputs);
        let own = |(value, name): (_, &String)| {
            Ok(values::own(value, name, network.memory(), inputs)?.named(name.as_str()))
        };
        named.map(own).collect()
    }

    /// The epilogue of the first output where that lies, if it is better done there.
    fn in_place(
        &self,
        network: &Network,
        views: &[Input<'_>],
        epilogue: Epilogue,
    ) -> Result<Option<Vec<Tensor>>> {
        let first = network.session().outputs().first();
        if !first.is_some_and(|first| self.steps.take(epilogue, first.dtype())) {
            return Ok(None);
        }
        let scores = match self.steps.places() {
            Some(places) => network.run_bound(views, 1, &places.device),
            None => network.run(views, 1),
        };
        let scores = scores.map_err(prediction)?.pop();
        scores.map(|scores| self.steps.apply(&scores, epilogue)).transpose()
    }

    fn run(&self, inputs: &[Tensor], epilogue: Epilogue) -> Result<Vec<Tensor>> {
        self.check(inputs)?;
        let views =
            inputs.iter().zip(&self.inputs).map(|(tensor, port)| Input::of(tensor, &port.name));
        let views = views.collect::<Result<Vec<_>>>()?;
        // Kept to the end: what it answers lies in its memory.
        let opened = self.session.current();
        let network = &opened.network;
        if let Some(done) = self.in_place(network, &views, epilogue)? {
            return Ok(done);
        }
        // An epilogue is about the first output: the others are not made, and need not be tensors.
        let wanted = if epilogue == Epilogue::None { self.outputs.len() } else { 1 };
        apply(self.answers(network, inputs, &views, wanted)?, epilogue)
    }
}

impl Model for OnnxModel {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        failure::on(self.device, self.run(&inputs, epilogue))
    }

    /// ONNX has no list of tensors of any sizes that a client could send: a network is run once for each item. One
    /// that takes a batch is given a batch of one, and its answer is without it.
    fn forward_list(&self, items: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        items.into_iter().map(|item| self.item(item)).collect()
    }

    fn device(&self) -> Device {
        self.device
    }

    /// A session keeps nothing of a run, and ONNX Runtime lets several threads run it.
    fn is_shareable(&self) -> bool {
        true
    }

    fn use_threads(&self, threads: usize) {
        self.session.use_threads(threads);
    }

    fn describe(&self) -> Map<String, Value> {
        let mut all = Map::new();
        all.insert("version".into(), self.version.clone().into());
        all.extend(self.session.current().describe());
        all
    }

    fn changes(&self) -> u64 {
        self.session.changes()
    }
}

#[cfg(test)]
mod tests;
