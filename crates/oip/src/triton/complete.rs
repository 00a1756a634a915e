//! What a configuration leaves out: from the model's file, and by default.

use mar_engine::{Error, NetworkFile, Result, TensorSpec};
use mar_proto::inference::model_config::SchedulingChoice;
use mar_proto::inference::model_instance_group::Kind;
use mar_proto::inference::model_version_policy::{Latest, PolicyChoice};
use mar_proto::inference::{
    ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
    ModelTensorReshape, ModelVersionPolicy,
};

use super::honoured::Format;
use super::text::Source;
use super::types::{Which, data_type, dim, dtype};

/// Rows of a batch at most, where the configuration says nothing and the model takes any number.
const ROWS: i32 = 4;

/// Completes inputs and outputs, and whether requests share batches, from what the file says. Nothing is done
/// where all inputs and outputs are declared.
pub(super) fn from_file(
    config: &mut ModelConfig,
    file: &NetworkFile,
    source: &Source,
) -> Result<()> {
    let whole = |dims: &[i64], data_type: i32| !dims.is_empty() && dtype(data_type).is_some();
    let declared = !config.input.is_empty()
        && !config.output.is_empty()
        && config.input.iter().all(|it| whole(&it.dims, it.data_type))
        && config.output.iter().all(|it| whole(&it.dims, it.data_type));
    if declared {
        return Ok(());
    }
    let name = config.default_model_filename.clone();
    let onnx = config.platform == Format::Onnx.names()[0];
    let known = |which, specs| {
        known(specs)
            .ok_or_else(|| if onnx { cut_off(which, &name) } else { undeclared(which, source) })
    };
    let file = (
        known(Which::Input, file.signature.inputs.as_deref()),
        known(Which::Output, file.signature.outputs.as_deref()),
    );
    let (inputs, outputs) = match file {
        (Ok(inputs), Ok(outputs)) => (inputs, outputs),
        (Err(error), _) if config.input.is_empty() => return Err(error),
        (_, Err(error)) if config.output.is_empty() => return Err(error),
        // What is missing of one that is declared is told where it is read.
        _ => return Ok(()),
    };
    let batchable = inputs.iter().chain(&outputs).all(|it| it.sides.first() == Some(&-1));
    if config.max_batch_size > 0 && !batchable {
        let why = "is above 0, and the first side of an input or output of the model is no batch's: it is not free; take it out";
        return Err(source.refuse("max_batch_size", why));
    }
    if config.max_batch_size == 0 && batchable && !has_every_side(config, &inputs, &outputs) {
        config.max_batch_size = ROWS;
    }
    let batched = config.max_batch_size > 0;
    for Known { name, data_type, sides } in inputs {
        let (dims, reshape) = dims(&sides[usize::from(batched)..]);
        let new = ModelInput { name, data_type, dims, reshape, ..ModelInput::default() };
        match config.input.iter_mut().find(|it| it.name == new.name) {
            None => config.input.push(new),
            Some(old) => {
                if old.data_type == 0 {
                    old.data_type = new.data_type;
                }
                if old.dims.is_empty() {
                    (old.dims, old.reshape) = (new.dims, new.reshape);
                }
            }
        }
    }
    for Known { name, data_type, sides } in outputs {
        let (dims, reshape) = dims(&sides[usize::from(batched)..]);
        let new = ModelOutput { name, data_type, dims, reshape, ..ModelOutput::default() };
        match config.output.iter_mut().find(|it| it.name == new.name) {
            None => config.output.push(new),
            Some(old) => {
                if old.data_type == 0 {
                    old.data_type = new.data_type;
                }
                if old.dims.is_empty() {
                    (old.dims, old.reshape) = (new.dims, new.reshape);
                }
            }
        }
    }
    if config.max_batch_size > 1 && config.scheduling_choice.is_none() {
        let default = ModelDynamicBatching::default();
        config.scheduling_choice = Some(SchedulingChoice::DynamicBatching(default));
    }
    Ok(())
}

/// A tensor of which the file says all.
struct Known {
    name: String,
    data_type: i32,
    /// The batch's among them; -1 where it may have any length.
    sides: Vec<i64>,
}

fn known(specs: Option<&[TensorSpec]>) -> Option<Vec<Known>> {
    let of = |spec: &TensorSpec| {
        let sides = spec.shape.as_ref()?.iter().copied().map(dim).collect();
        Some(Known { name: spec.name.clone(), data_type: data_type(spec.dtype?).into(), sides })
    };
    specs.and_then(|specs| specs.iter().map(of).collect())
}

