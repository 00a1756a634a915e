//! Requests and responses as JSON, with tensors in it or, as bytes, behind it.

mod decode;
mod elements;
mod encode;
mod reader;

pub use decode::{decode, decode_raw};
pub use encode::{BinaryOutputs, Encoded, encode};
