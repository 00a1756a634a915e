//! Model configurations, as Triton's clients read them: the one that a model came with, or one made from
//! what an archive is served with.

use std::path::Path;
use std::time::Duration;

use mar_engine::{
    Device, Error, ErrorCode, Interface, ModelVersion, Plan, Result, Side, TensorSpec,
};
use mar_proto::inference::model_config::SchedulingChoice;
use mar_proto::inference::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
    ModelQueuePolicy, ModelVersionPolicy, model_instance_group, model_version_policy,
};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::metadata::{HANDLER_PLATFORM, platform, side};
use crate::names::{HANDLER_INPUT, HANDLER_OUTPUT};
use crate::triton::data_type;
use crate::{Service, readiness};

impl Service {
    /// The configuration of a model, or of its handler.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`]; [`ErrorCode::Unavailable`] where it
    /// did not load.
    pub fn model_config(&self, name: &str, version: Option<&str>) -> Result<ModelConfig> {
        let found = self.find(name, version)?;
        let repositories = self.config().repositories.iter();
        let mut given = repositories.filter_map(|it| it.configuration(found.version.name()));
        if let Some(config) = given.next() {
            return Ok(config);
        }
        let interface = readiness::opened(&found.version)?;
        let Some(plan) = found.version.plan() else {
            return Err(Error::new(ErrorCode::Internal, "a version that is opened has no plan"));
        };
        let served = served(&found.version, plan);
        Ok(if found.handler {
            of_handler(name, plan, served)
        } else {
            of_network(name, &found.version, &interface, served)
        })
    }

    /// A configuration as JSON: every field that is there or has a default, names and numbers as they are
    /// in `config.pbtxt`.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where it has no such form.
    pub fn config_json(&self, config: &ModelConfig) -> Result<serde_json::Value> {
        let internal = |error: &dyn std::fmt::Display| {
            Error::new(ErrorCode::Internal, format!("a configuration has no JSON form: {error}"))
        };
        let pool = DescriptorPool::decode(mar_proto::DESCRIPTORS).map_err(|e| internal(&e))?;
        let described = pool.get_message_by_name("inference.ModelConfig");
        let described = described.ok_or_else(|| internal(&"it is not described"))?;
        let mut message = DynamicMessage::new(described);
        message.transcode_from(config).map_err(|error| internal(&error))?;
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false)
            .skip_default_fields(false);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|error| internal(&error))
    }
}

/// What a network and its handler have in common.
fn served(version: &ModelVersion, plan: &Plan) -> ModelConfig {
    let all = model_version_policy::PolicyChoice::All(model_version_policy::All {});
    let workers = version.worker_limits().0;
    ModelConfig {
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(all) }),
        instance_group: instances(version.name(), &plan.devices, workers),
        scheduling_choice: (plan.batch_size > 1)
            .then(|| SchedulingChoice::DynamicBatching(batching(plan))),
        ..ModelConfig::default()
    }
}

fn of_network(
    name: &str,
    version: &ModelVersion,
    interface: &Interface,
    served: ModelConfig,
) -> ModelConfig {
    let rows = version.plan().map_or(1, |plan| plan.batch_size);
    let (inputs, outputs) = (&interface.signature.inputs, &interface.signature.outputs);
    let runtime = version.runtime_name().unwrap_or_default();
    let file = version.weights_file().and_then(Path::file_name).unwrap_or_default();
    ModelConfig {
        name: name.to_owned(),
        platform: platform(runtime).to_owned(),
        backend: backend(runtime).to_owned(),
        max_batch_size: if interface.batched { int(rows) } else { 0 },
        input: tensors(inputs.as_deref(), interface.batched, |name, data_type, dims| ModelInput {
            name,
            data_type,
            dims,
            ..ModelInput::default()
        }),
        output: tensors(outputs.as_deref(), interface.batched, |name, data_type, dims| {
            ModelOutput { name, data_type, dims, ..ModelOutput::default() }
        }),
        default_model_filename: file.to_string_lossy().into_owned(),
        scheduling_choice: served.scheduling_choice.filter(|_| interface.batched),
        ..served
    }
}

