//! What a version is served with: the layers of its settings, resolved and checked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mar_handler::{Device, Error, Result};
use serde_json::{Map, Value};

use crate::batch::BatchPolicy;
use crate::config::{Defaults, Overrides};
use crate::queue::QueueRules;
use crate::samples::VerifySamples;

/// Everything a version is served with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The handler, where the registration named another than the manifest.
    pub handler: Option<String>,
    /// Workers at least.
    pub min_workers: usize,
    /// Workers at most.
    pub max_workers: usize,
    /// Requests in a batch at most; rows, where requests have several.
    pub batch_size: usize,
    /// Why that is not what was asked for, where the network takes no other batches.
    pub batch_limit: Option<BatchLimit>,
    /// Sizes that a batch goes with at once.
    pub preferred_batch_sizes: Vec<usize>,
    /// How long a batch may wait to fill, from the arrival of its oldest request.
    pub max_batch_delay: Duration,
    /// From a request's arrival to its answer, and for a batch on a worker.
    pub response_timeout: Duration,
    /// For a worker to load its model.
    pub startup_timeout: Duration,
    /// How long a model that does not load is tried again, from its first failure.
    pub max_retry_timeout: Duration,
    /// How long a request may wait for a worker; as long as the response time-out where `None`.
    pub client_timeout: Option<Duration>,
    /// Requests that may wait, those being decoded included.
    pub job_queue_size: usize,
    /// Whether a request is taken only where a worker is idle.
    pub use_job_ticket: bool,
    /// What becomes of the version where its known answers are not reproduced.
    pub verify_samples: VerifySamples,
    /// Where workers run, in the order in which they are placed. A device that stands here several times is
    /// given as many times the workers.
    pub devices: Vec<Device>,
    /// `deviceIds`, where the archive names them.
    pub device_ids: Option<Vec<usize>>,
}

/// What a network's own size of batches does to the size that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLimit {
    /// The size that was asked for.
    pub asked: usize,
    /// Which input is to blame, what follows, and what to do.
    pub reason: String,
}

/// The layers that a plan is resolved from, the strongest first: the request's overrides, the archive's
/// `model-config.yaml`, the server's list of models, the defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers<'a> {
    pub(crate) overrides: &'a Overrides,
    pub(crate) archive: &'a Map<String, Value>,
    pub(crate) listed: &'a Overrides,
    pub(crate) defaults: &'a Defaults,
    /// Whether the version is loaded at the server's start, where one worker a device is the default.
    pub(crate) at_startup: bool,
}

/// What the machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) cuda_devices: usize,
    /// The runtime's name, for messages.
    pub(crate) runtime: &'static str,
}

/// No time is longer, so that each can be added to an instant: 136 years.
pub(crate) const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
/// TorchServe's wait for a batch to fill where nothing is said.
const BATCH_DELAY: Duration = Duration::from_millis(100);
/// TorchServe's `maxRetryTimeoutInSec` where nothing is said.
const RETRY_TIMEOUT: Duration = Duration::from_mins(5);

/// Keys of `model-config.yaml` that mean something to TorchServe's Python workers alone.
const PYTHON_KEYS: [&str; 13] = [
    "parallelType",
    "parallelLevel",
    "torchrun",
    "continuousBatching",
    "sequenceBatching",
    "sequenceMaxIdleMSec",
    "sequenceTimeoutMSec",
    "maxSequenceJobQueueSize",
    "maxNumSequence",
    "asyncCommunication",
    "useVenv",
    "pt2",
    "micro_batching",
];

