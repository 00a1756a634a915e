//! The contract a handler author compiles against.
//!
//! A [`Handler`] turns one request into tensors, a batch of tensors into a batch of tensors, and one
//! request's share of the outputs into a response. A [`Model`] is weights on a [`Device`]; a [`Runtime`]
//! opens files as models. Nothing here knows HTTP, gRPC, libtorch or ONNX Runtime: a [`Tensor`] is a
//! type, a shape and bytes in host memory, which every runtime borrows and every protocol can carry.
#![warn(missing_docs)]

mod context;
mod error;
mod handler;
mod model;
mod numbers;
mod request;
mod response;
mod signature;
mod strings;
mod tensor;

pub use context::Context;
pub use error::{Error, ErrorCode, Result};
pub use handler::{Handler, Registration, Stage};
pub use model::{Device, Epilogue, LoadSpec, Model, Optimised, Runtime, Variant};
pub use numbers::Numbers;
pub use request::{Header, Kept, Part, Request};
pub use response::Response;
pub use signature::{Side, Signature, TensorSpec};
pub use tensor::{Batch, DType, Element, Tensor};
