//! What clients ask of a server, and its answers.

use std::sync::Arc;

use mar_engine::{Admission, Engine, Error, ErrorCode, Result};

use crate::repository::Unloaded;
use crate::{Figures, InferRequest, InferResponse, Repository};

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
}

/// The protocol over one engine.
#[derive(Debug)]
pub struct Service {
    engine: Arc<Engine>,
    config: ServiceConfig,
    pub(crate) unloaded: Unloaded,
}

impl Service {
    /// A service over this engine.
    pub fn new(engine: Arc<Engine>, config: ServiceConfig) -> Self {
        Self { engine, config, unloaded: Unloaded::default() }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn config(&self) -> &ServiceConfig {
        &self.config
    }

    /// Answers one admitted request.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] naming the field that is wrong; else those of the engine.
    pub async fn infer(&self, _: &Admission, request: InferRequest) -> Result<InferResponse> {
        let message = format!("{}: model \"{}\"", self.config.name, request.model);
        Err(Error::new(ErrorCode::Unsupported, message))
    }
}
