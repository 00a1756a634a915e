//! A response's body: JSON, and behind it the tensors that the client wants as bytes.

use bytes::Bytes;
use mar_engine::{DType, Element, Error, Result, Tensor};
use serde::Serialize;

use crate::parameters::flag;
use crate::quoted::Quoted;
use crate::{InferRequest, InferResponse, OutputTensor, Parameter, Parameters};

/// Which outputs a client wants as bytes behind the JSON.
#[derive(Clone, Debug, Default)]
pub struct BinaryOutputs {
    /// Those that it does not name.
    all: bool,
    named: Vec<(String, bool)>,
}

/// A response's body.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its pieces, one after the other: the JSON first.
    pub pieces: Vec<Bytes>,
    /// How long the JSON is, where tensors follow it.
    pub json: Option<usize>,
}

impl BinaryOutputs {
    /// What a request says of it: `binary_data` of an output, else `binary_data_output` of the whole.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where one of them is not true or false.
    pub fn of(request: &InferRequest) -> Result<Self> {
        let all = flag(&request.parameters, "binary_data_output")?.unwrap_or(false);
        let own = |output: &crate::RequestedOutput| {
            let wanted = flag(&output.parameters, "binary_data").map_err(|error| {
                let name = Quoted(&output.name);
                Error::invalid_input(format!("output {name}: {}", error.message()))
            })?;
            Ok(wanted.map(|wanted| (output.name.clone(), wanted)))
        };
        let named = request.outputs.iter().filter_map(|output| own(output).transpose());
        Ok(Self { all, named: named.collect::<Result<_>>()? })
    }

    /// How many bytes of a response's tensors are written as JSON, and how many as they are.
    pub fn bytes(&self, response: &InferResponse) -> (usize, usize) {
        let of = |is_binary: bool| {
            let outputs = response.outputs.iter();
            let those = outputs.filter(|output| self.contains(&output.name) == is_binary);
            those.map(|output| output.tensor.bytes().len()).sum()
        };
        (of(false), of(true))
    }

    fn contains(&self, name: &str) -> bool {
        self.named.iter().find(|(known, _)| known == name).map_or(self.all, |(_, wanted)| *wanted)
    }
}

impl Encoded {
    /// How many bytes all pieces have.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A response as a body.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where an output has no form in JSON and is
/// not wanted as bytes.
pub fn encode(response: &InferResponse, binary: &BinaryOutputs) -> Result<Encoded> {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    if let Some(id) = &response.id {
        member(&mut out, "id", id);
        out.push(b',');
    }
    member(&mut out, "model_name", &response.model);
    out.push(b',');
    member(&mut out, "model_version", &response.version);
    if !response.parameters.is_empty() {
        out.push(b',');
        parameters(&mut out, &response.parameters);
    }
    out.extend_from_slice(b",\"outputs\":[");
    let mut behind = Vec::new();
    for (index, output) in response.outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if let Some(bytes) = write(&mut out, output, binary.contains(&output.name))? {
            behind.push(bytes);
        }
    }
    out.extend_from_slice(b"]}");
    let json = (!behind.is_empty()).then_some(out.len());
    let pieces = std::iter::once(out.into()).chain(behind).collect();
    Ok(Encoded { pieces, json })
}

/// An output; its bytes, where they go behind the JSON.
fn write(out: &mut Vec<u8>, output: &OutputTensor, binary: bool) -> Result<Option<Bytes>> {
    let OutputTensor { name, parameters: beside, tensor, in_shared_memory } = output;
    out.push(b'{');
    member(out, "name", name);
    out.push(b',');
    member(out, "datatype", tensor.dtype().datatype());
    out.push(b',');
    member(out, "shape", &tensor.shape());
    let behind = (binary && !in_shared_memory).then(|| tensor.bytes().clone());
    let mut beside = beside.clone();
    if let Some(bytes) = &behind {
        beside.insert("binary_data_size".to_owned(), Parameter::UInt(bytes.len() as u64));
    }
    // Triton says nothing beside what it has put into shared memory, and its client in C++ takes any parameter
    // for the size of bytes that follow.
    if !beside.is_empty() && !in_shared_memory {
        out.push(b',');
        parameters(out, &beside);
    }
    if !binary && !in_shared_memory {
        out.extend_from_slice(b",\"data\":[");
        data(out, tensor).map_err(|error| {
            Error::invalid_input(format!("output {}: {}", Quoted(name), error.message()))
        })?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(behind)
}

fn member(out: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    put(out, value);
}

/// A value that always has a form in JSON, into memory, where writing does not fail.
pub(super) fn put(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).ok();
}

