//! What a network is made of, for people and for tables.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::port::{Length, Port};
use crate::walk::Body;
use crate::{Network, element};

/// Operators that calculate with whole numbers in place of a network's own, and those that lead there and back.
const QUANTISED: [&str; 10] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "ConvInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
    "QAttention",
    "QGemm",
];

/// What a network is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// The version of the file's form.
    pub ir_version: Option<i64>,
    /// What made the file, and its version.
    pub producer: Option<String>,
    /// The versions of the operators, by domain.
    pub opsets: BTreeMap<String, i64>,
    /// What it takes, without weights.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Whether requests of any number may be put together; see [`Batch`].
    pub batch: Batch,
    /// How many nodes there are of an operator; those within nodes and functions among them.
    pub operators: BTreeMap<String, usize>,
    /// Its weights, wherever they lie.
    pub weights: Weights,
    /// Files with weights beside it.
    pub external: Vec<External>,
    /// Whether it calculates with whole numbers in place of its own.
    pub quantised: bool,
}

/// The first sides of a network's inputs, along which requests are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Batch {
    /// Of any length, in all inputs.
    Dynamic,
    /// Of one fixed length in all inputs.
    Fixed(i64),
    /// Neither: there is an input without a first side, or they differ.
    None,
}

/// How many weights there are, and how large.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// Tensors.
    pub tensors: usize,
    /// Bytes of all of them; those of texts do not count.
    pub bytes: u64,
    /// Bytes by type.
    pub types: BTreeMap<&'static str, u64>,
}

/// A file with weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Its name, from the network's folder on.
    pub location: String,
    /// How many tensors lie in it.
    pub tensors: usize,
    /// How long it has to be.
    pub bytes: u64,
}

impl Network {
    /// What it is made of.
    pub fn about(&self) -> About {
        let inputs: Vec<Port> = self.graph.true_inputs().map(Port::of).collect();
        let operators = self.operators();
        About {
            ir_version: self.model.ir_version,
            producer: self.producer(),
            opsets: self.opsets(),
            batch: batch(&inputs),
            inputs,
            outputs: self.graph.output.iter().map(Port::of).collect(),
            quantised: operators.keys().any(|name| {
                let name = name.rsplit("::").next().unwrap_or(name);
                name.starts_with("QLinear") || QUANTISED.contains(&name)
            }),
            operators,
            weights: self.weights(),
            external: self.external(),
        }
    }

    /// The files with weights beside it that may be used, sorted; those that lead out of its folder are left out.
    pub fn external(&self) -> Vec<External> {
        let mut files: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for tensor in self.bodies().into_iter().flat_map(Body::tensors) {
            let Some(Ok(place)) = tensor.place() else { continue };
            let length = place.length.or_else(|| tensor.bytes()).unwrap_or(0);
            let (tensors, bytes) = files.entry(place.location).or_default();
            *tensors += 1;
            *bytes = (*bytes).max(place.offset.saturating_add(length));
        }
        let external = |(location, (tensors, bytes))| External { location, tensors, bytes };
        files.into_iter().map(external).collect()
    }

    fn producer(&self) -> Option<String> {
        let (name, version) = (&self.model.producer_name, &self.model.producer_version);
        let text = format!("{name} {version}");
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn opsets(&self) -> BTreeMap<String, i64> {
        let sets = self.model.opset_import.iter();
        sets.map(|set| (domain(&set.domain).to_owned(), set.version)).collect()
    }

    fn operators(&self) -> BTreeMap<String, usize> {
        let mut operators = BTreeMap::new();
        for node in self.bodies().into_iter().flat_map(|body| body.nodes) {
            let name = match domain(&node.domain) {
                "ai.onnx" => node.op_type.clone(),
                domain => format!("{domain}::{}", node.op_type),
            };
            *operators.entry(name).or_default() += 1;
        }
        operators
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        for tensor in self.bodies().into_iter().flat_map(Body::tensors) {
            let bytes = tensor.bytes().unwrap_or(0);
            weights.tensors += 1;
            weights.bytes = weights.bytes.saturating_add(bytes);
            let of_type = weights.types.entry(element::name(tensor.data_type)).or_default();
            *of_type = of_type.saturating_add(bytes);
        }
        weights
    }
}

/// A domain's name; the first one is spelled in two ways.
pub(crate) fn domain(name: &str) -> &str {
    if name.is_empty() { "ai.onnx" } else { name }
}

fn batch(inputs: &[Port]) -> Batch {
    let first = |input: &Port| match input.shape.as_deref() {
        None => Some(Batch::Dynamic),
        Some([]) => None,
        Some([Length::Fixed(length), ..]) => Some(Batch::Fixed(*length)),
        Some(_) => Some(Batch::Dynamic),
    };
    let first: Vec<_> = inputs.iter().map(first).collect();
    match first.first() {
        Some(Some(batch)) if first.iter().all(|other| other == &Some(*batch)) => *batch,
        _ => Batch::None,
    }
}
