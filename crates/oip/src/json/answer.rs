//! Answers in the form of TensorFlow Serving's and KServe's first protocol: `predictions` by rows, `outputs` by
//! columns.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use mar_engine::{DType, Element, Error, Result, Tensor};
use serde::Serialize;

use super::encode::{put, real};
use super::predict::PredictForm;
use crate::InferResponse;

/// Outputs of such names are told in base64, whatever is in them.
const BYTES: &str = "_bytes";
/// Arrays without an element that are written at most.
const MOST_EMPTY: usize = 1 << 16;

/// Writes the element at a place.
type Write<'a> = Box<dyn Fn(&mut Vec<u8>, usize) + 'a>;

/// An output that is written element by element.
struct Output<'a> {
    name: &'a str,
    shape: &'a [usize],
    write: Write<'a>,
}

/// An answer as a body in the form of its request.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`](mar_engine::ErrorCode::PredictionFailed) where the outputs have not as many
/// rows as one another, and are to be told by rows.
pub fn encode_predict(response: &InferResponse, form: PredictForm) -> Result<Vec<u8>> {
    let outputs = response.outputs.iter().map(|output| Output::of(&output.name, &output.tensor));
    let outputs = outputs.collect::<Result<Vec<_>>>()?;
    let mut out = Vec::new();
    match form {
        PredictForm::Columns => {
            out.extend_from_slice(b"{\"outputs\": ");
            together(&mut out, &outputs, |out, output| {
                nest(out, output.shape, &mut 0, &output.write);
            });
        }
        PredictForm::Rows => {
            out.extend_from_slice(b"{\"predictions\": [");
            let rows = outputs.first().and_then(|first| first.shape.first()).copied();
            let same = outputs.iter().all(|output| output.shape.first().copied() == rows);
            let rows = rows.filter(|_| same).ok_or_else(|| {
                Error::prediction_failed(
                    "the outputs have no rows in common; send inputs instead of instances",
                )
            })?;
            for row in 0..rows {
                if row > 0 {
                    out.extend_from_slice(b", ");
                }
                together(&mut out, &outputs, |out, output| {
                    let shape = &output.shape[1..];
                    let mut place = row * shape.iter().product::<usize>();
                    nest(out, shape, &mut place, &output.write);
                });
            }
            out.push(b']');
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(out)
}

impl<'a> Output<'a> {
    fn of(name: &'a str, tensor: &'a Tensor) -> Result<Self> {
        let shape = tensor.shape();
        let before = shape.iter().take_while(|side| **side > 0);
        let empty = shape.contains(&0) && before.product::<usize>() > MOST_EMPTY;
        if empty {
            let message = format!("output {name:?} has no elements and too large sides to tell");
            return Err(Error::prediction_failed(message));
        }
        Ok(Self { name, shape, write: writer(name, tensor)? })
    }
}

/// One output alone, or several by their names.
fn together(
    out: &mut Vec<u8>,
    outputs: &[Output<'_>],
    mut value: impl FnMut(&mut Vec<u8>, &Output<'_>),
) {
    if let [output] = outputs {
        return value(out, output);
    }
    out.push(b'{');
    for (index, output) in outputs.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        put(out, output.name);
        out.extend_from_slice(b": ");
        value(out, output);
    }
    out.push(b'}');
}

/// The elements from a place on, in arrays of a shape.
fn nest(out: &mut Vec<u8>, shape: &[usize], place: &mut usize, write: &Write<'_>) {
    let Some((length, within)) = shape.split_first() else {
        write(out, *place);
        *place += 1;
        return;
    };
    out.push(b'[');
    for index in 0..*length {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        nest(out, within, place, write);
    }
    out.push(b']');
}

fn writer<'a>(name: &str, tensor: &'a Tensor) -> Result<Write<'a>> {
    fn whole<T: Element + Serialize>(tensor: &Tensor) -> Result<Write<'_>> {
        let values = tensor.as_slice::<T>()?;
        Ok(Box::new(move |out, place| put(out, &values[place])))
    }
    Ok(match tensor.dtype() {
        DType::Bool => {
            let values = tensor.bytes();
            Box::new(move |out, place| put(out, &(values[place] != 0)))
        }
        DType::U8 => whole::<u8>(tensor)?,
        DType::U16 => whole::<u16>(tensor)?,
        DType::U32 => whole::<u32>(tensor)?,
        DType::U64 => whole::<u64>(tensor)?,
        DType::I8 => whole::<i8>(tensor)?,
        DType::I16 => whole::<i16>(tensor)?,
        DType::I32 => whole::<i32>(tensor)?,
        DType::I64 => whole::<i64>(tensor)?,
        DType::F16 => {
            let values = tensor.as_slice::<half::f16>()?;
            Box::new(move |out, place| real(out, values[place].to_f32()))
        }
        DType::BF16 => {
            let values = tensor.as_slice::<half::bf16>()?;
            Box::new(move |out, place| real(out, values[place].to_f32()))
        }
        DType::F32 => {
            let values = tensor.as_slice::<f32>()?;
            Box::new(move |out, place| real(out, values[place]))
        }
        DType::F64 => {
            let values = tensor.as_slice::<f64>()?;
            Box::new(move |out, place| real(out, values[place]))
        }
        DType::Bytes => {
            let strings: Vec<Bytes> = tensor.strings().collect();
            let encoded = name.ends_with(BYTES);
            Box::new(move |out, place| string(out, &strings[place], encoded))
        }
    })
}

