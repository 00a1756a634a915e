//! What runs networks: libtorch for TorchScript files, ONNX Runtime for ONNX files.
//!
//! The only crate that names tch and ort, and the only one with `unsafe`. It knows no queue and no protocol.
//! Each library is a feature, and a server has the one, the other, both or none.

#[cfg(any(feature = "torch", feature = "onnx"))]
mod cache;
#[cfg(any(feature = "torch", feature = "onnx"))]
mod epilogue;
#[cfg(test)]
mod epilogue_tests;
#[cfg(any(feature = "torch", feature = "onnx"))]
mod failure;
#[cfg(any(feature = "torch", feature = "onnx"))]
mod memory;
#[cfg(feature = "onnx")]
mod onnx;
#[cfg(any(feature = "torch", feature = "onnx"))]
mod options;
#[cfg(feature = "torch")]
mod torch;

#[cfg(feature = "onnx")]
pub use onnx::Onnx;
#[cfg(feature = "torch")]
pub use torch::{Torch, version};
