//! The Open Inference Protocol, version 2, over one engine: what REST and gRPC have in common.
//!
//! An adapter turns what came over its wire into [`InferRequest`] and the like, asks [`Service`], and writes
//! down what it says. Nothing here knows HTTP or gRPC. Tensors come and go as bytes; the JSON form of their
//! elements is read and written here too, since whoever sends JSON means the same tensor.
#![warn(missing_docs)]

mod blocking;
mod buffer;
mod config;
mod infer;
mod json;
mod metadata;
mod names;
mod parameters;
mod quoted;
mod readiness;
mod repository;
mod service;
mod settings;
mod shared_memory;
mod statistics;
pub mod triton;
mod turns;
mod types;

pub use buffer::AlignedBuffer;
pub use infer::of_request;
pub use json::{
    BinaryOutputs, Encoded, PredictForm, decode, decode_predict, decode_raw, encode, encode_predict,
};
pub use metadata::{ModelMetadata, ServerMetadata, TensorMetadata};
pub use names::{HANDLER, HANDLER_INPUT, HANDLER_OUTPUT, Named};
pub use quoted::Quoted;
pub use readiness::{Readiness, Unready};
pub use repository::{ModelIndex, Repository, take_out};
pub use service::{Service, ServiceConfig};
pub use settings::{LogChanges, LogSettings, TraceSettings, TraceValue};
pub use shared_memory::{RegionStatus, SharedMemory};
pub use statistics::{
    BatchStatistics, Failures, Figures, ModelStatistics, RequestStatistics, SizedBatchStatistics,
    Statistics, Tally,
};
pub use types::{
    InferRequest, InferResponse, InputTensor, OutputTensor, Parameter, Parameters, RequestedOutput,
};
