//! From a network without an archive to what a version is made of.

use std::sync::Arc;

use mar_handler::{
    Context, DType, Device, Error, ErrorCode, Handler, Request, Response, Result, Side, Tensor,
};
use serde_json::{Map, Value, json};

use super::{Opener, cache, labels, machine, understood};
use crate::config::{EngineConfig, Overrides};
use crate::crew::MOST_WORKERS;
use crate::engine::LoadRequest;
use crate::infer::Interface;
use crate::network::{Instances, Network, Scheduling};
use crate::plan::{LONGEST, Layers, Machine, Plan};
use crate::samples::{KnownAnswers, VerifySamples};
use crate::version::{Loaded, ModelVersion};
use crate::weights::Weights;

/// The handler that turns requests into a network's tensors, where there is one of that name.
const HANDLER: &str = "tensor";

impl Opener {
    pub(super) fn open_network(
        &self,
        network: &Arc<Network>,
        version: &ModelVersion,
        request: &LoadRequest,
        config: &EngineConfig,
    ) -> Result<Loaded> {
        network.check()?;
        let file = network.file.clone();
        let runtime = self.runtime(&file.to_string_lossy())?;
        let machine = machine(config, runtime.as_ref());
        let mut plan = network.plan(version, request, config, machine)?;
        if let Some((min, max)) = request.workers {
            (plan.min_workers, plan.max_workers) = (min, max);
        }
        understood(runtime.as_ref(), (&network.parameters, false), &plan.devices)?;
        let interface = Interface::of_network(network, runtime.signature(&file)?)?;
        for warmup in &network.warmup {
            let fits = interface.rows(&warmup.inputs);
            fits.map_err(|error| {
                Error::invalid_model(format!("warm-up \"{}\": {error}", warmup.name))
            })?;
        }
        let handler = self.handler_of(version, request, (network, &interface));
        Ok(Loaded {
            labels: labels(handler.as_ref()),
            handler,
            cache: cache(runtime.as_ref(), config),
            runtime,
            file,
            unpacked: None,
            options: network.parameters.clone(),
            plan,
            interface,
            network: Some(Arc::clone(network)),
            samples: KnownAnswers::open(VerifySamples::Off, &request.archive)?,
            weights: Weights::default(),
        })
    }

    /// The handler of tensors, told what the network takes; else one that refuses every request.
    fn handler_of(
        &self,
        version: &ModelVersion,
        request: &LoadRequest,
        (network, interface): (&Network, &Interface),
    ) -> Box<dyn Handler> {
        let made = || {
            let registration = self.handlers.iter().find(|known| known.name() == HANDLER)?;
            let section = section(network, interface)?;
            let context = Context {
                model_name: version.name().to_owned(),
                model_version: version.version().to_owned(),
                model_dir: request.archive.clone(),
                config: Map::from_iter([("handler".to_owned(), section)]),
                manifest: Map::new(),
                signature: interface.signature.clone(),
            };
            let told = |error: &Error| log::info!("{}: no handler: {error}", version.name());
            registration.initialize(&context).inspect_err(told).ok()
        };
        made().unwrap_or_else(|| Box::new(TensorsAlone))
    }
}

/// What the handler of tensors is to know, where all of it is known: it gives the network its own sides.
fn section(network: &Network, interface: &Interface) -> Option<Value> {
    let signature = &interface.signature;
    let own = usize::from(interface.batched);
    let side = |side: &Side| side.map_or(json!(-1), |side| json!(side));
    let mut inputs = Vec::new();
    for input in signature.inputs.as_ref()? {
        let dtype = input.dtype.filter(|dtype| *dtype != DType::Bytes)?;
        let shape: Vec<Value> = match network.reshaped.get(&input.name) {
            Some(sides) => sides.iter().map(side).collect(),
            None => input.shape.as_ref()?.iter().skip(own).map(side).collect(),
        };
        inputs.push(json!({ "name": input.name, "dtype": dtype.name(), "shape": shape }));
    }
    let mut section = json!({ "inputs": inputs });
    if let Some(outputs) = &signature.outputs {
        section["outputs"] = outputs.iter().map(|output| output.name.as_str()).collect();
    }
    Some(section)
}

impl Network {
    /// What no network can be served with.
    fn check(&self) -> Result<()> {
        let scheduling = &self.scheduling;
        let levels = scheduling.priority_levels;
        let wrong = |message: String| Err(Error::invalid_model(message));
        if levels > 0 && !(1..=levels).contains(&scheduling.default_priority) {
            return wrong(format!(
                "default_priority_level is {}; give one of the {levels} levels, from 1",
                scheduling.default_priority
            ));
        }
        if let Some(level) = scheduling.policies.keys().find(|level| !(1..=levels).contains(*level))
        {
            return wrong(format!(
                "priority_queue_policy names level {level}, and there are {levels}, numbered from 1"
            ));
        }
        let most = self.max_batch_size;
        let sizes = &scheduling.preferred_batch_sizes;
        if let Some(size) = sizes.iter().find(|size| **size == 0 || **size > most) {
            return wrong(format!(
                "preferred_batch_size {size} is not from 1 to max_batch_size {most}"
            ));
        }
        if let Some(none) = self.instances.iter().find(|of| of.count == 0 || of.devices.is_empty())
        {
            return wrong(format!(
                "instance_group has {} instances on {} devices; give at least one of each",
                none.count,
                none.devices.len()
            ));
        }
        let workers = self.instances.iter().map(|of| of.count.saturating_mul(of.devices.len()));
        let workers = workers.fold(0, usize::saturating_add);
        if workers > MOST_WORKERS {
            return wrong(format!(
                "instance_group has {workers} instances, and a model may have {MOST_WORKERS}"
            ));
        }
        Ok(())
    }

