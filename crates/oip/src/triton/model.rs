//! A model of a repository: its configuration, completed, and a network for each version that is to be served.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mar_engine::{
    Device, Error, Instances, Network, NetworkFile, QueuePolicy, Result, Scheduling, Signature,
    TensorSpec,
};
use mar_proto::inference::model_config::SchedulingChoice;
use mar_proto::inference::model_queue_policy::TimeoutAction;
use mar_proto::inference::{ModelConfig, ModelDynamicBatching, ModelQueuePolicy};

use super::honoured::Format;
use super::text::Source;
use super::types::{Declared, Which, ordered, spec};
use super::{complete, honoured, layout, optimization, warmup};

/// A model as it lies in a repository.
#[derive(Debug)]
pub struct Model {
    /// Its name, which is its folder's.
    pub name: String,
    /// What is said of it, and what was found out.
    pub config: ModelConfig,
    /// The versions to serve, the lowest first: the network, or why it cannot be served.
    pub versions: Vec<(String, Result<Network>)>,
    /// What is asked for and makes no difference, in sentences.
    pub warnings: Vec<String>,
}

impl Model {
    /// Reads a model's folder. `config` is a configuration in JSON that goes instead of the folder's own;
    /// `look` says what a file is. Blocks while files are read.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_engine::ErrorCode::InvalidModel), naming file, line and key, where
    /// nothing of it can be served.
    pub fn read(
        folder: &Path,
        config: Option<String>,
        look: &dyn Fn(&Path) -> Result<NetworkFile>,
    ) -> Result<Self> {
        let source = match config {
            Some(config) => Source::Request(config),
            None => Source::of_folder(folder)?,
        };
        let mut config = source.read()?;
        let mut warnings = honoured::check(&config, &source)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if config.name.is_empty() {
            config.name.clone_from(&name);
        } else if config.name != name {
            let why = format!("is \"{}\"; it has to be its folder's, \"{name}\"", config.name);
            return Err(source.refuse("name", &why));
        }
        let (numbers, missing) = layout::chosen(&config, &source, folder)?;
        warnings.extend(missing);
        let format = format(&mut config, &source, (folder, &numbers))?;
        let looked: Vec<(i64, Result<(PathBuf, NetworkFile)>)> = numbers
            .into_iter()
            .map(|number| {
                let file = layout::file(folder, number, &config);
                (number, file.and_then(|file| look(&file).map(|looked| (file, looked))))
            })
            .collect();
        // One that is cut off says nothing, and is no reason to lose the others.
        let files: Vec<&NetworkFile> =
            looked.iter().rev().filter_map(|(_, it)| Some(&it.as_ref().ok()?.1)).collect();
        let telling = files.iter().find(|file| file.signature.inputs.is_some());
        if let Some(file) = telling.or(files.first()) {
            complete::from_file(&mut config, file, &source)?;
            complete::by_default(&mut config, file.cuda_devices, format, &source)?;
        }
        let rest = Rest::read(&config, folder, &source)?;
        let (options, told) = if format == Some(Format::Onnx) {
            optimization::options(&config, rest.on_gpu(), &source)?
        } else {
            let told = honoured::graph(&config, &source)?;
            (optimization::parameters(&config), told.into_iter().collect())
        };
        warnings.extend(told);
        let versions = looked.into_iter().map(|(number, looked)| {
            let number = number.to_string();
            let network = looked.and_then(|(file, looked)| {
                let (signature, reshaped) = interface(&config, &looked, format, &source)?;
                let Rest { scheduling, instances, labels } = rest.clone();
                let mut network = Network {
                    version: number.clone(),
                    file,
                    signature,
                    reshaped,
                    labels,
                    max_batch_size: usize::try_from(config.max_batch_size).unwrap_or(0),
                    scheduling,
                    instances,
                    warmup: Vec::new(),
                    parameters: options.clone(),
                };
                network.warmup = warmup::requests(&config, &network, folder, &source)?;
                Ok(network)
            });
            (number, network)
        });
        let versions = versions.collect();
        Ok(Self { name, config, versions, warnings })
    }
}

/// Decides which file is served in which format, and writes it into the configuration.
fn format(
    config: &mut ModelConfig,
    source: &Source,
    (folder, versions): (&Path, &[i64]),
) -> Result<Option<Format>> {
    if config.max_batch_size < 0 {
        return Err(source.refuse("max_batch_size", "is below 0"));
    }
    let asked = honoured::format(config, source)?;
    if config.default_model_filename.is_empty() {
        let guessed = || versions.iter().find_map(|v| layout::guessed_file(folder, *v));
        let Some(name) = asked.map(Format::file).or_else(guessed) else {
            let first = versions.first().map(ToString::to_string).unwrap_or_default();
            return Err(source.wrong(&format!(
                "{} has neither model.onnx nor model.pt, and no default_model_filename names another file; Python, TensorRT and TensorFlow models are not served",
                folder.join(first).display()
            )));
        };
        name.clone_into(&mut config.default_model_filename);
    }
    let name = &config.default_model_filename;
    if name.contains(['/', '\\']) || name == ".." {
        return Err(
            source.refuse("default_model_filename", "is a path; it has to be a file's name")
        );
    }
    let of_file = Format::of_file(name);
    if let (Some(asked), Some(of_file)) = (asked, of_file)
        && asked != of_file
    {
        let why = format!("\"{name}\" is no file of backend {}", asked.names()[1]);
        return Err(source.refuse("default_model_filename", &why));
    }
    let format = asked.or(of_file);
    if let Some(format) = format {
        let [platform, backend] = format.names();
        platform.clone_into(&mut config.platform);
        backend.clone_into(&mut config.backend);
    }
    Ok(format)
}

