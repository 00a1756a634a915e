//! A request's body: JSON, and behind it the tensors that are sent as bytes.

use std::ops::Range;

use bytes::Bytes;
use mar_engine::{DType, Error, Interface, Result};

use super::elements::{self, Strings};
use super::reader::Reader;
use crate::parameters::{text, whole};
use crate::quoted::Quoted;
use crate::shared_memory::REGION;
use crate::{InferRequest, InputTensor, Parameter, Parameters, RequestedOutput};

/// Says how many bytes of the tensors behind the JSON are an input's.
const BINARY_SIZE: &str = "binary_data_size";
/// The header that says how long the JSON is.
const HEADER: &str = "Inference-Header-Content-Length";

/// Inputs, and outputs, of a request at most.
const MOST_TENSORS: usize = 4096;

/// An input before its bytes are known.
#[derive(Default)]
struct Input {
    name: Option<String>,
    dtype: Option<DType>,
    shape: Option<Vec<usize>>,
    parameters: Parameters,
    /// Where its elements stand in the JSON.
    data: Option<Range<usize>>,
}

/// What a body asks for. `json` is how many of its bytes are JSON, where the client says so. Model, version and
/// headers are for the caller to add.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) naming what is missing or wrong.
pub fn decode(body: &Bytes, json: Option<usize>) -> Result<InferRequest> {
    let length = json.unwrap_or(body.len());
    let Some(text) = body.get(..length) else {
        return Err(Error::invalid_input(format!(
            "{HEADER} is {length}, and the body has {} bytes",
            body.len()
        )));
    };
    let mut reader = Reader::new(text);
    let mut request = InferRequest::default();
    let mut inputs: Option<Vec<Input>> = None;
    reader.object(|reader, name| {
        match name {
            "id" => request.id = optional_string(reader, "id")?,
            "parameters" => request.parameters = parameters(reader)?,
            "inputs" => {
                let read = inputs.get_or_insert_default();
                reader.array(|reader| {
                    let index = read.len();
                    check_room("inputs", index)?;
                    read.push(input(reader).map_err(|error| of_input(index, &error))?);
                    Ok(())
                })?;
            }
            "outputs" if reader.peek() == Some(b'n') => reader.skip()?,
            "outputs" => {
                reader.array(|reader| {
                    check_room("outputs", request.outputs.len())?;
                    request.outputs.push(output(reader, request.outputs.len())?);
                    Ok(())
                })?;
            }
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    let inputs = inputs.ok_or_else(|| missing("inputs"))?;
    let mut behind = json.map(|length| body.slice(length..));
    for (index, input) in inputs.into_iter().enumerate() {
        request.inputs.push(finished(input, index, &reader, behind.as_mut())?);
    }
    match behind.filter(|rest| !rest.is_empty()) {
        None => Ok(request),
        Some(rest) => Err(Error::invalid_input(format!(
            "{} bytes follow the tensors that {BINARY_SIZE} announces",
            rest.len()
        ))),
    }
}

/// A body that is the bytes of the model's one input, without any JSON.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where the model has other inputs, or nobody
/// knows them.
pub fn decode_raw(body: Bytes, interface: &Interface) -> Result<InferRequest> {
    let refused = |reason: &str| {
        Error::invalid_input(format!("{HEADER} is 0, so the body is one tensor; {reason}"))
    };
    let inputs = interface.signature.inputs.as_deref().unwrap_or_default();
    let [input] = inputs else {
        return Err(refused("the model takes another number of inputs, or does not tell"));
    };
    let (Some(dtype), Some(sides)) = (input.dtype, input.shape.as_deref()) else {
        return Err(refused("the model does not tell the datatype and shape of its input"));
    };
    // A request without a shape is one row.
    let first = interface.batched.then_some(1);
    let mut sides = sides.to_vec();
    if let (Some(first), Some(side)) = (first, sides.first_mut()) {
        *side = Some(first);
    }
    let free = sides.iter().filter(|side| side.is_none()).count();
    let known: Option<usize> =
        sides.iter().flatten().try_fold(1_usize, |all, side| all.checked_mul(*side));
    let (Some(known), true) = (known, free <= 1) else {
        return Err(refused("more than one side of the model's input is free"));
    };
    let (data, elements) = match dtype.size() {
        Some(size) => {
            let elements = body.len() / size;
            (body, elements)
        }
        None => (elements::one_string(&body)?, 1),
    };
    let left = elements / known.max(1);
    let shape = sides.into_iter().map(|side| side.unwrap_or(left)).collect();
    let name = input.name.clone();
    let parameters = Parameters::new();
    Ok(InferRequest {
        parameters: Parameters::from([("binary_data_output".to_owned(), Parameter::Bool(true))]),
        inputs: vec![InputTensor { name, dtype, shape, parameters, data: Some(data) }],
        ..InferRequest::default()
    })
}

/// Refuses one more tensor where there are as many as are taken: an empty one takes three bytes, and in memory a
/// hundred.
fn check_room(what: &str, there: usize) -> Result<()> {
    if there < MOST_TENSORS {
        return Ok(());
    }
    Err(Error::invalid_input(format!("there are more than {MOST_TENSORS} {what}")))
}

fn input(reader: &mut Reader<'_>) -> Result<Input> {
    let mut input = Input::default();
    reader.object(|reader, name| {
        match name {
            "name" => input.name = Some(string(reader, "name")?),
            "datatype" => {
                let word = string(reader, "datatype")?;
                let known = DType::by_datatype(&word).ok_or_else(|| {
                    Error::invalid_input(format!("datatype {} is none", Quoted(&word)))
                })?;
                input.dtype = Some(known);
            }
            "shape" => input.shape = Some(shape(reader)?),
            "parameters" => input.parameters = parameters(reader)?,
            "data" if reader.peek() == Some(b'n') => reader.skip()?,
            "data" if reader.peek() != Some(b'[') => {
                return Err(Error::invalid_input("data is not an array"));
            }
            "data" => input.data = Some(reader.array_range()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(input)
}

fn output(reader: &mut Reader<'_>, index: usize) -> Result<RequestedOutput> {
    let mut output = RequestedOutput::default();
    let mut named = false;
    let read = reader.object(|reader, name| {
        match name {
            "name" => {
                output.name = string(reader, "name")?;
                named = true;
            }
            "parameters" => output.parameters = parameters(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    });
    let read = read.and_then(|()| if named { Ok(()) } else { Err(missing("name")) });
    read.map_err(|error| Error::invalid_input(format!("output {index}: {}", error.message())))?;
    Ok(output)
}

/// An input with its bytes: those of the JSON, or the next of those behind it.
fn finished(
    input: Input,
    index: usize,
    reader: &Reader<'_>,
    behind: Option<&mut Bytes>,
) -> Result<InputTensor> {
    let Input { name, dtype, shape, mut parameters, data } = input;
    let name = name.ok_or_else(|| of_input(index, &missing("name")))?;
    let of = |error: Error| {
        Error::invalid_input(format!("input {}: {}", Quoted(&name), error.message()))
    };
    let dtype = dtype.ok_or_else(|| of(missing("datatype")))?;
    let shape = shape.ok_or_else(|| of(missing("shape")))?;
    let size = whole(&parameters, BINARY_SIZE).map_err(of)?;
    parameters.remove(BINARY_SIZE);
    let shared = parameters.contains_key(REGION);
    let sources = usize::from(data.is_some()) + usize::from(size.is_some()) + usize::from(shared);
    if sources != 1 {
        return Err(of(Error::invalid_input(format!(
            "{sources} of data, {BINARY_SIZE} and {REGION} are given, and it has to be one"
        ))));
    }
    let data = match (data, size) {
        (Some(range), _) => {
            let base64 = text(&parameters, "content_type").map_err(of)? == Some("base64");
            let written = if base64 { Strings::Base64 } else { Strings::Plain };
            let count = elements::count(&name, &shape)?;
            Some(elements::bytes(reader.slice(range), dtype, count, written).map_err(of)?)
        }
        (None, Some(size)) => Some(next(behind, size).map_err(of)?),
        (None, None) => None,
    };
    Ok(InputTensor { name, dtype, shape, parameters, data })
}

/// The next bytes behind the JSON.
fn next(behind: Option<&mut Bytes>, size: u64) -> Result<Bytes> {
    let Some(behind) = behind else {
        return Err(Error::invalid_input(format!(
            "{BINARY_SIZE} is given, and the header {HEADER}, which says where the tensors begin, is not"
        )));
    };
    match usize::try_from(size) {
        Ok(size) if size <= behind.len() => Ok(behind.split_to(size)),
        _ => Err(Error::invalid_input(format!(
            "{BINARY_SIZE} is {size}, and {} bytes are left of the body",
            behind.len()
        ))),
    }
}

fn parameters(reader: &mut Reader<'_>) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    if reader.peek() == Some(b'n') {
        reader.skip()?;
        return Ok(parameters);
    }
    reader.object(|reader, name| {
        if let Some(value) = reader.parameter(name)? {
            parameters.insert(name.to_owned(), value);
        }
        Ok(())
    })?;
    Ok(parameters)
}

fn shape(reader: &mut Reader<'_>) -> Result<Vec<usize>> {
    let mut shape = Vec::new();
    if reader.peek() != Some(b'[') {
        return Err(Error::invalid_input("shape is not an array"));
    }
    reader.array(|reader| {
        let side = match reader.peek() {
            Some(b'-' | b'0'..=b'9') => reader.number()?,
            _ => return Err(Error::invalid_input("shape has a side that is no number")),
        };
        let side = side.parse().map_err(|_| {
            let shown: String = side.chars().take(32).collect();
            let message =
                format!("shape has the side {shown}; sides are whole numbers of 0 or more");
            Error::invalid_input(message)
        })?;
        shape.push(side);
        Ok(())
    })?;
    Ok(shape)
}

fn string(reader: &mut Reader<'_>, name: &str) -> Result<String> {
    if reader.peek() != Some(b'"') {
        return Err(Error::invalid_input(format!("{name} is not a string")));
    }
    Ok(reader.string()?.into_owned())
}

fn optional_string(reader: &mut Reader<'_>, name: &str) -> Result<Option<String>> {
    if reader.peek() == Some(b'n') {
        reader.skip()?;
        return Ok(None);
    }
    string(reader, name).map(Some)
}

fn missing(name: &str) -> Error {
    Error::invalid_input(format!("{name} is missing"))
}

fn of_input(index: usize, error: &Error) -> Error {
    Error::invalid_input(format!("input {index}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use mar_engine::{Signature, TensorSpec};

    use super::*;
    use crate::AlignedBuffer;

    /// JSON and what follows it, as a body arrives, and how long the JSON is.
    fn body(json: &str, behind: &[u8]) -> (Bytes, Option<usize>) {
        let mut buffer = AlignedBuffer::new(json.len(), 0);
        buffer.extend_from_slice(json.as_bytes());
        buffer.extend_from_slice(behind);
        (buffer.freeze(), Some(json.len()))
    }

    const BINARY: &str = r#"{"inputs":[
        {"name":"a","shape":[2],"datatype":"FP64","parameters":{"binary_data_size":16}},
        {"name":"b","shape":[1],"datatype":"INT8","data":[7]},
        {"name":"c","shape":[3],"datatype":"UINT8","parameters":{"binary_data_size":3}}]}"#;

    #[test]
    fn a_request_has_no_more_tensors_than_any_network() {
        let many = |count: usize| vec![r#"{"name":"a"}"#; count].join(",");
        let error =
            |json: String| decode(&Bytes::from(json), None).unwrap_err().message().to_owned();
        let inputs = error(format!(r#"{{"inputs":[{}]}}"#, many(MOST_TENSORS + 1)));
        assert_eq!(inputs, "there are more than 4096 inputs");
        let outputs = error(format!(r#"{{"outputs":[{}]}}"#, many(MOST_TENSORS + 1)));
        assert_eq!(outputs, "there are more than 4096 outputs");
        let enough = format!(r#"{{"outputs":[{}],"inputs":[]}}"#, many(MOST_TENSORS));
        assert_eq!(decode(&Bytes::from(enough), None).unwrap().outputs.len(), MOST_TENSORS);
    }

    #[test]
    fn bytes_behind_the_json_are_the_bodys_own_where_they_can_be_read() {
        let behind: Vec<u8> = (0..19).collect();
        let (body, json) = body(BINARY, &behind);
        let start = body[BINARY.len()..].as_ptr();
        let request = decode(&body, json).unwrap();
        let first = request.inputs[0].data.clone().unwrap();
        assert_eq!((&first[..], first.as_ptr()), (&behind[..16], start));
        let tensor = mar_engine::Tensor::from_bytes(DType::F64, &[2], first).unwrap();
        assert_eq!(tensor.bytes().as_ptr(), start, "it is aligned, so nothing was copied");
        assert_eq!(request.inputs[1].data.as_deref(), Some(&[7][..]));
        assert_eq!(request.inputs[2].data.as_deref(), Some(&behind[16..]));
        assert!(request.inputs.iter().all(|input| input.parameters.is_empty()));
    }

    #[test]
    fn members_come_in_any_order_and_others_are_passed_over() {
        let json = r#"{"outputs":null,"x":[{"y":1}],"inputs":[{"data":[1,2],"x":null,"datatype":"INT16",
            "parameters":null,"shape":[2],"name":"a"}],"id":null,"parameters":{"k":1.5,"n":null}}"#;
        let request = decode(&Bytes::from_static(json.as_bytes()), None).unwrap();
        assert_eq!(request.inputs[0].data.as_deref(), Some(&[1, 0, 2, 0][..]));
        assert_eq!(request.parameters.len(), 1);
        assert_eq!(request.parameters["k"], Parameter::Double(1.5));
        assert_eq!(request.id, None);
        let named =
            decode(&Bytes::from_static(br#"{"id":"","inputs":[],"outputs":[{"name":"o"}]}"#), None);
        let named = named.unwrap();
        assert_eq!((named.id.as_deref(), named.outputs[0].name.as_str()), (Some(""), "o"));
    }

    fn interface(dtype: DType, sides: &[Option<usize>], batched: bool) -> Interface {
        let shape = Some(sides.to_vec());
        let spec = TensorSpec { dtype: Some(dtype), shape, ..TensorSpec::named("only") };
        let signature = Signature { inputs: Some(vec![spec]), outputs: None };
        Interface { signature, batched, ..Interface::default() }
    }

    #[test]
    fn a_body_without_json_has_the_shape_that_its_length_tells() {
        let of = |bytes: usize, interface: &Interface| {
            let request = decode_raw(vec![0; bytes].into(), interface);
            request.map(|mut it| it.inputs.remove(0)).map(|it| (it.name, it.shape))
        };
        let fixed = interface(DType::F32, &[None, Some(2)], true);
        assert_eq!(of(8, &fixed).unwrap(), ("only".into(), vec![1, 2]));
        let free = interface(DType::F32, &[None, Some(2), None], true);
        assert_eq!(of(24, &free).unwrap().1, [1, 2, 3]);
        let unbatched = interface(DType::U8, &[None], false);
        assert_eq!(of(5, &unbatched).unwrap().1, [5]);
        assert!(of(5, &interface(DType::U8, &[None, None], false)).is_err());
        assert!(of(5, &Interface::default()).is_err());

        let strings = interface(DType::Bytes, &[None], false);
        let request = decode_raw(Bytes::from_static(b"abc"), &strings).unwrap();
        assert_eq!(request.inputs[0].shape, [1]);
        assert_eq!(request.inputs[0].data.as_deref(), Some(&b"\x03\0\0\0abc"[..]));
        assert_eq!(request.parameters["binary_data_output"], Parameter::Bool(true));
    }
}
