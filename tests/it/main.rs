//! What the project does as a whole, tested from outside: one binary, a module a capability.
//!
//! Every test starts a server of its own on free ports, with a model store of its own. Most run on a
//! fake runtime, so that the engine and the protocols are tested where there is no libtorch; `torch`,
//! `detectors`, `answers`, `known_answers` and `process` run the real thing, and `onnx` runs ONNX Runtime.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

/// Tokens and keys: which opens what, until when.
mod access;
/// TorchServe's handlers on libtorch: the answers that TorchServe's own gave to the same archives.
#[cfg(feature = "torch")]
mod answers;
/// Requests that share a forward pass.
mod batching;
/// `marserve bench-model`: what runs, what is told of it, how it ends.
mod bench_model;
/// What the server is told, and by whom: files, flags, variables.
mod configuration;
/// torchvision's detectors on libtorch: equal to TorchServe's handler on the same weights.
#[cfg(feature = "torch")]
mod detectors;
/// FastAI's learners as they were exported: answers, batches, checks and faults.
#[cfg(feature = "torch")]
mod exported;
/// The Open Inference Protocol over gRPC: tensors, what is malformed, limits, deadlines.
mod grpc;
/// What every port of gRPC has: health, reflection, keys, TLS, a good end.
mod grpc_ports;
/// Streams over gRPC: their order, their failures, and a thousand of them that are dropped.
mod grpc_streams;
/// TorchServe's two services over gRPC: answers, sentences, codes.
mod grpc_torchserve;
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
/// The Open Inference Protocol over HTTP, all but its tensors: what the server and its models tell of
/// themselves, how models come and go, what may be set.
mod oip_about;
/// What is wrong with requests of tensors, and what their clients are told.
mod oip_errors;
/// Models' handlers as the Open Inference Protocol's clients call them.
mod oip_handler;
/// Tensors over the Open Inference Protocol: JSON, bytes, compression, classes.
mod oip_infer;
/// Tensors that lie in memory which clients share with the server.
mod oip_shared_memory;
/// ONNX Runtime behind the handlers, and a server that does not have it.
#[cfg(feature = "onnx")]
mod onnx;
/// ONNX files that cannot be served: what is told of them, and that nobody else is disturbed.
#[cfg(feature = "onnx")]
mod onnx_broken;
/// ONNX Runtime under the engine: networks that fix their batch, what it is asked, and a server without it.
#[cfg(feature = "onnx")]
mod onnx_engine;
/// Every handler on libtorch and on ONNX Runtime, side by side: the same network, the same answers.
#[cfg(all(feature = "torch", feature = "onnx"))]
mod onnx_handlers;
/// ONNX graphs that are optimised ahead of a start, by `marserve optimize` or by the start before, and sessions
/// whose threads follow the workers.
#[cfg(feature = "onnx")]
mod onnx_optimized;
/// Execution providers that an archive asks for: who runs it, and what is refused.
#[cfg(feature = "onnx")]
mod onnx_providers;
/// The example in both forms at once: equal masks, known answers, weights that are one file.
#[cfg(all(feature = "torch", feature = "onnx"))]
mod onnx_scenes;
/// A server that may open no more files: what it says, whom it answers.
mod open_files;
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
/// What runs a model: what it is asked, what it keeps, what it tells, and networks that take no batches.
mod runtimes;
/// SageMaker's paths, and how they choose a model.
mod sagemaker;
/// Known answers: replayed by `marserve check`, and when a model is loaded.
mod samples;
/// How workers come and go, and where they run.
mod scaling;
/// scikit-learn's models on ONNX Runtime, held against scikit-learn.
#[cfg(feature = "onnx")]
mod sklearn;
/// What is written down of the models, and how they come back.
mod snapshots;
/// Half a minute of everything at once. Once is enough, so not again where libtorch is there.
#[cfg(not(feature = "torch"))]
mod soak;
/// Tensors to a network past its handler: rows, batches, levels, time-outs, and networks without an archive.
mod tensors;
/// Which crate may know which, and how large a file may be.
mod tidy;
/// The example on libtorch: equal to FastAI, and unharmed by broken images.
#[cfg(feature = "torch")]
mod torch;
/// TorchScript as it is tuned when it is loaded.
#[cfg(feature = "torch")]
mod torchscript;
/// Model repositories of Triton's layout, on Triton's addresses.
mod triton;
/// The same on libtorch and ONNX Runtime: the example repository, as it lies.
#[cfg(any(feature = "torch", feature = "onnx"))]
mod triton_networks;
/// Versions side by side: switching, draining, replacing.
mod versions;
/// Requests that are no HTTP, or hardly: bytes on the wire.
mod wire;