    /// What it is served with.
    fn plan(
        &self,
        version: &ModelVersion,
        request: &LoadRequest,
        config: &EngineConfig,
        machine: Machine,
    ) -> Result<Plan> {
        let none = Overrides::default();
        let layers = Layers {
            overrides: &request.overrides,
            archive: &Map::new(),
            listed: &none,
            defaults: &config.defaults,
            at_startup: version.loaded_at_startup(),
        };
        let mut plan = Plan::resolve(layers, machine)?;
        if !self.instances.is_empty() {
            plan.devices = self.places(machine)?;
        }
        if request.overrides.min_workers.is_none() {
            (plan.min_workers, plan.max_workers) = (plan.devices.len(), plan.devices.len());
        }
        let scheduling = &self.scheduling;
        plan.batch_size = self.max_batch_size.max(1);
        plan.max_batch_delay = scheduling.max_delay.min(LONGEST);
        plan.preferred_batch_sizes.clone_from(&scheduling.preferred_batch_sizes);
        // Queues that have bounds of their own are bounded by those.
        plan.job_queue_size = plan.job_queue_size.max(scheduling.bound().unwrap_or(0));
        Ok(plan)
    }

    /// A device for each worker.
    fn places(&self, machine: Machine) -> Result<Vec<Device>> {
        let mut places = Vec::new();
        for Instances { count, devices } in &self.instances {
            for device in devices {
                match device {
                    Device::Cuda(index) if *index >= machine.cuda_devices => {
                        return Err(Error::invalid_model(format!(
                            "instance_group names {device}, and {} finds {} CUDA devices, numbered from 0",
                            machine.runtime, machine.cuda_devices
                        )));
                    }
                    _ => places.extend(std::iter::repeat_n(*device, *count)),
                }
            }
        }
        Ok(places)
    }
}

impl Scheduling {
    /// How many requests may wait on all levels together, where each level has a bound. There may be more levels
    /// than can be counted one by one.
    fn bound(&self) -> Option<usize> {
        let own = self.policies.values().map(|policy| policy.max_size);
        let own = own.sum::<Option<usize>>()?;
        let others = self.priority_levels.max(1) - self.policies.len() as u64;
        if others == 0 {
            return Some(own);
        }
        let others = usize::try_from(others).unwrap_or(usize::MAX);
        Some(own.saturating_add(others.saturating_mul(self.policy.max_size?)))
    }
}

/// Stands where no handler can make the network's tensors.
struct TensorsAlone;

impl Handler for TensorsAlone {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn preprocess(&self, _: &Request) -> Result<Vec<Tensor>> {
        Err(Error::new(
            ErrorCode::Unsupported,
            "this model takes tensors alone, since nobody says the type and shape of each, or they are strings; send them to /v2/models, or declare them in config.pbtxt",
        ))
    }

    fn postprocess(&self, _: Vec<Tensor>, _: &Request) -> Result<Response> {
        Err(Error::new(ErrorCode::Unsupported, "this model takes tensors alone"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::QueuePolicy;

    #[test]
    fn a_model_has_no_more_workers_than_any_version_may() {
        let of = |count, devices: &[Device]| {
            let instances = vec![Instances { count, devices: devices.to_vec() }];
            Network { instances, ..Network::default() }.check()
        };
        of(MOST_WORKERS, &[Device::Cpu]).unwrap();
        for count in [MOST_WORKERS / 2 + 1, usize::MAX] {
            let error = of(count, &[Device::Cuda(0), Device::Cuda(1)]).unwrap_err();
            assert!(error.message().contains("a model may have 1000"), "{error}");
        }
    }

    #[test]
    fn levels_are_bounded_together_however_many_there_are() {
        let bounded = |max_size| QueuePolicy { max_size, ..QueuePolicy::default() };
        let of = |levels, default, own: &[(u64, Option<usize>)]| {
            let policies = own.iter().map(|&(level, most)| (level, bounded(most))).collect();
            let policy = bounded(default);
            Scheduling { priority_levels: levels, policy, policies, ..Scheduling::default() }
                .bound()
        };
        assert_eq!(of(0, Some(7), &[]), Some(7));
        assert_eq!(of(3, Some(7), &[(2, Some(1))]), Some(15));
        assert_eq!(of(1, None, &[(1, Some(4))]), Some(4));
        assert_eq!(of(2, None, &[(1, Some(4))]), None);
        assert_eq!(of(2, Some(7), &[(1, None)]), None);
        assert_eq!(of(u64::MAX, Some(7), &[]), Some(usize::MAX));
    }
}
