//! An input or an output of a network, and its type in words.

use std::fmt;

use mar_handler::{DType, Side, TensorSpec};
use serde::Serialize;

use crate::element;
use crate::proto::{self, ValueInfo};

/// An input or an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// What it is, such as `FP32 [batch, 3, 96, 128]` or `sequence(map(INT64, FP32))`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its sides, where it is a tensor and the file tells.
    pub shape: Option<Vec<Length>>,
}

/// How long a side of a tensor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Length {
    /// So long, always.
    Fixed(i64),
    /// Of any length; sides of one name are equally long.
    Named(String),
    /// Of any length.
    Unknown,
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Named(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

impl Port {
    pub(crate) fn of(value: &ValueInfo) -> Self {
        let kind = value.kind.as_ref();
        let shape = kind.and_then(|kind| kind.tensor.as_ref()).and_then(sides);
        let kind = kind.map_or_else(|| "of no type".to_owned(), words);
        Self { name: value.name.clone(), kind, shape }
    }
}

fn sides(tensor: &proto::TensorKind) -> Option<Vec<Length>> {
    let length = |side: &proto::Dimension| match side.length {
        Some(length) if length >= 0 => Length::Fixed(length),
        _ if side.name.is_empty() => Length::Unknown,
        _ => Length::Named(side.name.clone()),
    };
    Some(tensor.shape.as_ref()?.sides.iter().map(length).collect())
}

/// A type in words. As deep as the decoder goes, which is a hundred.
pub(crate) fn words(kind: &proto::Kind) -> String {
    let inner = |of: Option<&proto::Kind>| of.map_or_else(|| "of no type".to_owned(), words);
    if let Some(tensor) = &kind.tensor {
        return tensor_words(tensor);
    }
    if let Some(sequence) = &kind.sequence {
        return format!("sequence({})", inner(sequence.of.as_deref()));
    }
    if let Some(map) = &kind.map {
        return format!("map({}, {})", element::name(map.key), inner(map.value.as_deref()));
    }
    if let Some(optional) = &kind.optional {
        return format!("optional({})", inner(optional.of.as_deref()));
    }
    if let Some(sparse) = &kind.sparse {
        return format!("sparse {}", tensor_words(sparse));
    }
    "of no type".to_owned()
}

fn tensor_words(tensor: &proto::TensorKind) -> String {
    let name = element::name(tensor.element);
    match sides(tensor) {
        None => format!("{name} [...]"),
        Some(sides) if sides.is_empty() => name.to_owned(),
        Some(sides) => {
            let sides: Vec<_> = sides.iter().map(ToString::to_string).collect();
            format!("{name} [{}]", sides.join(", "))
        }
    }
}

/// What a network declares, as the handlers' contract has it.
pub(crate) fn spec(port: &ValueInfo) -> TensorSpec {
    let Some(kind) = &port.kind else { return TensorSpec::named(&port.name) };
    let Some(tensor) = &kind.tensor else {
        let mut spec = TensorSpec::named(&port.name);
        if is_a_row_of_numbers(kind) {
            spec.dtype = Some(DType::F32);
            spec.shape = Some(vec![None, None]);
        }
        return spec;
    };
    let side = |side: &proto::Dimension| -> Side { usize::try_from(side.length?).ok() };
    TensorSpec {
        name: port.name.clone(),
        dtype: element::dtype(tensor.element),
        shape: tensor.shape.as_ref().map(|shape| shape.sides.iter().map(side).collect()),
    }
}

/// Whether a type is a sequence of maps of a label to a number, as scikit-learn's exporter makes of a
/// classifier's probabilities. It is served as a tensor of as many rows as there are maps.
fn is_a_row_of_numbers(kind: &proto::Kind) -> bool {
    const FLOAT: i32 = 1;
    const INT64: i32 = 7;
    const STRING: i32 = 8;
    let map = kind.sequence.as_ref().and_then(|sequence| sequence.of.as_ref()?.map.as_ref());
    let number = |map: &proto::Map| map.value.as_ref()?.tensor.as_ref().map(|value| value.element);
    map.is_some_and(|map| [INT64, STRING].contains(&map.key) && number(map) == Some(FLOAT))
}