/// A handler takes as many elements at once as its queue has places.
fn of_handler(name: &str, plan: &Plan, served: ModelConfig) -> ModelConfig {
    let data_type = DataType::TypeString.into();
    ModelConfig {
        name: name.to_owned(),
        platform: HANDLER_PLATFORM.to_owned(),
        max_batch_size: int(plan.job_queue_size),
        input: vec![ModelInput {
            name: HANDLER_INPUT.to_owned(),
            data_type,
            dims: vec![1],
            ..ModelInput::default()
        }],
        output: vec![ModelOutput {
            name: HANDLER_OUTPUT.to_owned(),
            data_type,
            dims: vec![1],
            ..ModelOutput::default()
        }],
        ..served
    }
}

/// Inputs or outputs, where their types and sides are known; the batch's side is no part of a
/// configuration's.
fn tensors<T>(
    specs: Option<&[TensorSpec]>,
    batched: bool,
    make: impl Fn(String, i32, Vec<i64>) -> T,
) -> Vec<T> {
    let one = |spec: &TensorSpec| {
        let sides: &[Side] = spec.shape.as_deref()?;
        let dims = sides.iter().skip(usize::from(batched)).copied().map(side).collect();
        Some(make(spec.name.clone(), data_type(spec.dtype?).into(), dims))
    };
    let known: Option<Vec<T>> = specs.unwrap_or_default().iter().map(one).collect();
    known.unwrap_or_default()
}

/// Where workers run: a group for each device that has some.
fn instances(model: &str, devices: &[Device], workers: usize) -> Vec<ModelInstanceGroup> {
    let on = |(place, device): (usize, &Device)| {
        let share = workers / devices.len() + usize::from(place < workers % devices.len());
        let (kind, gpus) = match device {
            Device::Cpu => (model_instance_group::Kind::Cpu, vec![]),
            Device::Cuda(index) => (model_instance_group::Kind::Gpu, vec![int(*index)]),
        };
        (share > 0).then(|| ModelInstanceGroup {
            name: format!("{model}_{place}"),
            count: int(share),
            kind: kind.into(),
            gpus,
            ..ModelInstanceGroup::default()
        })
    };
    devices.iter().enumerate().filter_map(on).collect()
}

fn batching(plan: &Plan) -> ModelDynamicBatching {
    let timeout =
        plan.client_timeout.map_or(plan.response_timeout, |t| t.min(plan.response_timeout));
    ModelDynamicBatching {
        preferred_batch_size: vec![int(plan.batch_size)],
        max_queue_delay_microseconds: micros(plan.max_batch_delay),
        default_queue_policy: Some(ModelQueuePolicy {
            default_timeout_microseconds: micros(timeout),
            allow_timeout_override: true,
            max_queue_size: u32::try_from(plan.job_queue_size).unwrap_or(u32::MAX),
            ..ModelQueuePolicy::default()
        }),
        ..ModelDynamicBatching::default()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What Triton calls what runs it.
fn backend(runtime: &str) -> &str {
    match runtime {
        "libtorch" => "pytorch",
        "ONNX Runtime" => "onnxruntime",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_shared_out_among_the_devices_in_order() {
        let groups = instances("m", &[Device::Cuda(0), Device::Cuda(1)], 3);
        let told: Vec<_> = groups.iter().map(|it| (&*it.name, it.count, &it.gpus[..])).collect();
        assert_eq!(told, [("m_0", 2, &[0][..]), ("m_1", 1, &[1][..])]);
        assert_eq!(groups[0].kind(), model_instance_group::Kind::Gpu);
        let groups = instances("m", &[Device::Cpu], 4);
        assert_eq!((groups.len(), groups[0].count), (1, 4));
        assert!(instances("m", &[Device::Cpu], 0).is_empty());
        assert!(instances("m", &[], 0).is_empty());
    }
}
