//! TensorFlow Serving's and KServe's first protocol over tensors: inputs by rows (`instances`) or by columns
//! (`inputs`), and outputs in the same form.

use bytes::{BufMut, Bytes, BytesMut};
use mar_engine::{DType, Error, Interface, Result, TensorSpec};

use super::nested;
use super::reader::Reader;
use crate::quoted::{Quoted, list, sides};
use crate::{InferRequest, InputTensor, Parameters};

/// The form of a request, and so of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictForm {
    /// `instances`, each a row of every input; the answer has `predictions`.
    Rows,
    /// `inputs`, each with all its rows; the answer has `outputs`.
    Columns,
}

/// What a body asks a network that takes this. Model, version and headers are for the caller to add.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) naming what is missing or wrong.
pub fn decode_predict(body: &[u8], interface: &Interface) -> Result<(InferRequest, PredictForm)> {
    let mut reader = Reader::new(body);
    let (mut instances, mut inputs) = (None, None);
    reader.object(|reader, name| {
        match name {
            "instances" => instances = Some(reader.value()?),
            "inputs" => inputs = Some(reader.value()?),
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    let specs = interface.signature.inputs.as_deref().ok_or_else(|| {
        Error::invalid_input("nobody knows the model's inputs; add signature: to model-config.yaml")
    })?;
    let (tensors, form) = match (instances, inputs) {
        (Some(rows), None) => (by_rows(rows, specs)?, PredictForm::Rows),
        (None, Some(columns)) => (by_columns(columns, specs)?, PredictForm::Columns),
        (Some(_), Some(_)) => {
            return Err(Error::invalid_input("instances and inputs are given; send one of them"));
        }
        (None, None) => return Err(Error::invalid_input("instances or inputs is missing")),
    };
    Ok((InferRequest { inputs: tensors, ..InferRequest::default() }, form))
}

/// Every input's rows: an instance is the one input's value, or each input's by its name.
fn by_rows(text: &[u8], specs: &[TensorSpec]) -> Result<Vec<InputTensor>> {
    let mut reader = Reader::new(text);
    if reader.peek() != Some(b'[') {
        return Err(Error::invalid_input("instances is not an array"));
    }
    let mut columns: Vec<Column> = specs.iter().map(|_| Column::default()).collect();
    let mut index = 0;
    reader.array(|reader| {
        let of = |error: Error| numbered(index, &error);
        let object = reader.peek() == Some(b'{');
        let value = reader.value()?;
        match specs {
            [spec] if !object || spec.dtype == Some(DType::Bytes) && is_base64(value) => {
                columns[0].push(spec, value).map_err(of)?;
            }
            _ if !object => {
                let names = list(specs.iter().map(|spec| spec.name.as_str()));
                return Err(of(Error::invalid_input(format!("it is not an object of {names}"))));
            }
            _ => {
                let values = named(value, specs).map_err(of)?;
                for ((column, spec), value) in columns.iter_mut().zip(specs).zip(values) {
                    column.push(spec, value).map_err(of)?;
                }
            }
        }
        index += 1;
        Ok(())
    })?;
    columns.into_iter().zip(specs).map(|(column, spec)| column.finished(spec)).collect()
}

/// Every input whole: the one input's value, or each input's by its name.
fn by_columns(text: &[u8], specs: &[TensorSpec]) -> Result<Vec<InputTensor>> {
    let object = text.first() == Some(&b'{');
    let values = match specs {
        [spec] if !object || spec.dtype == Some(DType::Bytes) && is_base64(text) => vec![text],
        _ if !object => {
            let names = list(specs.iter().map(|spec| spec.name.as_str()));
            return Err(Error::invalid_input(format!("inputs is not an object of {names}")));
        }
        _ => named(text, specs)?,
    };
    let input = |(spec, value): (&TensorSpec, &[u8])| {
        let (shape, data) = value_of(spec, value)?;
        Ok(input(spec, shape, data))
    };
    specs.iter().zip(values).map(input).collect()
}

/// The values of all inputs, in the network's order.
fn named<'a>(object: &'a [u8], specs: &[TensorSpec]) -> Result<Vec<&'a [u8]>> {
    let mut values = vec![None; specs.len()];
    Reader::new(object).object(|reader, name| {
        let place = specs.iter().position(|spec| spec.name == name).ok_or_else(|| {
            let known = list(specs.iter().map(|spec| spec.name.as_str()));
            let name = Quoted(name);
            Error::invalid_input(format!("unexpected input {name}; the model's inputs: {known}"))
        })?;
        values[place] = Some(reader.value()?);
        Ok(())
    })?;
    let value = |(value, spec): (Option<&'a [u8]>, &TensorSpec)| {
        value
            .ok_or_else(|| Error::invalid_input(format!("input {} is missing", Quoted(&spec.name))))
    };
    values.into_iter().zip(specs).map(value).collect()
}

/// Whether an object is a string in base64, and no named inputs.
fn is_base64(object: &[u8]) -> bool {
    let mut names = Vec::new();
    let read = Reader::new(object).object(|reader, name| {
        names.push(name == "b64");
        reader.skip()
    });
    read.is_ok() && names == [true]
}

/// The rows of one input.
#[derive(Default)]
struct Column {
    rows: usize,
    /// Of each row.
    shape: Vec<usize>,
    data: BytesMut,
}

impl Column {
    fn push(&mut self, spec: &TensorSpec, value: &[u8]) -> Result<()> {
        let (shape, data) = value_of(spec, value)?;
        if self.rows > 0 && shape != self.shape {
            return Err(Error::invalid_input(format!(
                "input {} has shape {}, and {} in the instances before",
                Quoted(&spec.name),
                sides(&shape),
                sides(&self.shape)
            )));
        }
        self.rows += 1;
        self.shape = shape;
        self.data.put(data);
        Ok(())
    }

    fn finished(self, spec: &TensorSpec) -> Result<InputTensor> {
        let Self { rows, mut shape, data } = self;
        if rows == 0 {
            return Err(Error::invalid_input("instances has none; send at least one"));
        }
        shape.insert(0, rows);
        Ok(input(spec, shape, data.freeze()))
    }
}

/// A value as the tensor that an input takes.
fn value_of(spec: &TensorSpec, value: &[u8]) -> Result<(Vec<usize>, Bytes)> {
    let name = Quoted(&spec.name);
    let of = |error: &Error| Error::invalid_input(format!("input {name}: {}", error.message()));
    let dtype = spec.dtype.ok_or_else(|| {
        of(&Error::invalid_input("nobody knows its datatype; add signature: to model-config.yaml"))
    })?;
    nested::tensor(value, dtype).map_err(|error| of(&error))
}

fn input(spec: &TensorSpec, shape: Vec<usize>, data: Bytes) -> InputTensor {
    let dtype = spec.dtype.unwrap_or(DType::Bytes);
    let parameters = Parameters::new();
    InputTensor { name: spec.name.clone(), dtype, shape, parameters, data: Some(data) }
}

fn numbered(index: usize, error: &Error) -> Error {
    Error::invalid_input(format!("instance {index}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use mar_engine::Signature;

    use super::*;

    fn interface(inputs: &[(&str, DType)]) -> Interface {
        let spec = |&(name, dtype): &(&str, DType)| TensorSpec {
            dtype: Some(dtype),
            ..TensorSpec::named(name)
        };
        let inputs = Some(inputs.iter().map(spec).collect());
        Interface { signature: Signature { inputs, outputs: None }, ..Interface::default() }
    }

    /// Shape and bytes of an input.
    type Read = (Vec<usize>, Vec<u8>);

    fn read(body: &str, inputs: &[(&str, DType)]) -> Result<Vec<Read>, String> {
        let (request, _) = decode_predict(body.as_bytes(), &interface(inputs))
            .map_err(|error| error.message().to_owned())?;
        Ok(request.inputs.into_iter().map(|it| (it.shape, it.data.unwrap().to_vec())).collect())
    }

    const ONE: [(&str, DType); 1] = [("x", DType::U8)];
    const TWO: [(&str, DType); 2] = [("x", DType::U8), ("s", DType::Bytes)];

    #[test]
    fn rows_are_put_one_below_the_other() {
        let two_by_two = Ok(vec![(vec![2, 2], vec![1, 2, 3, 4])]);
        assert_eq!(read(r#"{"signature_name":"s","instances":[[1,2],[3,4]]}"#, &ONE), two_by_two);
        assert_eq!(read(r#"{"instances":[{"x":[1,2]},{"x":[3,4]}]}"#, &ONE), two_by_two);
        assert_eq!(
            read(r#"{"instances":[{"s":"a","x":1},{"x":2,"s":{"b64":"Yg=="}}]}"#, &TWO),
            Ok(vec![(vec![2], vec![1, 2]), (vec![2], b"\x01\0\0\0a\x01\0\0\0b".to_vec())])
        );
        let strings = read(r#"{"instances":[{"b64":"Yg=="}]}"#, &TWO[1..]);
        assert_eq!(strings, Ok(vec![(vec![1], b"\x01\0\0\0b".to_vec())]));
    }

    #[test]
    fn columns_are_whole() {
        let two_by_two = Ok(vec![(vec![2, 2], vec![1, 2, 3, 4])]);
        assert_eq!(read(r#"{"inputs": [[1,2],[3,4]]}"#, &ONE), two_by_two);
        assert_eq!(read(r#"{"inputs": {"x":[[1,2],[3,4]]}}"#, &ONE), two_by_two);
        let both = read(r#"{"inputs": {"x":[7],"s":["a"]}}"#, &TWO).unwrap();
        assert_eq!(both[1], (vec![1], b"\x01\0\0\0a".to_vec()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, words) in [
            (r#"{"inputs":[1],"instances":[1]}"#, "send one of them"),
            ("{}", "instances or inputs is missing"),
            (r#"{"instances":5}"#, "instances is not an array"),
            (r#"{"instances":[]}"#, "send at least one"),
            (r#"{"instances":[[1],[1,2]]}"#, "instance 1: input \"x\" has shape [2], and [1]"),
            (r#"{"instances":[[300]]}"#, "instance 0: input \"x\": element 0 is 300"),
            (r#"{"instances":[{"y":1}]}"#, "instance 0: unexpected input \"y\""),
            (r#"{"instances":[{}]}"#, "instance 0: input \"x\" is missing"),
            (r#"{"inputs":[[1],[2,3]]}"#, "input \"x\": arrays beside each other"),
            (r#"{"instances":[1"#, "not JSON"),
        ] {
            let error = read(body, &ONE).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
        assert!(
            read(r#"{"instances":[1]}"#, &TWO).unwrap_err().contains("an object of \"x\", \"s\"")
        );
        let unknown = decode_predict(br#"{"inputs":[1]}"#, &Interface::default()).unwrap_err();
        assert!(unknown.message().contains("add signature:"), "{unknown}");
    }
}
