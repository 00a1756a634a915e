//! Execution providers: which ones a model asks for, and what a session is told of them.

use mar_handler::{Device, Error, ErrorCode, LoadSpec, Result};
use ort::ep::{
    ArbitrarilyConfigurableExecutionProvider, CUDA, CoreML, ExecutionProviderDispatch, OneDNN,
    OpenVINO, TensorRT, XNNPACK,
};
use ort::session::builder::SessionBuilder;
use serde_json::{Map, Value};

use super::error::first_cause;
use super::offered::{self, Kind};
use crate::options::text;

/// Options that hold the address of something in this process, or code to be loaded into it: an archive has no
/// business with either.
const DANGEROUS: [&str; 12] = [
    "context",
    "gpu_external_alloc",
    "gpu_external_empty_cache",
    "gpu_external_free",
    "has_user_compute_stream",
    "threadpool_args",
    "trt_engine_decryption_lib_path",
    "trt_external_data_bytestream",
    "trt_external_data_bytestream_size",
    "trt_extra_plugin_lib_paths",
    "trt_onnx_bytestream",
    "user_compute_stream",
];

/// CUDA graphs replay a run at the addresses of the first one, and one at a time; the inputs of a server lie
/// elsewhere each time. <https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html>
const REPLAYED: [&str; 2] = ["enable_cuda_graph", "trt_cuda_graph_enable"];

/// The providers that a model asks for, in its order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Providers {
    asked: Vec<Provider>,
    /// The processor may do what the others cannot, all of it included.
    fallback: bool,
    device: Device,
}

/// A provider other than the processor's own, with the options that ONNX Runtime documents for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Provider {
    kind: Kind,
    options: Vec<(String, String)>,
}

/// A provider and its options, as they are written.
type Entry = (Kind, Vec<(String, String)>);

/// What became of the providers that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) kinds: Vec<Kind>,
    /// Those that cannot run here, and why.
    pub(super) missing: Vec<(Kind, String)>,
}

impl Providers {
    /// What the option `providers` asks for; without it the processor, or CUDA and for the rest the processor.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`] for what is not known or contradicts itself.
    pub(super) fn read(spec: &LoadSpec) -> Result<Self> {
        let mut of = Self { asked: Vec::new(), fallback: false, device: spec.device };
        for (kind, options) in entries(&spec.options)?.unwrap_or_else(|| of.by_default()) {
            of.add(kind, options, spec.intra_op_threads)?;
        }
        Ok(of)
    }

    fn by_default(&self) -> Vec<Entry> {
        let first = matches!(self.device, Device::Cuda(_)).then_some(Kind::Cuda);
        first.into_iter().chain([Kind::Cpu]).map(|kind| (kind, Vec::new())).collect()
    }

    fn add(&mut self, kind: Kind, options: Vec<(String, String)>, threads: usize) -> Result<()> {
        let name = kind.name();
        if self.fallback {
            return Err(invalid(&format!(
                "{name} stands behind cpu, which leaves nothing to run; put cpu last"
            )));
        }
        if self.asked.iter().any(|provider| provider.kind == kind) {
            return Err(invalid(&format!("{name} is named twice")));
        }
        if kind == Kind::Cpu {
            if let Some((key, _)) = options.first() {
                return Err(invalid(&format!("cpu takes no options, and here it has {key}")));
            }
            self.fallback = true;
            return Ok(());
        }
        let mut provider = Provider { kind, options: Vec::new() };
        for (key, value) in options {
            provider.set(key, value, self.device)?;
        }
        provider.follow(self.device, threads);
        self.asked.push(provider);
        Ok(())
    }

    /// Whether the processor may take over all of it.
    pub(super) fn may_fall_back(&self) -> bool {
        self.fallback && self.device == Device::Cpu
    }

    /// Whether nothing but the processor is asked for.
    pub(super) fn are_the_processor(&self) -> bool {
        self.asked.is_empty()
    }

    /// What is asked for, by name.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let others = self.asked.iter().map(|provider| provider.kind.name());
        others.chain(self.fallback.then_some(Kind::Cpu.name())).collect()
    }

    /// Tells a session of all that this library and this machine have.
    ///
    /// # Errors
    /// [`ErrorCode::Unsupported`] where one is missing and the processor may not stand in for it.
    pub(super) fn register(
        &self,
        builder: &mut SessionBuilder,
        cuda: &Result<usize, String>,
    ) -> Result<Registered> {
        let mut registered = Registered::default();
        for provider in &self.asked {
            match provider.register(builder, self.device, cuda) {
                Ok(()) => registered.kinds.push(provider.kind),
                Err(reason) if self.fallback => registered.missing.push((provider.kind, reason)),
                Err(reason) => {
                    return Err(unsupported(&format!("{}: {reason}", provider.kind.name())));
                }
            }
        }
        let on_device = registered.kinds.iter().any(|kind| kind.is_cuda());
        if let (Device::Cuda(_), false) = (self.device, on_device) {
            let reason = registered.missing.iter().find(|(kind, _)| kind.is_cuda());
            let reason = reason.map_or_else(
                || format!("providers names {} and no cuda", self.names().join(", ")),
                |(_, reason)| reason.clone(),
            );
            return Err(unsupported(&format!(
                "on {} it needs CUDA, {reason}; or set deviceType: cpu",
                self.device
            )));
        }
        Ok(registered)
    }
}

