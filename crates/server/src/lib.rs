//! The server around one engine: command line, REST, gRPC, start and stop.
//!
//! Adapters only. What a request means is the engine's business and what a model does a handler's;
//! this crate turns bytes on a socket into a [`Request`](mar_engine::Request) and a
//! [`Response`](mar_engine::Response) or an error back into bytes.

mod access;
mod fetch;
mod grpc;
mod launch;
mod logging;
mod metrics;
mod oip;
mod report;
mod repository;
mod rest;
mod server;
mod settings;
mod snapshots;
mod startup;
mod tls;

pub use launch::run;
// What a `main` names when it lists its handlers and runtimes.
pub use mar_engine::{Registration, Runtime};
pub use metrics::Metrics;
pub use server::{Server, TritonUrls};
pub use settings::{
    Access, Address, ApiKey, Cors, Endpoint, Envelope, GrpcService, GrpcSite, Listed, LogFormat,
    Measuring, MetricsMode, ModelControl, ModelSource, ModelStore, Settings, Tls, Triton,
};
