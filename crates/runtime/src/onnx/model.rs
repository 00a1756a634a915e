//! An ONNX network that is open, on the processor or on a device.

use std::path::Path;

use mar_handler::{Device, Epilogue, Error, LoadSpec, Model, Result, Tensor};
use serde_json::{Map, Value};

use super::epilogue::apply;
use super::error::prediction;
use super::following::Following;
use super::library::Library;
use super::ports::Port;
use super::values::{self, Input};

#[derive(Debug)]
pub(super) struct OnnxModel {
    session: Following,
    inputs: Vec<Port>,
    outputs: Vec<String>,
    device: Device,
    version: String,
}

impl OnnxModel {
    /// Opens an ONNX file, with the weights in files beside it, where it has such.
    pub(super) fn load(library: &Library, spec: &LoadSpec) -> Result<Self> {
        let name = file_name(&spec.file);
        let session = Following::open(library, spec)?;
        let opened = session.current();
        opened.report.log(&name, &library.version);
        let network = opened.network.session();
        let inputs = Port::all(network.inputs()).map_err(|cause| {
            Error::invalid_model(format!(
                "{name} cannot be served: {cause}, which no client can send"
            ))
        })?;
        let outputs = network.outputs().iter().map(|port| port.name().to_owned());
        Ok(Self {
            outputs: outputs.collect(),
            inputs,
            session,
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

impl Model for OnnxModel {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        self.check(&inputs)?;
        let views =
            inputs.iter().zip(&self.inputs).map(|(tensor, port)| Input::of(tensor, &port.name));
        let views = views.collect::<Result<Vec<_>>>()?;
        let opened = self.session.current();
        let answers = opened.network.run(&views).map_err(prediction)?;
        drop(views);
        // An epilogue is about the first output, so that the others need not be tensors.
        let wanted = if epilogue == Epilogue::None { answers.len() } else { 1 };
        let named = answers.into_iter().zip(&self.outputs).take(wanted);
        let own = |(value, name): (_, &String)| {
            values::own(value, name, opened.network.memory(), &inputs)
        };
        apply(named.map(own).collect::<Result<_>>()?, epilogue)
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
        all.insert("runtime".into(), "ONNX Runtime".into());
        all.insert("version".into(), self.version.clone().into());
        all.extend(self.session.current().describe());
        all
    }
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
