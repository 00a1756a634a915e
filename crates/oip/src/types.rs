//! Requests and responses as every carrier of the protocol has them.

use std::collections::BTreeMap;

use bytes::Bytes;
use mar_engine::{DType, Header, Tensor, Timing};

/// A value beside a request, an input or an output.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above those of [`Self::Int`].
    UInt(u64),
    /// Any other number.
    Double(f64),
    /// A text.
    Text(String),
}

/// Parameters by name.
pub type Parameters = BTreeMap<String, Parameter>;

/// A request to one model.
#[derive(Clone, Debug, Default)]
pub struct InferRequest {
    /// The server's identifier of it, for the log; the client's own is `id`.
    pub request_id: String,
    /// The model, as the client names it.
    pub model: String,
    /// Its version; the default where `None`.
    pub version: Option<String>,
    /// The client's own identifier, which comes back.
    pub id: Option<String>,
    /// What holds for the whole of it.
    pub parameters: Parameters,
    /// The tensors, in any order.
    pub inputs: Vec<InputTensor>,
    /// What is wanted of the answer; everything, in the model's order, where there is none.
    pub outputs: Vec<RequestedOutput>,
    /// The client's headers or metadata, for a model whose handler reads them.
    pub headers: Vec<Header>,
    /// The most bytes that the carrier takes back, where it has a bound.
    pub max_response_bytes: Option<usize>,
}

/// One input, as the client says it is; whether that is so, [`Service::infer`](crate::Service::infer) checks.
#[derive(Clone, Debug)]
pub struct InputTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its sides.
    pub shape: Vec<usize>,
    /// Beside it: `shared_memory_region` and its like.
    pub parameters: Parameters,
    /// Row-major, the least byte first, strings behind their lengths; `None` where they lie in shared memory.
    pub data: Option<Bytes>,
}

/// One output that a client wants.
#[derive(Clone, Debug, Default)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// How: `classification`, `shared_memory_region`, `binary_data` and their like.
    pub parameters: Parameters,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct InferResponse {
    /// The model, as the client named it.
    pub model: String,
    /// The version that answered.
    pub version: String,
    /// The client's own identifier, where it gave one.
    pub id: Option<String>,
    /// What holds for the whole of it.
    pub parameters: Parameters,
    /// The outputs, in the order in which they were asked for.
    pub outputs: Vec<OutputTensor>,
    /// The time it took, stage by stage.
    pub timing: Timing,
}

/// One output.
#[derive(Clone, Debug)]
pub struct OutputTensor {
    /// Its name.
    pub name: String,
    /// Beside it.
    pub parameters: Parameters,
    /// Its type, sides and elements.
    pub tensor: Tensor,
    /// Whether its elements were put into shared memory, and do not travel with the response.
    pub in_shared_memory: bool,
}
