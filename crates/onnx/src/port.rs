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
    let Some(tensor) = port.kind.as_ref().and_then(|kind| kind.tensor.as_ref()) else {
        return TensorSpec::named(&port.name);
    };
    let side = |side: &proto::Dimension| -> Side { usize::try_from(side.length?).ok() };
    TensorSpec {
        name: port.name.clone(),
        dtype: element::dtype(tensor.element),
        shape: tensor.shape.as_ref().map(|shape| shape.sides.iter().map(side).collect()),
    }
}

/// An output. A map a row, such as the probabilities by class that scikit-learn's exporter makes, is served as a
/// matrix.
pub(crate) fn output(port: &ValueInfo) -> TensorSpec {
    if port.kind.as_ref().is_some_and(is_map_a_row) {
        let (dtype, shape) = (Some(DType::F32), Some(vec![None, None]));
        return TensorSpec { dtype, shape, ..TensorSpec::named(&port.name) };
    }
    spec(port)
}

/// Whether it is a sequence of maps from whole numbers or texts to numbers of single precision.
fn is_map_a_row(kind: &proto::Kind) -> bool {
    let map = || kind.sequence.as_ref()?.of.as_ref()?.map.as_ref();
    let value = |map: &proto::Map| Some(map.value.as_ref()?.tensor.as_ref()?.element);
    map().is_some_and(|map| {
        matches!(element::dtype(map.key), Some(DType::I64 | DType::Bytes))
            && value(map).and_then(element::dtype) == Some(DType::F32)
    })
}