/// A string as it is, or in base64 where that is asked for or it is no text.
fn string(out: &mut Vec<u8>, string: &[u8], encoded: bool) {
    match std::str::from_utf8(string) {
        Ok(text) if !encoded => put(out, text),
        _ => {
            out.extend_from_slice(b"{\"b64\": ");
            put(out, &BASE64_STANDARD.encode(string));
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use mar_engine::Timing;

    use super::*;
    use crate::{OutputTensor, Parameters};

    fn written(outputs: Vec<(&str, Tensor)>, form: PredictForm) -> String {
        let output = |(name, tensor): (&str, Tensor)| OutputTensor {
            name: name.into(),
            parameters: Parameters::new(),
            tensor,
            in_shared_memory: false,
        };
        let response = InferResponse {
            model: "m".into(),
            version: "1".into(),
            id: None,
            parameters: Parameters::new(),
            outputs: outputs.into_iter().map(output).collect(),
            timing: Timing::default(),
        };
        String::from_utf8(encode_predict(&response, form).unwrap()).unwrap()
    }

    #[test]
    fn answers_have_the_form_of_their_request() {
        let numbers = || Tensor::from_vec(&[2, 2], vec![1.5_f32, 2.0, f32::NAN, -4.0]).unwrap();
        let one = || vec![("y", numbers())];
        assert_eq!(
            written(one(), PredictForm::Columns),
            "{\"outputs\": [[1.5, 2.0], [NaN, -4.0]]}\n"
        );
        assert_eq!(
            written(one(), PredictForm::Rows),
            "{\"predictions\": [[1.5, 2.0], [NaN, -4.0]]}\n"
        );
        let strings = Tensor::from_strings(&[2], [&b"a"[..], b"\xff"]).unwrap();
        let both = || vec![("y", numbers()), ("s_bytes", strings.clone())];
        assert_eq!(
            written(both(), PredictForm::Rows),
            "{\"predictions\": [{\"y\": [1.5, 2.0], \"s_bytes\": {\"b64\": \"YQ==\"}}, \
             {\"y\": [NaN, -4.0], \"s_bytes\": {\"b64\": \"/w==\"}}]}\n"
        );
        let plain = vec![("s", strings.clone())];
        assert_eq!(
            written(plain, PredictForm::Columns),
            "{\"outputs\": [\"a\", {\"b64\": \"/w==\"}]}\n"
        );
        let scalar = Tensor::from_vec(&[], vec![3_i64]).unwrap();
        assert_eq!(written(vec![("n", scalar)], PredictForm::Columns), "{\"outputs\": 3}\n");
        let half = Tensor::from_vec(&[1, 0], Vec::<half::f16>::new()).unwrap();
        assert_eq!(written(vec![("h", half)], PredictForm::Columns), "{\"outputs\": [[]]}\n");
    }
}
