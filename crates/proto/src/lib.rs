//! The messages and services of the Open Inference Protocol with Triton's extensions, Triton's model
//! configuration, and TorchServe's gRPC. Generated from the `.proto` files beside this crate's sources.