impl Provider {
    fn set(&mut self, key: String, value: String, device: Device) -> Result<()> {
        let name = self.kind.name();
        let refused = |why: &str| Err(invalid(&format!("{name}: {key} {why}")));
        if DANGEROUS.contains(&&*key) {
            return refused("is not for an archive to set");
        }
        if REPLAYED.contains(&&*key) && !matches!(&*value, "0" | "false" | "False") {
            return refused(
                "needs inputs that lie at the same address each time, which those of a server do not",
            );
        }
        if key == "device_id" && self.kind.is_cuda() {
            return match device {
                Device::Cuda(index) if value == index.to_string() => Ok(()),
                _ => refused(&format!(
                    "is {value} and follows the worker's device, {device}; set deviceIds"
                )),
            };
        }
        self.options.push((key, value));
        Ok(())
    }

    /// Sets what the worker decides: the device, and the threads unless the model has its own idea of them.
    fn follow(&mut self, device: Device, threads: usize) {
        let (key, value) = match (self.kind, device) {
            (Kind::Cuda | Kind::TensorRt, Device::Cuda(index)) => ("device_id", index),
            (Kind::OpenVino, _) => ("num_of_threads", threads.max(1)),
            (Kind::Xnnpack, _) => ("intra_op_num_threads", threads.max(1)),
            _ => return,
        };
        if !self.options.iter().any(|(known, _)| known == key) {
            self.options.push((key.to_owned(), value.to_string()));
        }
    }

    fn register(
        &self,
        builder: &mut SessionBuilder,
        device: Device,
        cuda: &Result<usize, String>,
    ) -> Result<(), String> {
        offered::check(self.kind)?;
        if self.kind.is_cuda() {
            let devices = cuda.clone()?;
            match device {
                Device::Cpu => {
                    return Err("this worker is on the processor; set deviceType: gpu".to_owned());
                }
                Device::Cuda(index) if index >= devices => {
                    return Err(format!("there are {devices} devices, counted from 0"));
                }
                Device::Cuda(_) => {}
            }
        }
        let Some(dispatch) = self.dispatch() else { return Ok(()) };
        dispatch.register(builder).map_err(|error| {
            let options = self.options.iter().map(|(key, _)| &**key).collect::<Vec<_>>();
            format!("{} (with its options {})", first_cause(error.message()), options.join(", "))
        })
    }

    fn dispatch(&self) -> Option<ExecutionProviderDispatch> {
        Some(match self.kind {
            Kind::Cpu => return None,
            Kind::Cuda => self.configured::<CUDA>(),
            Kind::TensorRt => self.configured::<TensorRT>(),
            Kind::OpenVino => self.configured::<OpenVINO>(),
            Kind::CoreMl => self.configured::<CoreML>(),
            Kind::Xnnpack => self.configured::<XNNPACK>(),
            Kind::OneDnn => self.configured::<OneDNN>(),
        })
    }

    fn configured<P>(&self) -> ExecutionProviderDispatch
    where
        P: ArbitrarilyConfigurableExecutionProvider + Default + Into<ExecutionProviderDispatch>,
    {
        let set = |provider: P, (key, value): &(String, String)| {
            provider.with_arbitrary_config(key, value)
        };
        self.options.iter().fold(P::default(), set).into()
    }
}

/// What the option `providers` lists; `None` where there is none.
fn entries(options: &Map<String, Value>) -> Result<Option<Vec<Entry>>> {
    let entries = match options.get("providers") {
        None => return Ok(None),
        Some(Value::Array(entries)) => entries.iter().map(entry).collect::<Result<Vec<_>>>()?,
        // Triton's parameters are texts.
        Some(Value::String(names)) => {
            let one = |name: &str| Ok((kind(name.trim())?, Vec::new()));
            names.split(',').map(one).collect::<Result<_>>()?
        }
        Some(_) => return Err(not_a_list()),
    };
    if entries.is_empty() { Err(not_a_list()) } else { Ok(Some(entries)) }
}

/// An entry of the list: a name, or a name with options.
fn entry(value: &Value) -> Result<Entry> {
    let (name, options) = match value {
        Value::String(name) => return Ok((kind(name)?, Vec::new())),
        Value::Object(entry) if entry.len() == 1 => entry.iter().next().ok_or_else(not_a_list)?,
        _ => return Err(not_a_list()),
    };
    let kind = kind(name)?;
    let options = match options {
        Value::Null => return Ok((kind, Vec::new())),
        Value::Object(options) => options,
        _ => {
            return Err(invalid(&format!(
                "{name} is followed by no mapping; write one option a line below it"
            )));
        }
    };
    let option = |(key, value): (&String, &Value)| {
        let value = text(&format!("providers: {name}: {key}"), value)?.into_owned();
        if key.contains('\0') || value.contains('\0') {
            return Err(invalid(&format!("{name} has an option with a zero byte in it")));
        }
        Ok((key.clone(), value))
    };
    Ok((kind, options.iter().map(option).collect::<Result<_>>()?))
}

fn kind(name: &str) -> Result<Kind> {
    Kind::named(name).ok_or_else(|| {
        invalid(&format!("\"{name}\" is not known; known: {}; {}", Kind::known(), offered::told()))
    })
}

fn not_a_list() -> Error {
    invalid(
        "it has to be a list, as in [cuda, cpu]; one with options is a mapping, as in {tensorrt: {trt_fp16_enable: true}}",
    )
}

fn invalid(cause: &str) -> Error {
    Error::invalid_model(format!("providers: {cause}"))
}

fn unsupported(cause: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("providers: {cause}"))
}

#[cfg(test)]
mod tests;
