//! ONNX files, read without ONNX Runtime: what a network takes and gives.
#![warn(missing_docs)]

mod signature;

pub use signature::signature;
