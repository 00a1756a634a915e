//! Tensors straight to a network and back, past its handler: for clients that do its work themselves.

use std::time::Duration;

use mar_handler::{Error, Result, Signature, Tensor, TensorSpec};

use crate::Engine;
use crate::engine::Admission;
use crate::events::Timing;
use crate::fixed::FixedBatch;

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
    /// How long it may wait for a worker, where that is less than the version's own limit. A network with a
    /// policy heeds it only where the policy lets clients ask; zero is no wish.
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
    /// The one size of batch that the network takes from its handler, where it fixes it.
    pub fixed: Option<FixedBatch>,
}

impl Engine {
    /// Runs a version's network on tensors.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) where the tensors are not as many as
    /// the network takes or their rows do not fit; else those of [`Engine::predict`], but for a handler's own.
    pub async fn infer(
        &self,
        _admission: &Admission,
        model: &str,
        version: Option<&str>,
        request: TensorRequest,
    ) -> Result<TensorAnswer> {
        let (found, slot) = self.place(model, version)?;
        found.infer(slot, request, version.is_some()).await
    }
}

impl Interface {
    /// The rows of a request's tensors; 1 where none is a batch's side.
    pub(crate) fn rows(&self, inputs: &[Tensor]) -> Result<usize> {
        let wrong = |message: String| Err(Error::invalid_input(message));
        let wanted = self.signature.inputs.as_ref().map(Vec::len);
        match (inputs.len(), wanted) {
            (0, _) => return wrong("the request has no input".into()),
            (found, Some(wanted)) if found != wanted => {
                return wrong(format!("the request has {found} inputs; the model takes {wanted}"));
            }
            _ => {}
        }
        if !self.batched {
            return Ok(1);
        }
        let name = |index: usize| name_of(self.signature.inputs.as_deref(), index, &inputs[index]);
        let mut rows = None;
        for (index, input) in inputs.iter().enumerate() {
            let name = || name(index);
            match (input.shape().first(), rows) {
                (None, _) => return wrong(format!("input {} has no batch dimension", name())),
                (Some(0), _) => {
                    return wrong(format!("input {} has no rows; send at least one", name()));
                }
                (Some(found), None) => rows = Some(*found),
                (Some(found), Some(rows)) if *found != rows => {
                    return wrong(format!(
                        "input {} has {found} rows and the first input {rows}; send as many in each",
                        name()
                    ));
                }
                (Some(_), Some(_)) => {}
            }
        }
        let rows = rows.unwrap_or(1);
        match self.max_rows {
            Some(most) if rows > most => {
                wrong(format!("a batch of {rows} rows is above max_batch_size {most}"))
            }
            _ => Ok(rows),
        }
    }

    /// What an output is called in messages.
    pub(crate) fn output_name(&self, index: usize, output: &Tensor) -> String {
        name_of(self.signature.outputs.as_deref(), index, output)
    }
}

/// A tensor's name: the declared one, else its own, else its number.
fn name_of(specs: Option<&[TensorSpec]>, index: usize, tensor: &Tensor) -> String {
    let declared = specs.and_then(|specs| specs.get(index)).map(|spec| spec.name.as_str());
    declared.or(tensor.name()).map_or_else(|| index.to_string(), |name| format!("\"{name}\""))
}
