//! Which keys of a configuration are honoured here. What is not is refused by name, or told where it makes no
//! difference to what a client gets.

use mar_engine::Result;
use mar_proto::inference::model_config::SchedulingChoice;
use mar_proto::inference::{ModelConfig, ModelInstanceGroup, ModelOptimizationPolicy};

use super::text::Source;

/// The formats that this server runs, by what a configuration calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Onnx,
    TorchScript,
}

impl Format {
    /// The file's name where the configuration gives none.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Onnx => "model.onnx",
            Self::TorchScript => "model.pt",
        }
    }

    /// What clients read as `platform` and `backend`.
    pub(super) fn names(self) -> [&'static str; 2] {
        match self {
            Self::Onnx => ["onnxruntime_onnx", "onnxruntime"],
            Self::TorchScript => ["pytorch_libtorch", "pytorch"],
        }
    }

    /// The format of a file, by its ending.
    pub(super) fn of_file(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "onnx" => Some(Self::Onnx),
            "pt" | "pth" | "ts" | "torchscript" => Some(Self::TorchScript),
            _ => None,
        }
    }
}

/// The format that `platform` and `backend` ask for, if they do.
pub(super) fn format(config: &ModelConfig, source: &Source) -> Result<Option<Format>> {
    let known = |key: &str, name: &str| {
        match name {
        "" => Ok(None),
        "onnxruntime" | "onnxruntime_onnx" => Ok(Some(Format::Onnx)),
        "pytorch" | "libtorch" | "pytorch_libtorch" => Ok(Some(Format::TorchScript)),
        "ensemble" => Err(source.refuse(
            key,
            "\"ensemble\" is not served; call its steps one after the other from the client",
        )),
        other => Err(source.refuse(
            key,
            &format!(
                "\"{other}\" is not served; this server runs TorchScript (pytorch) and ONNX (onnxruntime): export the model to one of them"
            ),
        )),
    }
    };
    let (platform, backend) =
        (known("platform", &config.platform)?, known("backend", &config.backend)?);
    if platform.is_some() && backend.is_some() && platform != backend {
        return Err(source.refuse("platform", "is of another backend than backend; keep one"));
    }
    Ok(backend.or(platform))
}

/// Refuses what is not honoured; else what is asked for and makes no difference, in sentences.
pub(super) fn check(config: &ModelConfig, source: &Source) -> Result<Vec<String>> {
    let refused = |is_set: bool, key: &str, why: &str| {
        if is_set { Err(source.refuse(key, why)) } else { Ok(()) }
    };
    match &config.scheduling_choice {
        None | Some(SchedulingChoice::DynamicBatching(_)) => {}
        Some(SchedulingChoice::SequenceBatching(_)) => {
            let why = "is not served: requests are answered one by one, and no state is kept between them; give the model its state as an input and an output";
            return Err(source.refuse("sequence_batching", why));
        }
        Some(SchedulingChoice::EnsembleScheduling(_)) => {
            let why = "is not served; call its steps one after the other from the client";
            return Err(source.refuse("ensemble_scheduling", why));
        }
    }
    let decoupled = config.model_transaction_policy.as_ref().is_some_and(|it| it.decoupled);
    for (is_set, key, why) in [
        (decoupled, "decoupled", "is not served: a request has one response; take it out"),
        (
            !config.batch_input.is_empty(),
            "batch_input",
            "is not served; let the network count its rows itself",
        ),
        (
            !config.batch_output.is_empty(),
            "batch_output",
            "is not served; let the network give a row for each row",
        ),
        (
            !config.cc_model_filenames.is_empty(),
            "cc_model_filenames",
            "is not served; default_model_filename names one file for every device",
        ),
        (
            config.model_operations.is_some(),
            "model_operations",
            "is not served: no libraries are loaded for a model; export it without operations of its own",
        ),
        (
            config.model_repository_agents.is_some(),
            "model_repository_agents",
            "is not served: models are read as they lie; take it out",
        ),
        (
            !config.runtime.is_empty(),
            "runtime",
            "is not served: backend says what runs the model; take it out",
        ),
    ] {
        refused(is_set, key, why)?;
    }
    let shape_tensor = "is not served: it is TensorRT's; take it out";
    for input in &config.input {
        for (is_set, key, why) in [
            (
                input.allow_ragged_batch,
                "allow_ragged_batch",
                "is not served: requests share a batch where their shapes are the same; take it out",
            ),
            (input.optional, "optional", "is not served: every input is sent; take it out"),
            (input.is_shape_tensor, "is_shape_tensor", shape_tensor),
            (input.is_non_linear_format_io, "is_non_linear_format_io", shape_tensor),
        ] {
            refused(is_set, key, why)?;
        }
    }
    for output in &config.output {
        refused(output.is_shape_tensor, "is_shape_tensor", shape_tensor)?;
        refused(output.is_non_linear_format_io, "is_non_linear_format_io", shape_tensor)?;
    }
    let mut told = Vec::new();
    for group in &config.instance_group {
        told.extend(instance_group(group, source)?);
    }
    told.extend(config.optimization.iter().flat_map(optimization));
    if config.response_cache.is_some_and(|cache| cache.enable) {
        told.push("response_cache");
    }
    for (is_set, key) in [
        (!config.metric_tags.is_empty(), "metric_tags"),
        (config.model_metrics.is_some(), "model_metrics"),
    ] {
        told.extend(is_set.then_some(key));
    }
    told.dedup();
    Ok(told
        .into_iter()
        .map(|key| format!("{}{key} has no effect here", source.place(key)))
        .collect())
}