/// Inputs and outputs in the network's order, and those that the network has with other sides.
fn interface(
    config: &ModelConfig,
    file: &NetworkFile,
    format: Option<Format>,
    source: &Source,
) -> Result<(Signature, BTreeMap<String, Vec<mar_engine::Side>>)> {
    let batched = config.max_batch_size > 0;
    let by_name = format == Some(Format::Onnx);
    let mut reshaped = BTreeMap::new();
    let mut side = |which, declared: Vec<Declared<'_>>, of_file: Option<&[TensorSpec]>| {
        let places = ordered(which, declared, of_file, by_name, source)?;
        let mut specs: Vec<TensorSpec> = Vec::new();
        for (index, place) in places.iter().enumerate() {
            let of_file = of_file.and_then(|specs| specs.get(index));
            let (spec, other) = spec(which, place, of_file, batched, source)?;
            if specs.iter().any(|known| known.name == spec.name) {
                let why = format!("\"{}\" is declared twice", spec.name);
                return Err(source.refuse(which.key(), &why));
            }
            reshaped.extend(other.map(|sides| (spec.name.clone(), sides)));
            specs.push(spec);
        }
        Ok(Some(specs))
    };
    let of_file = &file.signature;
    let declared = config.input.iter().map(Declared::from).collect();
    let inputs = side(Which::Input, declared, of_file.inputs.as_deref())?;
    let declared = config.output.iter().map(Declared::from).collect();
    let outputs = side(Which::Output, declared, of_file.outputs.as_deref())?;
    Ok((Signature { inputs, outputs }, reshaped))
}

/// What all versions have in common.
#[derive(Clone, Debug)]
struct Rest {
    scheduling: Scheduling,
    instances: Vec<Instances>,
    labels: BTreeMap<String, Arc<[String]>>,
}

impl Rest {
    /// Whether any instance is on a GPU. Where none is asked for, there is one on each.
    fn on_gpu(&self) -> bool {
        let devices = self.instances.iter().flat_map(|of| &of.devices);
        devices.into_iter().any(|device| *device != Device::Cpu)
    }

    fn read(config: &ModelConfig, folder: &Path, source: &Source) -> Result<Self> {
        let mut labels = BTreeMap::new();
        for output in config.output.iter().filter(|output| !output.label_filename.is_empty()) {
            let read = layout::beside(folder, &output.label_filename).and_then(|path| {
                std::fs::read_to_string(&path)
                    .map_err(|error| Error::invalid_model(format!("{}: {error}", path.display())))
            });
            let text = read.map_err(|error| {
                source.refuse("label_filename", &format!("of output \"{}\": {error}", output.name))
            })?;
            labels.insert(output.name.clone(), text.lines().map(str::to_owned).collect());
        }
        let instances = config.instance_group.iter().map(|group| {
            let cuda = group.gpus.iter().filter_map(|gpu| usize::try_from(*gpu).ok());
            let mut devices: Vec<Device> = cuda.map(Device::Cuda).collect();
            if devices.is_empty() {
                devices.push(Device::Cpu);
            }
            Instances { count: usize::try_from(group.count).unwrap_or(1), devices }
        });
        let instances = instances.collect();
        Ok(Self { scheduling: scheduling(config, source)?, instances, labels })
    }
}

fn scheduling(config: &ModelConfig, source: &Source) -> Result<Scheduling> {
    let Some(SchedulingChoice::DynamicBatching(batching)) = &config.scheduling_choice else {
        return Ok(Scheduling::default());
    };
    let ModelDynamicBatching { preferred_batch_size, priority_levels, .. } = batching;
    let levels = *priority_levels;
    let mut preferred_batch_sizes = Vec::new();
    for size in preferred_batch_size {
        let fits = (1..=config.max_batch_size).contains(size);
        let Some(size) = usize::try_from(*size).ok().filter(|_| fits) else {
            let why = format!("has {size}; max_batch_size is {}", config.max_batch_size);
            return Err(source.refuse("preferred_batch_size", &why));
        };
        preferred_batch_sizes.push(size);
    }
    let default_priority = batching.default_priority_level;
    if levels > 0 && !(1..=levels).contains(&default_priority) {
        let why = format!("is {default_priority}; it has to be one of the levels, 1 to {levels}");
        let key = if default_priority == 0 { "priority_levels" } else { "default_priority_level" };
        let why = if default_priority == 0 { "needs a default_priority_level" } else { &why };
        return Err(source.refuse(key, why));
    }
    let policies = batching.priority_queue_policy.iter();
    if let Some((level, _)) = policies.clone().find(|(level, _)| !(1..=levels).contains(level)) {
        let why = format!("has a level {level}; priority_levels is {levels}");
        return Err(source.refuse("priority_queue_policy", &why));
    }
    Ok(Scheduling {
        dynamic: true,
        preferred_batch_sizes,
        max_delay: Duration::from_micros(batching.max_queue_delay_microseconds),
        priority_levels: levels,
        default_priority: if levels > 0 { default_priority } else { 0 },
        policy: batching.default_queue_policy.as_ref().map(policy).unwrap_or_default(),
        policies: policies.map(|(level, it)| (*level, policy(it))).collect(),
    })
}

fn policy(of: &ModelQueuePolicy) -> QueuePolicy {
    let timeout = of.default_timeout_microseconds;
    QueuePolicy {
        timeout: (timeout > 0).then(|| Duration::from_micros(timeout)),
        delays: of.timeout_action == i32::from(TimeoutAction::Delay),
        allows_override: of.allow_timeout_override,
        max_size: (of.max_queue_size > 0).then_some(of.max_queue_size as usize),
    }
}
