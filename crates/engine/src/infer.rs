//! Tensors straight to a network and back, past its handler: for clients that do its work themselves.

use std::time::{Duration, Instant};

use mar_handler::{Result, Signature, Tensor};

use crate::engine::Admission;
use crate::events::Timing;
use crate::{Engine, ModelVersion};

/// What a network is asked.
#[derive(Clone, Debug, Default)]
pub struct TensorRequest {
    /// The server's identifier of this request.
    pub id: String,
    /// The network's inputs, in its own order. Where the interface is batched, the first side of each
    /// counts the rows, as many in each.
    pub inputs: Vec<Tensor>,
    /// Its level: 1 goes before 2; 0 is the version's default. Above the version's levels it is the default
    /// too.
    pub priority: u64,
    /// How long it may wait for a worker, where that is less than the version's own limit, or the version lets
    /// a client ask for more.
    pub timeout: Option<Duration>,
}

/// What a network answered.
#[derive(Clone, Debug)]
pub struct TensorAnswer {
    /// Its outputs, in its own order, with the names that it gives them.
    pub outputs: Vec<Tensor>,
    /// The time it took, stage by stage.
    pub timing: Timing,
}

/// What a version's network takes and gives: what its archive or configuration declares, else what its file
/// says, else what its handler knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Inputs and outputs. Where it is batched, the first side of each is the batch's, and of any length.
    pub signature: Signature,
    /// Whether the first side counts rows, so that requests share batches.
    pub batched: bool,
    /// Rows that one request may have, where there is a bound.
    pub max_rows: Option<usize>,
}

impl Engine {
    /// Runs a version's network on tensors.
    ///
    /// # Errors
    /// Those of [`Engine::predict`], but for a handler's own.
    pub async fn infer(
        &self,
        _admission: &Admission,
        model: &str,
        version: Option<&str>,
        request: TensorRequest,
    ) -> Result<TensorAnswer> {
        let _ = (self.version(model, version)?, request, Instant::now());
        Err(mar_handler::Error::new(mar_handler::ErrorCode::Unsupported, "not yet"))
    }
}

impl ModelVersion {
    /// What its network takes and gives; `None` until it is opened.
    pub fn interface(&self) -> Option<Interface> {
        None
    }
}
