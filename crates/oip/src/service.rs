//! What clients ask of a server, and its answers.

use std::sync::Arc;

use mar_engine::{Admission, Engine, Error, ErrorCode, Result};

use crate::{InferRequest, InferResponse};

/// What a service can be told.
#[derive(Clone, Debug, Default)]
pub struct ServiceConfig {
    /// The server's name, as metadata has it.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The protocol over one engine.
#[derive(Debug)]
pub struct Service {
    engine: Arc<Engine>,
    config: ServiceConfig,
}

impl Service {
    /// A service over this engine.
    pub fn new(engine: Arc<Engine>, config: ServiceConfig) -> Self {
        Self { engine, config }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
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
