//! What clients ask of a server, and its answers.

use std::path::PathBuf;
use std::sync::Arc;

use mar_engine::Engine;

use crate::repository::Unloaded;
use crate::turns::Turns;
use crate::{Figures, Repository, SharedMemory};

/// What a service can be told.
#[derive(Clone, Debug, Default)]
pub struct ServiceConfig {
    /// The server's name, as metadata has it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether clients may load and unload models.
    pub explicit_control: bool,
    /// Where models lie; the first that has a name loads it.
    pub repositories: Vec<Arc<dyn Repository>>,
    /// Who counts; nothing is counted where nobody does.
    pub figures: Option<Arc<dyn Figures>>,
    /// Where objects of shared memory lie; `None` where clients may not share memory.
    pub shared_memory: Option<PathBuf>,
}

/// The protocol over one engine.
#[derive(Debug)]
pub struct Service {
    engine: Arc<Engine>,
    config: ServiceConfig,
    pub(crate) unloaded: Unloaded,
    pub(crate) turns: Turns,
    shared_memory: Arc<SharedMemory>,
}

impl Service {
    /// A service over this engine.
    pub fn new(engine: Arc<Engine>, config: ServiceConfig) -> Self {
        let shared_memory = Arc::new(SharedMemory::new(config.shared_memory.clone()));
        let (unloaded, turns) = (Unloaded::default(), Turns::default());
        Self { engine, config, unloaded, turns, shared_memory }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What it was told.
    pub fn config(&self) -> &ServiceConfig {
        &self.config
    }

    /// The regions of memory that clients share with it.
    pub fn shared_memory(&self) -> &Arc<SharedMemory> {
        &self.shared_memory
    }
}