impl Plan {
    /// Resolves the layers.
    pub(crate) fn resolve(layers: Layers<'_>, machine: Machine) -> Result<Self> {
        let Layers { overrides, archive, listed, defaults, at_startup } = layers;
        let archive = Archive(archive);
        let count = |key| archive.positive(key);
        let millis = |key| Ok::<_, Error>(archive.number(key)?.map(Duration::from_millis));
        let secs =
            |key| Ok::<_, Error>(archive.positive(key)?.map(|n| Duration::from_secs(n as u64)));
        let (devices, device_ids) = devices(archive, machine)?;
        let (min_workers, max_workers) = {
            let of_archive = match (count("minWorkers")?, count("maxWorkers")?) {
                (Some(min), Some(max)) if max < min => {
                    return Err(archive.wrong("maxWorkers", &format!("at least minWorkers, {min}")));
                }
                (Some(min), max) => Some((min, max.unwrap_or(min))),
                (None, Some(max)) => Some((1, max)),
                (None, None) => None,
            };
            let of = |layer: &Overrides| {
                layer.min_workers.map(|min| (min, layer.max_workers.unwrap_or(min).max(min)))
            };
            let default = defaults.workers.unwrap_or(if at_startup { devices.len() } else { 0 });
            of_archive
                .or_else(|| of(overrides))
                .or_else(|| of(listed))
                .unwrap_or((default, default))
        };
        let plan = Self {
            handler: overrides.handler.clone(),
            min_workers,
            max_workers,
            batch_size: overrides
                .batch_size
                .or(count("batchSize")?)
                .or(listed.batch_size)
                .unwrap_or(1),
            batch_limit: None,
            preferred_batch_sizes: Vec::new(),
            max_batch_delay: overrides
                .max_batch_delay
                .or(millis("maxBatchDelay")?)
                .or(listed.max_batch_delay)
                .unwrap_or(BATCH_DELAY)
                .min(LONGEST),
            response_timeout: overrides
                .response_timeout
                .or(secs("responseTimeout")?)
                .or(listed.response_timeout)
                .unwrap_or(defaults.response_timeout)
                .min(LONGEST),
            startup_timeout: overrides
                .startup_timeout
                .or(secs("startupTimeout")?)
                .or(listed.startup_timeout)
                .unwrap_or(defaults.startup_timeout)
                .min(LONGEST),
            max_retry_timeout: archive
                .number("maxRetryTimeoutInSec")?
                .map_or(RETRY_TIMEOUT, Duration::from_secs),
            client_timeout: millis("clientTimeoutInMills")?.filter(|time| !time.is_zero()),
            job_queue_size: count("jobQueueSize")?.unwrap_or(defaults.job_queue_size),
            use_job_ticket: archive.truth("useJobTicket")?.unwrap_or(false),
            verify_samples: match (archive.verify_samples()?, defaults.verify_samples) {
                // What the server insists on, no archive talks it out of.
                (_, VerifySamples::Strict) => VerifySamples::Strict,
                (of_archive, of_server) => of_archive.unwrap_or(of_server),
            },
            devices,
            device_ids,
        };
        archive.warn_of_python_keys();
        Ok(plan)
    }

    pub(crate) fn queue_rules(&self) -> QueueRules {
        QueueRules {
            capacity: self.job_queue_size,
            policy: BatchPolicy {
                preferred: self.preferred_batch_sizes.as_slice().into(),
                ..BatchPolicy::of(self.batch_size, self.max_batch_delay)
            },
            idle_only: self.use_job_ticket,
        }
    }

    /// Whether a model whose failures began then is still to be tried again.
    pub(crate) fn may_try_again(&self, failing_since: Instant) -> bool {
        failing_since.elapsed() < self.max_retry_timeout
    }

    /// How long a request may wait for a worker.
    pub(crate) fn queue_timeout(&self) -> Duration {
        self.client_timeout.map_or(self.response_timeout, |time| time.min(self.response_timeout))
    }
}

/// An archive's `model-config.yaml`, read key by key.
#[derive(Clone, Copy)]
struct Archive<'a>(&'a Map<String, Value>);

impl Archive<'_> {
    fn wrong(self, key: &str, wanted: &str) -> Error {
        let value = self.0.get(key).unwrap_or(&Value::Null);
        Error::invalid_model(format!("{key} in model-config.yaml is {value}; give {wanted}"))
    }

    fn number(self, key: &str) -> Result<Option<u64>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_u64().map(Some).ok_or_else(|| self.wrong(key, "a whole number from 0"))
            }
        }
    }

    fn positive(self, key: &str) -> Result<Option<usize>> {
        match self.number(key)? {
            None => Ok(None),
            Some(number) => usize::try_from(number)
                .ok()
                .filter(|number| *number > 0)
                .map(Some)
                .ok_or_else(|| self.wrong(key, "a whole number from 1")),
        }
    }

    fn truth(self, key: &str) -> Result<Option<bool>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false"))
            }
        }
    }

    fn verify_samples(self) -> Result<Option<VerifySamples>> {
        const KEY: &str = "verifySamples";
        match self.0.get(KEY) {
            None | Some(Value::Null) => Ok(None),
            // In the YAML of old, `off` is no word but a truth value.
            Some(Value::Bool(false)) => Ok(Some(VerifySamples::Off)),
            Some(value) => {
                let mode = value.as_str().and_then(|word| word.parse().ok());
                mode.map(Some).ok_or_else(|| self.wrong(KEY, VerifySamples::WORDS))
            }
        }
    }

    fn warn_of_python_keys(self) {
        let ignored: Vec<&str> =
            PYTHON_KEYS.into_iter().filter(|key| self.0.contains_key(*key)).collect();
        if !ignored.is_empty() {
            log::warn!(
                "model-config.yaml has {}, which mean something to Python workers alone and are ignored",
                ignored.join(", ")
            );
        }
    }
}