/// More workers of a model are a mistake, which would take the memory of the machine.
const INSTANCES: i32 = 1000;

fn instance_group(group: &ModelInstanceGroup, source: &Source) -> Result<Vec<&'static str>> {
    for (is_set, key, why) in [
        (group.count < 0, "count", "of an instance_group is below 0"),
        (group.count > INSTANCES, "count", "of an instance_group is above 1000"),
        (!group.profile.is_empty(), "profile", "is not served: it is TensorRT's; take it out"),
        (group.passive, "passive", "is not served: every instance takes requests; take it out"),
        (
            !group.secondary_devices.is_empty(),
            "secondary_devices",
            "is not served: an instance runs on one device; take it out",
        ),
    ] {
        if is_set {
            return Err(source.refuse(key, why));
        }
    }
    let told = [
        (group.rate_limiter.is_some(), "rate_limiter"),
        (!group.host_policy.is_empty(), "host_policy"),
    ];
    Ok(told.into_iter().filter_map(|(is_set, key)| is_set.then_some(key)).collect())
}

/// What only ONNX Runtime does, of a model of another runtime.
pub(super) fn graph(config: &ModelConfig, source: &Source) -> Result<Option<String>> {
    let Some(policy) = &config.optimization else { return Ok(None) };
    let accelerators = policy.execution_accelerators.as_ref().is_some_and(|accelerators| {
        !accelerators.gpu_execution_accelerator.is_empty()
            || !accelerators.cpu_execution_accelerator.is_empty()
    });
    if accelerators {
        let why =
            "is not served but for ONNX files: no accelerator is loaded for a model; take it out";
        return Err(source.refuse("execution_accelerators", why));
    }
    let told = || format!("{}graph has no effect here", source.place("graph"));
    Ok(policy.graph.is_some().then(told))
}

fn optimization(policy: &ModelOptimizationPolicy) -> Vec<&'static str> {
    let told = [
        (policy.priority != 0, "priority"),
        (policy.cuda.is_some(), "cuda"),
        (policy.input_pinned_memory.is_some(), "input_pinned_memory"),
        (policy.output_pinned_memory.is_some(), "output_pinned_memory"),
        (policy.gather_kernel_buffer_threshold != 0, "gather_kernel_buffer_threshold"),
        (policy.eager_batching, "eager_batching"),
    ];
    told.into_iter().filter_map(|(is_set, key)| is_set.then_some(key)).collect()
}
