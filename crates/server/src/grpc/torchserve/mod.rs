//! TorchServe's two services, with its words and its codes.

mod management;
mod predictions;

pub(super) use management::{NAME as MANAGEMENT, service as management};
pub(super) use predictions::{NAME as INFERENCE, service as inference};