/// Where a version with this `model-config.yaml` runs first.
///
/// # Errors
/// Where it asks for a device that is not there.
pub(crate) fn first_device(settings: &Map<String, Value>, machine: Machine) -> Result<Device> {
    let (devices, _) = devices(Archive(settings), machine)?;
    Ok(devices.first().copied().unwrap_or(Device::Cpu))
}

/// Where a version runs: `deviceType` and `deviceIds`, else CUDA where there is any.
fn devices(archive: Archive<'_>, machine: Machine) -> Result<(Vec<Device>, Option<Vec<usize>>)> {
    let kind = match archive.0.get("deviceType") {
        None | Some(Value::Null) => "",
        Some(value) => value.as_str().ok_or_else(|| archive.wrong("deviceType", "cpu or gpu"))?,
    };
    let cuda = machine.cuda_devices;
    let gpu = match kind {
        "cpu" => false,
        "gpu" if cuda == 0 => {
            return Err(Error::invalid_model(format!(
                "deviceType in model-config.yaml is gpu, and {} finds no CUDA device",
                machine.runtime
            )));
        }
        "gpu" => true,
        "" => cuda > 0,
        _ => return Err(archive.wrong("deviceType", "cpu or gpu")),
    };
    let ids = device_ids(archive, cuda, gpu)?;
    let devices = match &ids {
        _ if !gpu => vec![Device::Cpu],
        Some(ids) => ids.iter().map(|id| Device::Cuda(*id)).collect(),
        None => (0..cuda).map(Device::Cuda).collect(),
    };
    Ok((devices, ids))
}

fn device_ids(archive: Archive<'_>, cuda: usize, gpu: bool) -> Result<Option<Vec<usize>>> {
    let Some(value) = archive.0.get("deviceIds").filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let wanted = "a list of CUDA device numbers, such as [0, 1]";
    let wrong = || archive.wrong("deviceIds", wanted);
    let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
    let mut ids = Vec::new();
    for id in list {
        ids.push(id.as_u64().and_then(|id| usize::try_from(id).ok()).ok_or_else(wrong)?);
    }
    if let Some(id) = ids.iter().find(|id| gpu && **id >= cuda) {
        return Err(Error::invalid_model(format!(
            "deviceIds in model-config.yaml names device {id}, and there are {cuda}, numbered from 0"
        )));
    }
    if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
        return Err(wrong());
    }
    Ok(Some(ids))
}

