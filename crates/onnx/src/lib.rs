//! ONNX files, read without ONNX Runtime: what a network takes and gives, what it is made of, and what is wrong
//! with it.
//!
//! A file is trusted with nothing: what it says of lengths is compared with what is there, and nesting ends at a
//! hundred messages.
#![warn(missing_docs)]

mod about;
mod check;
mod dot;
mod element;
mod external;
mod network;
mod port;
mod proto;
mod signature;
mod source;
mod tensor;
#[cfg(test)]
mod tests;
mod walk;

pub use about::{About, Batch, External, Weights};
pub use check::Findings;
pub use external::beside;
pub use network::{Network, is_network};
pub use port::{Length, Port};
pub use signature::signature;
