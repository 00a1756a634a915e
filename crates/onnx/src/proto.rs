//! The messages of `onnx.proto`, with the fields that are asked about here.
//!
//! Field numbers and meanings: `onnx/onnx.proto` of the ONNX project. A decoder passes over all others.

use std::collections::HashSet;

use prost::Message;

use crate::tensor::Tensor;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(int64, optional, tag = "1")]
    pub(crate) ir_version: Option<i64>,
    #[prost(string, tag = "2")]
    pub(crate) producer_name: String,
    #[prost(string, tag = "3")]
    pub(crate) producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub(crate) graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "25")]
    pub(crate) functions: Vec<Function>,
}

/// A version of a domain's operators.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    #[prost(int64, tag = "2")]
    pub(crate) version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(crate) node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(crate) output: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "13")]
    pub(crate) value_info: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "15")]
    pub(crate) sparse_initializer: Vec<SparseTensor>,
}

impl Graph {
    /// The inputs that are asked for: old files list their weights among them as well.
    pub(crate) fn true_inputs(&self) -> impl Iterator<Item = &ValueInfo> {
        let weights: HashSet<&str> = self.weights().collect();
        self.input.iter().filter(move |input| !weights.contains(&*input.name))
    }

    /// The names of its weights.
    pub(crate) fn weights(&self) -> impl Iterator<Item = &str> {
        let sparse = self.sparse_initializer.iter().map(SparseTensor::name);
        self.initializer.iter().map(|weight| &*weight.name).chain(sparse)
    }
}

/// An operator that is made of others, by the file itself.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Function {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) output: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) node: Vec<Node>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) opset_import: Vec<OperatorSet>,
    #[prost(string, tag = "10")]
    pub(crate) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(crate) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) output: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(crate) domain: String,
}

/// An attribute that holds tensors or graphs; of the others there is the name.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attribute {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) t: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    pub(crate) g: Option<Graph>,
    #[prost(message, repeated, tag = "10")]
    pub(crate) tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    pub(crate) sparse_tensor: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    pub(crate) sparse_tensors: Vec<SparseTensor>,
}

impl Attribute {
    /// The graphs that it holds.
    pub(crate) fn all_graphs(&self) -> impl Iterator<Item = &Graph> {
        self.g.iter().chain(&self.graphs)
    }

    /// The tensors that it holds itself, not those of its graphs.
    pub(crate) fn all_tensors(&self) -> impl Iterator<Item = &Tensor> {
        let sparse = self.sparse_tensor.iter().chain(&self.sparse_tensors);
        self.t.iter().chain(&self.tensors).chain(sparse.flat_map(SparseTensor::parts))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    pub(crate) values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    pub(crate) indices: Option<Tensor>,
}

impl SparseTensor {
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Tensor> {
        self.values.iter().chain(&self.indices)
    }

    /// Its name, which is that of its values.
    pub(crate) fn name(&self) -> &str {
        self.values.as_ref().map_or("", |values| &values.name)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) kind: Option<Kind>,
}

/// A type: one of these.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kind {
    #[prost(message, optional, tag = "1")]
    pub(crate) tensor: Option<TensorKind>,
    #[prost(message, optional, boxed, tag = "4")]
    pub(crate) sequence: Option<Box<Wrapped>>,
    #[prost(message, optional, boxed, tag = "5")]
    pub(crate) map: Option<Box<Map>>,
    #[prost(message, optional, tag = "8")]
    pub(crate) sparse: Option<TensorKind>,
    #[prost(message, optional, boxed, tag = "9")]
    pub(crate) optional: Option<Box<Wrapped>>,
}

/// What a sequence or an optional value is of.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Wrapped {
    #[prost(message, optional, boxed, tag = "1")]
    pub(crate) of: Option<Box<Kind>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Map {
    #[prost(int32, tag = "1")]
    pub(crate) key: i32,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) value: Option<Box<Kind>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorKind {
    #[prost(int32, tag = "1")]
    pub(crate) element: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub(crate) sides: Vec<Dimension>,
}

/// A side: its length, or a name for any length.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub(crate) length: Option<i64>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
}