/// The device for one more worker: the one with the fewest of this version's, for as often as it is listed; of
/// those the one with the fewest of all, of those the first.
pub(crate) fn place(
    devices: &[Device],
    of_version: impl Fn(Device) -> usize,
    of_all: impl Fn(Device) -> usize,
) -> Device {
    devices
        .iter()
        .copied()
        .min_by_key(|device| {
            let listed = devices.iter().filter(|other| *other == device).count();
            (of_version(*device) / listed.max(1), of_all(*device))
        })
        .unwrap_or(Device::Cpu)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MACHINE: Machine = Machine { cuda_devices: 0, runtime: "fake" };

    fn resolve(
        archive: &Value,
        layers: impl FnOnce(&mut (Overrides, Overrides, bool)),
    ) -> Result<Plan> {
        let mut others = (Overrides::default(), Overrides::default(), true);
        layers(&mut others);
        let layers = Layers {
            overrides: &others.0,
            archive: archive.as_object().unwrap(),
            listed: &others.1,
            defaults: &Defaults::default(),
            at_startup: others.2,
        };
        Plan::resolve(layers, MACHINE)
    }

    fn on(archive: &Value, cuda_devices: usize) -> Result<Plan> {
        let layers = Layers {
            overrides: &Overrides::default(),
            archive: archive.as_object().unwrap(),
            listed: &Overrides::default(),
            defaults: &Defaults::default(),
            at_startup: true,
        };
        Plan::resolve(layers, Machine { cuda_devices, ..MACHINE })
    }

    #[test]
    fn defaults_are_torchserves() {
        let plan = resolve(&json!({}), |_| ()).unwrap();
        assert_eq!((plan.min_workers, plan.max_workers), (1, 1), "one at the start");
        assert_eq!((plan.batch_size, plan.max_batch_delay), (1, Duration::from_millis(100)));
        assert_eq!(plan.response_timeout, Duration::from_mins(2));
        assert_eq!(plan.startup_timeout, Duration::from_mins(2));
        assert_eq!(plan.max_retry_timeout, Duration::from_mins(5));
        assert_eq!((plan.job_queue_size, plan.use_job_ticket), (100, false));
        assert_eq!(plan.devices, [Device::Cpu]);
        let later = resolve(&json!({}), |layers| layers.2 = false).unwrap();
        assert_eq!(later.min_workers, 0, "none where it is registered later");
        assert_eq!(on(&json!({}), 2).unwrap().min_workers, 2, "one a CUDA device");
    }

    #[test]
    fn batching_and_time_outs_come_from_the_request_then_the_archive_then_the_list() {
        let archive =
            json!({"batchSize": 4, "maxBatchDelay": 40, "responseTimeout": 4, "startupTimeout": 5});
        let secs = Duration::from_secs;
        let plan = resolve(&archive, |(request, listed, _)| {
            *listed = Overrides {
                batch_size: Some(2),
                response_timeout: Some(secs(2)),
                ..Overrides::default()
            };
            request.startup_timeout = Some(secs(9));
        })
        .unwrap();
        assert_eq!((plan.batch_size, plan.max_batch_delay), (4, Duration::from_millis(40)));
        assert_eq!((plan.response_timeout, plan.startup_timeout), (secs(4), secs(9)));
        let plan = resolve(&json!({}), |(request, listed, _)| {
            *listed = Overrides { batch_size: Some(2), ..Overrides::default() };
            request.max_batch_delay = Some(Duration::ZERO);
        })
        .unwrap();
        assert_eq!((plan.batch_size, plan.max_batch_delay), (2, Duration::ZERO));
    }

    #[test]
    fn workers_come_from_the_archive_then_the_request_then_the_list() {
        let workers = |plan: Plan| (plan.min_workers, plan.max_workers);
        let set = |(request, listed, _): &mut (Overrides, Overrides, bool)| {
            request.min_workers = Some(2);
            listed.min_workers = Some(3);
            listed.max_workers = Some(5);
        };
        let archive = json!({"minWorkers": 1, "maxWorkers": 6});
        assert_eq!(workers(resolve(&archive, set).unwrap()), (1, 6));
        assert_eq!(workers(resolve(&json!({"maxWorkers": 6}), set).unwrap()), (1, 6));
        assert_eq!(workers(resolve(&json!({}), set).unwrap()), (2, 2));
        let listed = |(_, listed, _): &mut (Overrides, Overrides, bool)| {
            *listed =
                Overrides { min_workers: Some(3), max_workers: Some(5), ..Overrides::default() };
        };
        assert_eq!(workers(resolve(&json!({}), listed).unwrap()), (3, 5));
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_key() {
        for (archive, words) in [
            (
                json!({"minWorkers": 0}),
                "minWorkers in model-config.yaml is 0; give a whole number from 1",
            ),
            (json!({"batchSize": "four"}), "batchSize in model-config.yaml is \"four\""),
            (json!({"maxBatchDelay": -1}), "maxBatchDelay in model-config.yaml is -1"),
            (json!({"responseTimeout": 1.5}), "responseTimeout"),
            (
                json!({"useJobTicket": 1}),
                "useJobTicket in model-config.yaml is 1; give true or false",
            ),
            (
                json!({"minWorkers": 3, "maxWorkers": 2}),
                "maxWorkers in model-config.yaml is 2; give at least minWorkers, 3",
            ),
            (
                json!({"verifySamples": "loud"}),
                "verifySamples in model-config.yaml is \"loud\"; give off, warn or strict",
            ),
            (json!({"verifySamples": true}), "verifySamples in model-config.yaml is true"),
            (
                json!({"deviceType": "tpu"}),
                "deviceType in model-config.yaml is \"tpu\"; give cpu or gpu",
            ),
            (json!({"deviceType": 1}), "deviceType"),
            (json!({"deviceIds": 1}), "deviceIds in model-config.yaml is 1"),
            (json!({"deviceIds": [0, 0]}), "deviceIds"),
        ] {
            let error = resolve(&archive, |_| ()).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn an_archive_says_what_becomes_of_its_known_answers_unless_the_server_insists() {
        use VerifySamples::{Off, Strict, Warn};
        for (archive, server, holds) in [
            (json!({}), Warn, Warn),
            (json!({}), Off, Off),
            (json!({"verifySamples": "off"}), Warn, Off),
            (json!({"verifySamples": false}), Warn, Off),
            (json!({"verifySamples": "strict"}), Off, Strict),
            (json!({"verifySamples": "warn"}), Off, Warn),
            (json!({"verifySamples": "off"}), Strict, Strict),
            (json!({"verifySamples": "warn"}), Strict, Strict),
        ] {
            let layers = Layers {
                overrides: &Overrides::default(),
                archive: archive.as_object().unwrap(),
                listed: &Overrides::default(),
                defaults: &Defaults { verify_samples: server, ..Defaults::default() },
                at_startup: true,
            };
            let plan = Plan::resolve(layers, MACHINE).unwrap();
            assert_eq!(plan.verify_samples, holds, "{archive} on {server:?}");
        }
    }

    #[test]
    fn devices_are_those_asked_for_and_no_others() {
        let devices = |archive: Value, cuda| on(&archive, cuda).map(|plan| plan.devices);
        let cuda = |ids: &[usize]| ids.iter().map(|id| Device::Cuda(*id)).collect::<Vec<_>>();
        assert_eq!(devices(json!({}), 3).unwrap(), cuda(&[0, 1, 2]));
        assert_eq!(devices(json!({"deviceType": "cpu"}), 3).unwrap(), [Device::Cpu]);
        assert_eq!(devices(json!({"deviceIds": [2, 0]}), 3).unwrap(), cuda(&[2, 0]));
        let none = devices(json!({"deviceType": "gpu"}), 0).unwrap_err();
        assert!(none.message().contains("fake finds no CUDA device"), "{none}");
        let beyond = devices(json!({"deviceType": "gpu", "deviceIds": [3]}), 3).unwrap_err();
        assert!(beyond.message().contains("names device 3, and there are 3"), "{beyond}");
        assert_eq!(devices(json!({"deviceIds": [3]}), 0).unwrap(), [Device::Cpu]);
    }

    #[test]
    fn workers_go_round_the_devices_from_the_first() {
        let devices = [Device::Cuda(0), Device::Cuda(1), Device::Cuda(2)];
        let mut placed: Vec<Device> = Vec::new();
        for _ in 0..5 {
            let count = |device| placed.iter().filter(|other| **other == device).count();
            placed.push(place(&devices, count, count));
        }
        let order: Vec<_> = [0, 1, 2, 0, 1].map(Device::Cuda).into();
        assert_eq!(placed, order);
        let listed = [Device::Cuda(0), Device::Cuda(0), Device::Cpu];
        let mut placed: Vec<Device> = Vec::new();
        for _ in 0..3 {
            let count = |device| placed.iter().filter(|other| **other == device).count();
            placed.push(place(&listed, count, |_| 0));
        }
        placed.sort_by_key(ToString::to_string);
        assert_eq!(placed, [Device::Cpu, Device::Cuda(0), Device::Cuda(0)]);
        let busy = |device| usize::from(device == Device::Cuda(0));
        assert_eq!(place(&devices, |_| 0, busy), Device::Cuda(1), "another model has the first");
        assert_eq!(place(&[Device::Cpu], |_| 7, |_| 9), Device::Cpu);
    }

    #[test]
    fn a_request_waits_for_a_worker_no_longer_than_its_client() {
        let plan = resolve(&json!({"clientTimeoutInMills": 50}), |_| ()).unwrap();
        assert_eq!(plan.queue_timeout(), Duration::from_millis(50));
        let plan = resolve(&json!({"clientTimeoutInMills": 0}), |_| ()).unwrap();
        assert_eq!(plan.queue_timeout(), plan.response_timeout);
    }

    #[test]
    fn the_longest_times_can_still_be_added_to_now() {
        let most = u64::MAX;
        let archive = json!({
            "responseTimeout": most, "startupTimeout": most, "maxBatchDelay": most,
            "clientTimeoutInMills": most,
        });
        let plan = resolve(&archive, |_| ()).unwrap();
        let now = Instant::now();
        for time in [
            plan.response_timeout,
            plan.startup_timeout,
            plan.max_batch_delay,
            plan.queue_timeout(),
        ] {
            assert!(time >= Duration::from_hours(24 * 365));
            assert!(now.checked_add(time).is_some(), "{time:?}");
        }
    }
}
