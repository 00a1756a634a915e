//! From a network's answers to a response: JSON, NumPy's file or bytes, as the client asks.

use std::borrow::Cow;

use half::{bf16, f16};
use mar_handler::{DType, Error, Request, Response, Result, Tensor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::npy;
use super::read::{DTYPE, SHAPE};
use crate::answer::widened;
use crate::labels::Labels;

const NPY: &str = "application/x-npy";
const RAW: &str = "application/octet-stream";

/// The forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Npy,
    Raw,
}

/// The response with these outputs, or with the one that `?output=` names.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) where the client asks for what is not there, or for several outputs in a
/// form that holds one.
pub(super) fn response(
    mut outputs: Vec<(String, Tensor)>,
    labels: &Labels,
    request: &Request,
) -> Result<Response> {
    let format = wanted(request)?;
    if let Some(asked) = request.parameter("output") {
        let place = outputs.iter().position(|(name, _)| name == asked).ok_or_else(|| {
            Error::invalid_input(format!(
                "no output {asked:?}; the model gives {}",
                names(&outputs)
            ))
        })?;
        outputs = vec![outputs.swap_remove(place)];
    }
    match (format, &outputs[..]) {
        (Format::Json, [(_, output)]) if !labels.is_empty() && output.shape().len() == 1 => {
            Response::json(&Labelled { output, labels })
        }
        (Format::Json, [(_, output)]) => Response::json(&Json(output)),
        (Format::Json, outputs) => Response::json(&ByName(outputs)),
        (Format::Npy | Format::Raw, [(name, output)]) if output.dtype() == DType::Bytes => {
            Err(Error::invalid_input(format!(
                "{name:?} is of texts, which this form does not hold; use format=json"
            )))
        }
        (Format::Npy, [(name, output)]) => {
            let file = npy::write(output).ok_or_else(|| {
                let dtype = output.dtype().name();
                Error::invalid_input(format!(
                    "NumPy has no {dtype}, which {name:?} is; use format=raw"
                ))
            })?;
            Ok(described(Response::bytes(NPY, file), output))
        }
        (Format::Raw, [(_, output)]) => {
            Ok(described(Response::bytes(RAW, output.bytes().clone()), output))
        }
        (Format::Npy | Format::Raw, _) => Err(Error::invalid_input(format!(
            "this form holds one output; choose with ?output= one of {}",
            names(&outputs)
        ))),
    }
}

fn names(outputs: &[(String, Tensor)]) -> String {
    outputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What the query asks for, else the first of the types that the client accepts and that is known here.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) where the query asks for another.
pub(super) fn wanted(request: &Request) -> Result<Format> {
    if let Some(format) = request.parameter("format") {
        return match format {
            "json" => Ok(Format::Json),
            "npy" => Ok(Format::Npy),
            "raw" => Ok(Format::Raw),
            _ => Err(Error::invalid_input(format!("?format={format}: known are json, npy, raw"))),
        };
    }
    let accepted = request.header("Accept").unwrap_or_default().split(',');
    let known = accepted.filter_map(|range| match range.split(';').next()?.trim() {
        "application/json" | "*/*" => Some(Format::Json),
        NPY => Some(Format::Npy),
        RAW => Some(Format::Raw),
        _ => None,
    });
    Ok(known.into_iter().next().unwrap_or(Format::Json))
}

fn described(mut response: Response, output: &Tensor) -> Response {
    let sides: Vec<String> = output.shape().iter().map(usize::to_string).collect();
    response.headers.push((DTYPE.into(), output.dtype().name().into()));
    response.headers.push((SHAPE.into(), sides.join(",")));
    response
}

struct ByName<'a>(&'a [(String, Tensor)]);

impl Serialize for ByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, output) in self.0 {
            map.serialize_entry(name, &Json(output))?;
        }
        map.end()
    }
}

struct Labelled<'a> {
    output: &'a Tensor,
    labels: &'a Labels,
}