/// An ONNX file says all of its inputs and outputs where it is whole.
fn cut_off(which: Which, name: &str) -> Error {
    let key = which.key();
    Error::invalid_model(format!(
        "{name} does not say its {key}s as tensors: it is no ONNX file, or cut off, or has sequences or maps among them"
    ))
}

fn undeclared(which: Which, source: &Source) -> Error {
    let key = which.key();
    source.wrong(&format!(
        "the {key}s are not declared and the model's file does not say them, as TorchScript's never does; write {key} [ {{ name: \"{}__0\", data_type: TYPE_FP32, dims: [ ... ] }} ] into config.pbtxt",
        key.to_uppercase()
    ))
}

/// Whether a tensor that is declared has as many sides as the file's, so that none is left for the batch.
fn has_every_side(config: &ModelConfig, inputs: &[Known], outputs: &[Known]) -> bool {
    let network = |dims: &[i64], reshape: &Option<ModelTensorReshape>| {
        reshape.as_ref().map_or(dims.len(), |reshape| reshape.shape.len())
    };
    let inputs = config.input.iter().filter(|it| !it.dims.is_empty()).filter_map(|it| {
        let file = inputs.iter().find(|known| known.name == it.name)?;
        Some(network(&it.dims, &it.reshape) == file.sides.len())
    });
    let outputs = config.output.iter().filter(|it| !it.dims.is_empty()).filter_map(|it| {
        let file = outputs.iter().find(|known| known.name == it.name)?;
        Some(network(&it.dims, &it.reshape) == file.sides.len())
    });
    inputs.chain(outputs).any(|every| every)
}

/// A tensor without sides is declared as one with a side of 1.
fn dims(sides: &[i64]) -> (Vec<i64>, Option<ModelTensorReshape>) {
    if sides.is_empty() {
        (vec![1], Some(ModelTensorReshape::default()))
    } else {
        (sides.to_vec(), None)
    }
}

/// Fills in what holds where nothing is said, so that clients read it.
pub(super) fn by_default(
    config: &mut ModelConfig,
    cuda_devices: usize,
    format: Option<Format>,
    source: &Source,
) -> Result<()> {
    if config.version_policy.as_ref().is_none_or(|policy| policy.policy_choice.is_none()) {
        let latest = PolicyChoice::Latest(Latest { num_versions: 1 });
        config.version_policy = Some(ModelVersionPolicy { policy_choice: Some(latest) });
    }
    if let Some(SchedulingChoice::DynamicBatching(batching)) = &mut config.scheduling_choice
        && batching.preferred_batch_size.is_empty()
        && config.max_batch_size > 0
    {
        batching.preferred_batch_size.push(config.max_batch_size);
    }
    if config.instance_group.is_empty() {
        let name = config.name.clone();
        config.instance_group.push(ModelInstanceGroup { name, ..ModelInstanceGroup::default() });
    }
    let model = config.name.clone();
    for (index, group) in config.instance_group.iter_mut().enumerate() {
        if group.name.is_empty() {
            group.name = format!("{model}_{index}");
        }
        instances(group, cuda_devices, format, source)?;
    }
    Ok(())
}

/// How many there are and where, in numbers.
fn instances(
    group: &mut ModelInstanceGroup,
    cuda_devices: usize,
    format: Option<Format>,
    source: &Source,
) -> Result<()> {
    let kind = match Kind::try_from(group.kind).unwrap_or_default() {
        Kind::Auto if cuda_devices > 0 || !group.gpus.is_empty() => Kind::Gpu,
        Kind::Auto => Kind::Cpu,
        kind => kind,
    };
    group.kind = kind.into();
    let there = 0..i32::try_from(cuda_devices).unwrap_or(i32::MAX);
    match kind {
        Kind::Gpu => {
            if there.is_empty() {
                let why = "asks for a GPU, and none is here that this model's runtime can use; KIND_CPU runs it on the processor";
                let key = if group.gpus.is_empty() { "kind" } else { "gpus" };
                return Err(source.refuse(key, why));
            }
            if let Some(other) = group.gpus.iter().find(|gpu| !there.contains(gpu)) {
                let why = format!("names GPU {other}; there are {cuda_devices}, counted from 0");
                return Err(source.refuse("gpus", &why));
            }
            if group.gpus.is_empty() {
                group.gpus = there.collect();
            }
        }
        _ if !group.gpus.is_empty() => {
            return Err(source.refuse("gpus", "is for KIND_GPU; take it out, or the kind"));
        }
        // The model is to find its own places; here it has one.
        Kind::Model => group.count = 1,
        _ => {}
    }
    if group.count == 0 {
        group.count = if kind == Kind::Cpu && format == Some(Format::Onnx) { 2 } else { 1 };
    }
    Ok(())
}
