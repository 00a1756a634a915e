//! What the project does as a whole, tested from outside: one binary, a module a capability.
//!
//! Every test starts a server of its own on free ports, with a model store of its own. Most run on a
//! fake runtime, so that the engine and the protocols are tested where there is no libtorch; `torch`,
//! `detectors`, `answers`, `known_answers` and `process` run the real thing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

/// Tokens and keys: which opens what, until when.
mod access;
/// TorchServe's handlers on libtorch: the answers that TorchServe's own gave to the same archives.
#[cfg(feature = "torch")]
mod answers;
/// Requests that share a forward pass.
mod batching;
/// What the server is told, and by whom: files, flags, variables.
mod configuration;
/// torchvision's detectors on libtorch: equal to TorchServe's handler on the same weights.
#[cfg(feature = "torch")]
mod detectors;
/// FastAI's learners as they were exported: answers, batches, checks and faults.
#[cfg(feature = "torch")]
mod exported;
/// gRPC: TorchServe's services, the Open Inference Protocol, health, reflection, keys, limits, streams.
mod grpc;
/// The built-in handlers over the network: archives without a configuration, forms of inputs and answers.
mod handlers;
/// Whether the server lives and is ready, and what it says where it is not.
mod health;
/// What a request is answered: bodies, forms, versions, headers, errors.
mod inference;
/// Known answers on libtorch: an archive with a fault in it, and the stage that shows it.
#[cfg(feature = "torch")]
mod known_answers;
/// Many instances in one request, as KServe and TensorFlow Serving send them.
mod kserve_v1;
/// Start-up, health, draining, recovery of a worker that went down.
mod life_cycle;
/// Addresses: three or shared ones, Unix sockets, TLS.
mod listeners;
/// What the log says of requests, in each of its forms.
mod logging;
/// What the management port tells.
mod management;
/// Masks in every form, chosen by the query or the `Accept` header.
mod masks;
/// What is measured, and how it is told.
mod metrics;
/// The descriptions of the ports, against the ports.
mod openapi;
/// Every path of the inference port, every form of a body, and what a handler is told.
mod predict_routes;
/// The program itself: start, stop, signals, kills. Needs libtorch for a model that serves.
#[cfg(feature = "torch")]
mod process;
/// Handlers and models that hang, panic, or do not load.
mod recovery;
/// How models come and go: every call of the management port, every answer.
mod registration;
/// SageMaker's paths, and how they choose a model.
mod sagemaker;
/// Known answers: replayed by `marserve check`, and when a model is loaded.
mod samples;
/// How workers come and go, and where they run.
mod scaling;
/// What is written down of the models, and how they come back.
mod snapshots;
/// Half a minute of everything at once. Once is enough, so not again where libtorch is there.
#[cfg(not(feature = "torch"))]
mod soak;
/// Which crate may know which, and how large a file may be.
mod tidy;
/// The example on libtorch: equal to FastAI, and unharmed by broken images.
#[cfg(feature = "torch")]
mod torch;
/// Model repositories of Triton's layout, on Triton's addresses.
mod triton;
/// Versions side by side: switching, draining, replacing.
mod versions;
/// Requests that are no HTTP, or hardly: bytes on the wire.
mod wire;
