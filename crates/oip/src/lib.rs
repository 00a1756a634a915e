//! The Open Inference Protocol, version 2, over one engine: what REST and gRPC have in common.
//!
//! An adapter turns what came over its wire into [`InferRequest`] and the like, asks [`Service`], and writes
//! down what it says. Nothing here knows HTTP or gRPC. Tensors come and go as bytes; the JSON form of their
//! elements is read and written here too, since whoever sends JSON means the same tensor.
#![warn(missing_docs)]

mod buffer;
mod datatype;
mod infer;
mod json;
mod parameters;
mod quoted;
mod service;
mod shared_memory;
mod target;
mod types;

pub use buffer::AlignedBuffer;
pub use datatype::{datatype, dtype};
pub use json::{BinaryOutputs, Encoded, decode, decode_raw, encode};
pub use service::{Service, ServiceConfig};
pub use shared_memory::{RegionStatus, SharedMemory};
pub use target::{HANDLER_INPUT, HANDLER_OUTPUT, HANDLER_SUFFIX, Target};
pub use types::{
    InferRequest, InferResponse, InputTensor, OutputTensor, Parameter, Parameters, RequestedOutput,
};
