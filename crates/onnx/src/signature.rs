//! What an ONNX file says that its network takes and gives.
//!
//! The messages are those of `onnx.proto`, with the few fields that tell; a decoder passes over the rest,
//! such as the weights.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use mar_handler::{DType, Error, Result, Side, Signature, TensorSpec};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Initializer>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

/// A weight. Old files list theirs among the inputs as well.
#[derive(Clone, PartialEq, Message)]
struct Initializer {
    #[prost(string, tag = "8")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Kind>,
}

/// A type; some are kinds of it that are passed over.
#[derive(Clone, PartialEq, Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorKind>,
    #[prost(message, optional, boxed, tag = "4")]
    sequence: Option<Box<SequenceKind>>,
    #[prost(message, optional, boxed, tag = "5")]
    map: Option<Box<MapKind>>,
}

#[derive(Clone, PartialEq, Message)]
struct SequenceKind {
    #[prost(message, optional, boxed, tag = "1")]
    element: Option<Box<Kind>>,
}

#[derive(Clone, PartialEq, Message)]
struct MapKind {
    #[prost(int32, tag = "1")]
    key: i32,
    #[prost(message, optional, boxed, tag = "2")]
    value: Option<Box<Kind>>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorKind {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    sides: Vec<Dimension>,
}

/// A side: its length, or a name for any length, which is passed over.
#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    length: Option<i64>,
}

/// The signature of the network in a file; empty where it is no ONNX file.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) where the file cannot be read.
pub fn signature(file: &Path) -> Result<Signature> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let unreadable =
        |cause: String| Error::invalid_model(format!("{name} cannot be read: {cause}"));
    let bytes = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    // Where it is no ONNX file, opening it says so, in the library's words.
    let Ok(Model { graph: Some(graph) }) = Model::decode(Bytes::from(bytes)) else {
        return Ok(Signature::default());
    };
    let weights: HashSet<&str> = graph.initializer.iter().map(|weight| &*weight.name).collect();
    let inputs = graph.input.iter().filter(|input| !weights.contains(&*input.name));
    Ok(Signature {
        inputs: Some(inputs.map(spec).collect()),
        outputs: Some(graph.output.iter().map(output).collect()),
    })
}

/// An output. A map a row, such as the probabilities by class that scikit-learn's exporter makes, is served as a
/// matrix.
fn output(port: &ValueInfo) -> TensorSpec {
    if port.kind.as_ref().is_some_and(Kind::is_map_a_row) {
        let (dtype, shape) = (Some(DType::F32), Some(vec![None, None]));
        return TensorSpec { dtype, shape, ..TensorSpec::named(&port.name) };
    }
    spec(port)
}

impl Kind {
    /// Whether it is a sequence of maps from whole numbers or texts to numbers of single precision.
    fn is_map_a_row(&self) -> bool {
        let map = || self.sequence.as_ref()?.element.as_ref()?.map.as_ref();
        let element = |map: &MapKind| Some(map.value.as_ref()?.tensor.as_ref()?.element);
        map().is_some_and(|map| {
            matches!(dtype(map.key), Some(DType::I64 | DType::Bytes))
                && element(map).and_then(dtype) == Some(DType::F32)
        })
    }
}

fn spec(port: &ValueInfo) -> TensorSpec {
    let Some(tensor) = port.kind.as_ref().and_then(|kind| kind.tensor.as_ref()) else {
        return TensorSpec::named(&port.name);
    };
    let side = |side: &Dimension| -> Side { usize::try_from(side.length?).ok() };
    TensorSpec {
        name: port.name.clone(),
        dtype: dtype(tensor.element),
        shape: tensor.shape.as_ref().map(|shape| shape.sides.iter().map(side).collect()),
    }
}

/// A type by its number in `TensorProto.DataType`.
fn dtype(number: i32) -> Option<DType> {
    Some(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        8 => DType::Bytes,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        _ => return None,
    })
}