impl Serialize for Labelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = Values::of(self.output).map_err(serde::ser::Error::custom)?;
        values.labelled(self.labels, serializer)
    }
}

/// A tensor as nested lists, written as they are read; as an object where the network names the entries of the only
/// list.
struct Json<'a>(&'a Tensor);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = Values::of(self.0).map_err(serde::ser::Error::custom)?;
        match (self.0.labels(), self.0.shape()) {
            (Some(labels), [_]) => values.by_label(labels, serializer),
            (_, shape) => values.nested(shape, serializer),
        }
    }
}

/// A tensor's elements as something that JSON has.
enum Values<'a> {
    Bool(Vec<bool>),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    /// Half precision too, every number of which single precision has.
    F32(Cow<'a, [f32]>),
    F64(&'a [f64]),
    Texts(Vec<String>),
}

/// Runs `$body` with the elements under a name, whatever their type.
macro_rules! with_values {
    ($all:expr, $values:ident => $body:expr) => {
        match $all {
            Values::Bool($values) => $body,
            Values::U8($values) => $body,
            Values::U16($values) => $body,
            Values::U32($values) => $body,
            Values::U64($values) => $body,
            Values::I8($values) => $body,
            Values::I16($values) => $body,
            Values::I32($values) => $body,
            Values::I64($values) => $body,
            Values::F32($values) => $body,
            Values::F64($values) => $body,
            Values::Texts($values) => $body,
        }
    };
}

impl<'a> Values<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self> {
        Ok(match tensor.dtype() {
            DType::Bool => Self::Bool(tensor.bytes().iter().map(|byte| *byte != 0).collect()),
            DType::U8 => Self::U8(tensor.as_slice()?),
            DType::U16 => Self::U16(tensor.as_slice()?),
            DType::U32 => Self::U32(tensor.as_slice()?),
            DType::U64 => Self::U64(tensor.as_slice()?),
            DType::I8 => Self::I8(tensor.as_slice()?),
            DType::I16 => Self::I16(tensor.as_slice()?),
            DType::I32 => Self::I32(tensor.as_slice()?),
            DType::I64 => Self::I64(tensor.as_slice()?),
            DType::F16 => Self::F32(widened(tensor.as_slice::<f16>()?)),
            DType::BF16 => Self::F32(widened(tensor.as_slice::<bf16>()?)),
            DType::F32 => Self::F32(tensor.as_slice()?.into()),
            DType::F64 => Self::F64(tensor.as_slice()?),
            DType::Bytes => {
                let texts = tensor.strings().map(|text| String::from_utf8(text.into()));
                Self::Texts(texts.collect::<Result<_, _>>().map_err(|reason| {
                    let reason = reason.utf8_error();
                    Error::prediction_failed(format!("the model's text is no UTF-8: {reason}"))
                })?)
            }
        })
    }

    fn nested<S: Serializer>(&self, shape: &[usize], serializer: S) -> Result<S::Ok, S::Error> {
        with_values!(self, values => Lists { shape, values }.serialize(serializer))
    }

    fn by_label<S: Serializer>(&self, labels: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        with_values!(self, values => serializer.collect_map(labels.iter().zip(values.iter())))
    }

    fn labelled<S: Serializer>(&self, labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
        with_values!(self, values => serializer.collect_map(labels.named(values.iter().enumerate())))
    }
}

/// Lists in lists, down to the numbers.
struct Lists<'a, T> {
    shape: &'a [usize],
    values: &'a [T],
}

impl<T: Serialize> Serialize for Lists<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((side, shape)) = self.shape.split_first() else {
            return self.values[0].serialize(serializer);
        };
        let step: usize = shape.iter().product();
        if shape.is_empty() {
            return serializer.collect_seq(self.values);
        }
        serializer.collect_seq(
            (0..*side).map(|index| Lists {
                shape,
                values: &self.values[index * step..(index + 1) * step],
            }),
        )
    }
}
