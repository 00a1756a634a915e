//! Requests and responses as JSON, with tensors in it or, as bytes, behind it.

mod answer;
mod decode;
mod elements;
mod encode;
mod nested;
mod predict;
mod reader;

pub use answer::encode_predict;
pub use decode::{decode, decode_raw};
pub use encode::{BinaryOutputs, Encoded, encode};
pub use predict::{PredictForm, decode_predict};
