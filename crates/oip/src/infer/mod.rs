//! The way of a request of tensors: checked against what the model takes, answered, named and put where the
//! client wants it.

mod classification;
mod handler;
mod inputs;
mod network;
mod outputs;

use std::collections::BTreeSet;

use mar_engine::{Admission, Error, ErrorCode, Result};

use crate::blocking::blocking;
use crate::parameters;
use crate::quoted::Quoted;
use crate::{InferRequest, InferResponse, Named, Service};

/// Sides of a tensor at most, as NumPy has it.
const MOST_SIDES: usize = 64;

impl Service {
    /// Answers one admitted request.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] naming the field that is wrong; [`ErrorCode::ModelNotFound`] also where a
    /// shared memory region is not registered; else those of the engine.
    pub async fn infer(
        &self,
        admission: &Admission,
        request: InferRequest,
    ) -> Result<InferResponse> {
        let Named { version, handler } = self.find(&request.model, request.version.as_deref())?;
        let id = request.id.clone();
        let answered = match checked(&request) {
            Err(error) => Err(error),
            Ok(()) if handler => handler::infer(self, admission, &version, request).await,
            Ok(()) => network::infer(self, admission, &version, request).await,
        };
        // Triton's clients look for the identifier in what is said of their inputs.
        answered.map_err(|error| match error.code() {
            ErrorCode::InvalidInput => of_request(id.as_deref(), &error),
            _ => error,
        })
    }
}

/// What has to be so whatever the request is for.
fn checked(request: &InferRequest) -> Result<()> {
    parameters::check_names(&request.parameters)?;
    let mut seen = BTreeSet::new();
    for input in &request.inputs {
        if !seen.insert(input.name.as_str()) {
            let message = format!("input {} is given twice", Quoted(&input.name));
            return Err(Error::invalid_input(message));
        }
        if input.shape.len() > MOST_SIDES {
            return Err(Error::invalid_input(format!(
                "input {} has {} sides, and a tensor has {MOST_SIDES} at most",
                Quoted(&input.name),
                input.shape.len()
            )));
        }
    }
    let mut seen = BTreeSet::new();
    match request.outputs.iter().find(|output| !seen.insert(output.name.as_str())) {
        None => Ok(()),
        Some(output) => {
            Err(Error::invalid_input(format!("output {} is asked for twice", Quoted(&output.name))))
        }
    }
}

/// The same error, of which request it is by the client's identifier.
pub fn of_request(id: Option<&str>, error: &Error) -> Error {
    let id = id.filter(|id| !id.is_empty()).map_or_else(
        || "<id_unknown>".to_owned(),
        |id| id.chars().filter(|c| !c.is_control()).take(64).collect(),
    );
    let message = format!("[request id: {id}] {}", error.message());
    Error::new(error.code(), message).caused_by(error.clone())
}

/// The same error, of which tensor it is: "input" or "output", and its name.
fn of_tensor(what: &str, name: &str, error: &Error) -> Error {
    let message = format!("{what} {}: {}", Quoted(name), error.message());
    Error::new(error.code(), message).caused_by(error.clone())
}

/// Does work that would hold up an async thread on one that may be; what takes no time, here.
async fn apart<T: Send + 'static>(
    takes_long: bool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if takes_long { blocking(work).await? } else { work() }
}
