//! From a request to the tensors of a network: JSON, text, NumPy's files, bytes, or a form with a part each.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use half::{bf16, f16};
use mar_handler::{DType, Element, Error, Part, Request, Result, Tensor};
use serde_json::value::RawValue;

use super::declared::{Input, UNNAMED, by_name};
use super::npy;
use crate::input::{media_type, part, says_json};
use crate::numbers::{Leaf, Nested};

/// The headers that say what bytes are.
pub(super) const DTYPE: &str = "X-Dtype";
pub(super) const SHAPE: &str = "X-Shape";
/// The member that holds inputs by name, or a list of them.
const INPUTS: &str = "inputs";
/// The members that hold the only input, or the row.
const MEMBERS: [&str; 2] = ["data", "body"];
/// The member that holds rows where many may be sent.
const INSTANCES: &str = "instances";
/// What is said to who sends several rows as one request.
const ONE_ROW: &str =
    "a request is one row; send many as {\"instances\": [...]} to /v1/models/NAME:predict";

/// One tensor an input, in the declared order.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_handler::ErrorCode::InvalidInput) naming the input, and what is wrong
/// with it.
pub(super) fn inputs(request: &Request, declared: &[Input]) -> Result<Vec<Tensor>> {
    // A body is not the part of an input because that has a name that every body has.
    let is_form = !matches!(declared, [input] if MEMBERS.contains(&input.name.as_str()));
    let parts: Option<Vec<&Part>> =
        declared.iter().map(|input| request.part(&input.name)).collect();
    if let Some(parts) = parts.filter(|_| is_form) {
        let pairs = declared.iter().zip(parts);
        return pairs.map(|(input, part)| one(part, input, request)).collect();
    }
    // A form that has the part of one input and not that of another; parts that every body has may hold all of them.
    let has_part = |input: &&Input| request.part(&input.name).is_some();
    let is_own = |input: &&Input| !MEMBERS.contains(&input.name.as_str()) && has_part(input);
    if let (Some(_), Some(input)) =
        (declared.iter().find(is_own), declared.iter().find(|input| !has_part(input)))
    {
        return Err(missing(input, declared));
    }
    let part = part(request)?;
    match (Form::of(part, declared, request)?, declared) {
        (Form::Json, _) => json(&part.data, declared),
        (Form::Text, [input]) => of_text(&part.data, input).map(|tensor| vec![tensor]),
        (Form::Npy, [input]) => of_npy(&part.data, input).map(|tensor| vec![tensor]),
        (Form::Raw, [input]) => of_bytes(&part.data, input, request).map(|tensor| vec![tensor]),
        _ => Err(Error::invalid_input(format!(
            "the model takes {}; send a form with a part each, or JSON {{\"inputs\": {{\"{}\": ...}}}}",
            names(declared),
            declared[0].name
        ))),
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    /// A text as it is, for a network of texts.
    Text,
    Npy,
    Raw,
}

impl Form {
    /// What a part says that it is, else what it looks like.
    fn of(part: &Part, declared: &[Input], request: &Request) -> Result<Self> {
        let is_described = request.header(SHAPE).is_some()
            || request.header(DTYPE).is_some()
            || declared.iter().all(|input| input.shape.is_some());
        let media_type = media_type(part).unwrap_or_default().to_ascii_lowercase();
        let first = part.data.trim_ascii_start().first();
        let looks_like_json =
            matches!(first, Some(b'[' | b'{' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'));
        if says_json(part) {
            Ok(Self::Json)
        } else if npy::is_npy(&part.data) {
            Ok(Self::Npy)
        } else if matches!(declared, [input] if input.is_texts()) {
            let is_json =
                matches!(first, Some(b'[' | b'{' | b'"')) && !media_type.starts_with("text/");
            Ok(if is_json { Self::Json } else { Self::Text })
        } else if media_type == "application/octet-stream" && is_described {
            Ok(Self::Raw)
        } else if looks_like_json && request.header(SHAPE).is_none() {
            Ok(Self::Json)
        } else if is_described {
            Ok(Self::Raw)
        } else {
            Err(Error::invalid_input(format!(
                "the body is neither JSON nor a .npy file; bytes need their shape, in the header {SHAPE} or in the archive's inputs"
            )))
        }
    }
}

/// The tensor of a part that holds one input.
fn one(part: &Part, input: &Input, request: &Request) -> Result<Tensor> {
    match Form::of(part, std::slice::from_ref(input), request)? {
        Form::Json => {
            let text = std::str::from_utf8(&part.data).map_err(|reason| wrong(input, &reason))?;
            of_json(text, input)
        }
        Form::Text => of_text(&part.data, input),
        Form::Npy => of_npy(&part.data, input),
        Form::Raw => of_bytes(&part.data, input, request),
    }
}

fn json(body: &[u8], declared: &[Input]) -> Result<Vec<Tensor>> {
    let not_json =
        |reason: serde_json::Error| Error::invalid_input(format!("the body is not JSON: {reason}"));
    let text = std::str::from_utf8(body)
        .map_err(|reason| Error::invalid_input(format!("the body is not JSON: {reason}")))?
        .trim_ascii();
    if !text.starts_with('{') {
        return in_order(text, declared);
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(not_json)?;
    if let Some(inputs) = members.get(INPUTS).map(|inputs| inputs.get()) {
        if !inputs.starts_with('{') {
            return in_order(inputs, declared);
        }
        return by_name_of(&serde_json::from_str(inputs).map_err(not_json)?, declared);
    }
    let is_input = |name: &str| declared.iter().any(|input| input.name == name);
    let held = |name: &&str| members.get(*name).filter(|_| !is_input(name)).map(|held| held.get());
    match declared {
        [input] if !members.contains_key(input.name.as_str()) => {
            // Whatever the network calls its only input, this name does for it too.
            match MEMBERS.iter().chain(&[UNNAMED]).find_map(held) {
                Some(data) => of_json(data, input).map(|tensor| vec![tensor]),
                None => by_name_of(&members, declared),
            }
        }
        _ => match MEMBERS.iter().find_map(held).filter(|row| row.starts_with('{')) {
            Some(row) => by_name_of(&serde_json::from_str(row).map_err(not_json)?, declared),
            None => by_name_of(&members, declared),
        },
    }
}

type Members<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

fn by_name_of(members: &Members<'_>, declared: &[Input]) -> Result<Vec<Tensor>> {
    let is_known = |name: &&Cow<'_, str>| declared.iter().any(|input| input.name == ***name);
    // In order, so that the same body always has the same answer.
    let mut unknown: Vec<_> = members.keys().filter(|name| !is_known(name)).collect();
    unknown.sort();
    if let Some(name) = unknown.first() {
        let many = if ***name == *INSTANCES { format!("; {ONE_ROW}") } else { String::new() };
        return Err(Error::invalid_input(format!(
            "the model has no input {name:?}; it takes {}{many}",
            names(declared)
        )));
    }
    let tensor = |input: &Input| match members.get(input.name.as_str()) {
        Some(value) => of_json(value.get(), input),
        None => Err(missing(input, declared)),
    };
    declared.iter().map(tensor).collect()
}

/// The only input's values, or a list with those of each.
fn in_order(text: &str, declared: &[Input]) -> Result<Vec<Tensor>> {
    if text.strip_prefix('[').is_some_and(|first| first.trim_ascii_start().starts_with('{')) {
        return Err(Error::invalid_input(format!("the body is a list of objects; {ONE_ROW}")));
    }
    if let [input] = declared {
        return of_json(text, input).map(|tensor| vec![tensor]);
    }
    let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|reason| {
        Error::invalid_input(format!("the body is no list with a value for each input: {reason}"))
    })?;
    if values.len() != declared.len() {
        return Err(Error::invalid_input(format!(
            "the list has {} values; the model takes {}",
            values.len(),
            names(declared)
        )));
    }
    declared.iter().zip(values).map(|(input, value)| of_json(value.get(), input)).collect()
}

fn of_json(text: &str, input: &Input) -> Result<Tensor> {
    let (shape, data) = match input.dtype {
        DType::Bool => {
            let Nested { shape, values } = nested::<u8>(text, input)?;
            let bytes = Bytes::from(values);
            flags(&bytes, input)?;
            return finished(input, (DType::Bool, &shape), bytes);
        }
        DType::U8 => tensor::<u8>(text, input)?,
        DType::U16 => tensor::<u16>(text, input)?,
        DType::U32 => tensor::<u32>(text, input)?,
        DType::U64 => tensor::<u64>(text, input)?,
        DType::I8 => tensor::<i8>(text, input)?,
        DType::I16 => tensor::<i16>(text, input)?,
        DType::I32 => tensor::<i32>(text, input)?,
        DType::I64 => tensor::<i64>(text, input)?,
        DType::F32 => tensor::<f32>(text, input)?,
        DType::F64 => tensor::<f64>(text, input)?,
        DType::F16 => tensor::<f16>(text, input)?,
        DType::BF16 => tensor::<bf16>(text, input)?,
        DType::Bytes => {
            let Nested { shape, values } = nested::<String>(text, input)?;
            let data = Tensor::from_strings(&shape, values)?.bytes().clone();
            (shape, data)
        }
    };
    finished(input, (input.dtype, &shape), data)
}

fn tensor<T: Leaf + Element>(text: &str, input: &Input) -> Result<(Vec<usize>, Bytes)> {
    let Nested { shape, values } = nested::<T>(text, input)?;
    let data = Tensor::from_vec(&shape, values)?.bytes().clone();
    Ok((shape, data))
}

fn nested<T: Leaf>(text: &str, input: &Input) -> Result<Nested<T>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let nested = Nested::deserialize(&mut deserializer)
        .and_then(|nested| deserializer.end().map(|()| nested));
    nested.map_err(|reason| {
        let message = reason.to_string();
        // A value of the wrong kind says its place in the lists; that in the text would be another value's.
        let place = message.rfind(" at line ").filter(|_| reason.is_data());
        wrong(input, &&message[..place.unwrap_or(message.len())])
    })
}

/// A text that stands alone.
fn of_text(data: &Bytes, input: &Input) -> Result<Tensor> {
    if let Err(reason) = std::str::from_utf8(data) {
        return Err(wrong(input, &format!("the text is no UTF-8: {reason}")));
    }
    let data = Tensor::from_strings(&[], [data])?.bytes().clone();
    finished(input, (DType::Bytes, &[]), data)
}

fn of_npy(file: &Bytes, input: &Input) -> Result<Tensor> {
    if input.is_texts() {
        return Err(wrong(input, &"texts are not taken from .npy files; send JSON"));
    }
    let (dtype, shape, data) = npy::read(file).map_err(|reason| wrong(input, &reason))?;
    if dtype != input.dtype {
        let wanted = input.dtype.name();
        let reason = format!(
            "the .npy file holds {}, the model takes {wanted}; save array.astype(\"{wanted}\")",
            dtype.name()
        );
        return Err(wrong(input, &reason));
    }
    if dtype == DType::Bool {
        flags(&data, input)?;
    }
    finished(input, (dtype, &shape), data)
}

fn of_bytes(data: &Bytes, input: &Input, request: &Request) -> Result<Tensor> {
    let dtype = input.dtype;
    if let Some(said) = request.header(DTYPE).filter(|said| by_name(said) != Some(dtype)) {
        let reason = format!("{DTYPE} is {said}, the model takes {}", dtype.name());
        return Err(wrong(input, &reason));
    }
    let elements = dtype.size().map_or(0, |size| data.len() / size);
    let shape = match request.header(SHAPE) {
        Some(text) => sides(text).ok_or_else(|| {
            wrong(input, &format!("{SHAPE}: {text:?} is no list of sides such as 3,224,224"))
        })?,
        None => input.shape_of(elements).ok_or_else(|| {
            let reason = match &input.shape {
                Some(shape) => format!("{elements} elements do not fill {shape:?}"),
                None => "bytes need their shape".to_owned(),
            };
            wrong(input, &format!("{reason}; add the header {SHAPE}"))
        })?,
    };
    if dtype.bytes_of(&shape) != Some(data.len()) {
        let reason = format!("{} bytes are not {} of shape {shape:?}", data.len(), dtype.name());
        return Err(wrong(input, &reason));
    }
    if dtype == DType::Bool {
        flags(data, input)?;
    }
    finished(input, (dtype, &shape), data.clone())
}

/// Sides as `3,224,224` or `[3, 224, 224]`.
fn sides(text: &str) -> Option<Vec<usize>> {
    let list = text.trim();
    let list = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(list);
    if list.trim().is_empty() {
        return Some(Vec::new());
    }
    list.split(',').map(|side| side.trim().parse().ok()).collect()
}

/// Refuses bytes that are neither true nor false.
fn flags(bytes: &[u8], input: &Input) -> Result<()> {
    match bytes.iter().position(|byte| *byte > 1) {
        Some(at) => Err(wrong(input, &format!("element {at} is neither true nor false"))),
        None => Ok(()),
    }
}

fn finished(input: &Input, (dtype, shape): (DType, &[usize]), data: Bytes) -> Result<Tensor> {
    let shape = input.shape_for(shape);
    if let Some(reason) = input.refuses(shape) {
        let is_many = |shape: &[usize]| input.refuses(input.shape_for(shape)).is_none();
        return Err(match shape {
            [_, row @ ..] if is_many(row) => wrong(input, &format!("{reason}; {ONE_ROW}")),
            _ => wrong(input, &reason),
        });
    }
    Ok(Tensor::from_bytes(dtype, shape, data)?.named(input.name.as_str()))
}

fn wrong(input: &Input, reason: &dyn std::fmt::Display) -> Error {
    Error::invalid_input(format!("input {:?}: {reason}", input.name))
}

fn missing(input: &Input, declared: &[Input]) -> Error {
    Error::invalid_input(format!(
        "the input {:?} is missing; the model takes {}",
        input.name,
        names(declared)
    ))
}

fn names(declared: &[Input]) -> String {
    declared.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ")
}
