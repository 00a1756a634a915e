//! The Open Inference Protocol, version 2, over one engine: what REST and gRPC have in common.
//!
//! An adapter turns what came over its wire into [`InferRequest`] and the like, asks [`Service`], and writes
//! down what it says. Nothing here knows HTTP or gRPC. Tensors come and go as bytes; the JSON form of their
//! elements is read and written here too, since whoever sends JSON means the same tensor.
#![warn(missing_docs)]

mod service;
pub mod triton;
mod types;

pub use service::{Service, ServiceConfig};
pub use types::{
    InferRequest, InferResponse, InputTensor, OutputTensor, Parameter, Parameters, RequestedOutput,
};
