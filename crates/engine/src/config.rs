//! What the engine can be told.

use std::path::PathBuf;
use std::time::Duration;

/// The engine's settings, already validated.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Requests one model version lets wait, those being decoded included; one more is refused.
    pub job_queue_size: usize,
    /// Threads that decode requests and encode responses.
    pub cpu_threads: usize,
    /// Threads one forward pass may use on the processor.
    pub intra_op_threads: usize,
    /// Where archives are unpacked; a folder of the engine's own is made inside it.
    pub temp_dir: PathBuf,
    /// One step of the wait before a worker that went down loads its model again.
    pub backoff_step: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            job_queue_size: 100,
            cpu_threads: cores,
            intra_op_threads: cores,
            temp_dir: std::env::temp_dir(),
            backoff_step: Duration::from_secs(1),
        }
    }
}