fn parameters(out: &mut Vec<u8>, parameters: &Parameters) {
    out.extend_from_slice(b"\"parameters\":{");
    for (index, (name, value)) in parameters.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put(out, name);
        out.push(b':');
        match value {
            Parameter::Bool(value) => put(out, value),
            Parameter::Int(value) => put(out, value),
            Parameter::UInt(value) => put(out, value),
            Parameter::Double(value) => put(out, value),
            Parameter::Text(value) => put(out, value),
        }
    }
    out.push(b'}');
}

/// The elements, separated by commas.
fn data(out: &mut Vec<u8>, tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::Bool => {
            let words = tensor.bytes().iter().map(|&byte| if byte == 0 { "false" } else { "true" });
            separated(out, words, |out, word| out.extend_from_slice(word.as_bytes()));
        }
        DType::U8 => numbers::<u8>(out, tensor)?,
        DType::U16 => numbers::<u16>(out, tensor)?,
        DType::U32 => numbers::<u32>(out, tensor)?,
        DType::U64 => numbers::<u64>(out, tensor)?,
        DType::I8 => numbers::<i8>(out, tensor)?,
        DType::I16 => numbers::<i16>(out, tensor)?,
        DType::I32 => numbers::<i32>(out, tensor)?,
        DType::I64 => numbers::<i64>(out, tensor)?,
        DType::F32 => reals::<f32>(out, tensor)?,
        DType::F64 => reals::<f64>(out, tensor)?,
        DType::F16 | DType::BF16 => return Err(binary_only(tensor.dtype())),
        DType::Bytes => return strings(out, tensor),
    }
    Ok(())
}

fn numbers<T: Element + Serialize>(out: &mut Vec<u8>, tensor: &Tensor) -> Result<()> {
    separated(out, tensor.as_slice::<T>()?, |out, value| put(out, value));
    Ok(())
}

fn reals<T: Element + Serialize + Into<f64>>(out: &mut Vec<u8>, tensor: &Tensor) -> Result<()> {
    separated(out, tensor.as_slice::<T>()?, |out, value| real(out, *value));
    Ok(())
}

/// Floating point in the fewest digits that mean the same number; as Python writes it where it is none.
pub(super) fn real<T: Copy + Serialize + Into<f64>>(out: &mut Vec<u8>, value: T) {
    match value.into() {
        f64::INFINITY => out.extend_from_slice(b"Infinity"),
        f64::NEG_INFINITY => out.extend_from_slice(b"-Infinity"),
        number if number.is_nan() => out.extend_from_slice(b"NaN"),
        _ => put(out, &value),
    }
}

fn strings(out: &mut Vec<u8>, tensor: &Tensor) -> Result<()> {
    let mut unreadable = None;
    separated(out, tensor.strings().enumerate(), |out, (index, string)| match std::str::from_utf8(
        &string,
    ) {
        Ok(text) => put(out, text),
        Err(_) => unreadable = unreadable.or(Some(index)),
    });
    match unreadable {
        None => Ok(()),
        Some(index) => Err(Error::invalid_input(format!(
            "element {index} is not UTF-8, which JSON cannot carry; ask for it with binary_data: true"
        ))),
    }
}

fn binary_only(dtype: DType) -> Error {
    Error::invalid_input(format!(
        "{} has no form in JSON; ask for it with binary_data: true",
        dtype.datatype()
    ))
}

fn separated<T>(
    out: &mut Vec<u8>,
    elements: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, element);
    }
}

#[cfg(test)]
mod tests {
    use mar_engine::{Tensor, Timing};

    use super::*;

    #[test]
    fn bytes_are_counted_by_the_form_in_which_each_output_goes() {
        let output = |name: &str, numbers: usize| OutputTensor {
            name: name.into(),
            parameters: crate::Parameters::default(),
            tensor: Tensor::from_vec(&[numbers], vec![1_f32; numbers]).unwrap(),
            in_shared_memory: false,
        };
        let response = InferResponse {
            model: "m".into(),
            version: "1".into(),
            id: None,
            parameters: crate::Parameters::default(),
            outputs: vec![output("a", 1), output("b", 2), output("c", 4)],
            timing: Timing::default(),
        };
        let told = |all: bool, named: &[(&str, bool)]| {
            let named = named.iter().map(|(name, wanted)| ((*name).to_owned(), *wanted));
            BinaryOutputs { all, named: named.collect() }.bytes(&response)
        };
        assert_eq!(told(false, &[]), (28, 0));
        assert_eq!(told(true, &[]), (0, 28));
        assert_eq!(told(false, &[("b", true)]), (20, 8));
        assert_eq!(told(true, &[("a", false), ("b", false)]), (12, 16));
        let encoded = encode(&response, &BinaryOutputs { all: true, named: Vec::new() }).unwrap();
        assert_eq!(encoded.len(), encoded.json.unwrap() + 28, "as many bytes behind the JSON");
    }
}
