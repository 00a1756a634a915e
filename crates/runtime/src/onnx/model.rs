//! An ONNX network on the processor.

use std::path::Path;

use mar_handler::{Device, Epilogue, Error, ErrorCode, LoadSpec, Model, Result, Tensor};
use ort::environment::Environment;
use ort::session::Session;
use serde_json::{Map, Value};

use super::epilogue::apply;
use super::error::{not_onnx, prediction};
use super::options::Options;
use super::ports::Port;
use super::session::Network;
use super::values::{self, Input};

#[derive(Debug)]
pub(super) struct OnnxModel {
    network: Network,
    options: Options,
    inputs: Vec<Port>,
    outputs: Vec<String>,
}

impl OnnxModel {
    /// Opens an ONNX file, with the weights in files beside it, where it has such.
    pub(super) fn load(environment: &Environment, spec: &LoadSpec) -> Result<Self> {
        if let Device::Cuda(_) = spec.device {
            return Err(Error::new(
                ErrorCode::Unsupported,
                format!(
                    "{} cannot go to {}: ONNX files run on the processor here; set deviceType: cpu",
                    file_name(&spec.file),
                    spec.device
                ),
            ));
        }
        let options = Options::new(&spec.options, spec.intra_op_threads)?;
        let open = || {
            let mut builder = options.apply(Session::builder(environment)?)?;
            Network::new(builder.commit_from_file(&spec.file)?)
        };
        let network = open().map_err(|error| not_onnx(&spec.file, error))?;
        let inputs = Port::all(network.session().inputs()).map_err(|cause| {
            let name = file_name(&spec.file);
            Error::invalid_model(format!(
                "{name} cannot be served: {cause}, which no client can send"
            ))
        })?;
        let outputs = network.session().outputs().iter().map(|port| port.name().to_owned());
        Ok(Self { outputs: outputs.collect(), inputs, network, options })
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
        let answers = self.network.run(&views).map_err(prediction)?;
        drop(views);
        // An epilogue is about the first output, so that the others need not be tensors.
        let wanted = if epilogue == Epilogue::None { answers.len() } else { 1 };
        let named = answers.into_iter().zip(&self.outputs).take(wanted);
        let own =
            |(value, name): (_, &String)| values::own(value, name, self.network.memory(), &inputs);
        apply(named.map(own).collect::<Result<_>>()?, epilogue)
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    /// A session keeps nothing of a run, and ONNX Runtime lets several threads run it.
    fn is_shareable(&self) -> bool {
        true
    }

    fn describe(&self) -> Map<String, Value> {
        self.options.describe()
    }
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
