//! What the engine can be told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::samples::VerifySamples;

/// The engine's settings, already validated.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Threads that decode requests and encode responses.
    pub cpu_threads: usize,
    /// Cores that forward passes on the processor share out among all workers.
    pub cores: usize,
    /// CUDA devices to use at most; all there are where `None`.
    pub max_cuda_devices: Option<usize>,
    /// Where archives are unpacked; a folder of the engine's own is made inside it.
    pub temp_dir: PathBuf,
    /// Where runtimes may keep what they make of models' files, so that the next start takes less time;
    /// nothing is kept where `None`. It is made when it is first needed, and nothing is kept in one that others
    /// may write to.
    pub model_cache: Option<PathBuf>,
    /// One step of the wait before a worker that went down loads its model again.
    pub backoff_step: Duration,
    /// How long an unloaded version's requests and workers may take to end.
    pub unload_timeout: Duration,
    /// The handler of archives that name none.
    pub default_handler: Option<String>,
    /// What holds where neither the request, nor the archive, nor the server's list of models says more.
    pub defaults: Defaults,
    /// What the server's list of models says of each, by name and version.
    pub listed: BTreeMap<String, BTreeMap<String, Overrides>>,
}

/// The bottom layer of every version's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Workers a version starts with; one a device at the start of the server where `None`, and none
    /// where a version is registered later.
    pub workers: Option<usize>,
    /// Requests that may wait, those being decoded included; one more is refused.
    pub job_queue_size: usize,
    /// From a request's arrival to its answer, and for a batch on a worker.
    pub response_timeout: Duration,
    /// For a worker to load its model.
    pub startup_timeout: Duration,
    /// What becomes of a version whose known answers are not reproduced. An archive may ask for something
    /// else, but not for less than [`VerifySamples::Strict`].
    pub verify_samples: VerifySamples,
}

/// What one source says of a version: a registration's parameters, or an entry of the server's list of
/// models. `None` leaves it to the next source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The handler, instead of the manifest's.
    pub handler: Option<String>,
    /// Workers at the start, and at least.
    pub min_workers: Option<usize>,
    /// Workers at most.
    pub max_workers: Option<usize>,
    /// Requests in a batch at most.
    pub batch_size: Option<usize>,
    /// How long a batch may wait to fill, from the arrival of its oldest request.
    pub max_batch_delay: Option<Duration>,
    /// See [`Defaults::response_timeout`].
    pub response_timeout: Option<Duration>,
    /// See [`Defaults::startup_timeout`].
    pub startup_timeout: Option<Duration>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cpu_threads: cores,
            cores,
            max_cuda_devices: None,
            temp_dir: std::env::temp_dir(),
            model_cache: None,
            backoff_step: Duration::from_secs(1),
            unload_timeout: Duration::from_mins(2),
            default_handler: None,
            defaults: Defaults::default(),
            listed: BTreeMap::new(),
        }
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            workers: None,
            job_queue_size: 100,
            response_timeout: Duration::from_mins(2),
            startup_timeout: Duration::from_mins(2),
            verify_samples: VerifySamples::default(),
        }
    }
}
