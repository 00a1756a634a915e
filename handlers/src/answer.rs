//! Answers as TorchServe writes them: what Python's `json.dumps` makes with an indent of 2.

use std::borrow::Cow;
use std::io;

use half::{bf16, f16};
use mar_handler::{DType, Error, ErrorCode, Request, Response, Result, Tensor, TensorSpec};
use mar_vision::Pipeline;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use serde_json::{Map, Value};

use crate::labels::Labels;

/// Bytes of numbers that are read, or written, in some microseconds, whichever form they have.
pub(crate) const BRIEF: usize = 1024;

/// A value as JSON, to the byte what TorchServe sends for it.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`] where the value has no JSON form.
pub(crate) fn json(value: &impl Serialize) -> Result<Response> {
    let mut body = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut body, Python::default());
    value.serialize(&mut writer).map_err(|error| {
        Error::new(ErrorCode::PredictionFailed, "the answer has no JSON form").caused_by(error)
    })?;
    Ok(Response::bytes("application/json", body))
}

/// A network's only output, `[batch, numbers]`, where the archive names the numbers.
pub(crate) fn numbers(labels: &Labels) -> Option<Vec<TensorSpec>> {
    let numbers = Some(labels.list().len()).filter(|count| *count > 0)?;
    let shape = Some(vec![None, Some(numbers)]);
    Some(vec![TensorSpec { name: "output".into(), dtype: Some(DType::F32), shape }])
}

/// What a network says of each class: a name and a number a line.
#[derive(Debug)]
pub(crate) struct Scores<'a>(Vec<(Cow<'a, str>, f32)>);

impl<'a> Scores<'a> {
    /// These classes in this order.
    ///
    /// # Errors
    /// [`ErrorCode::PredictionFailed`] naming a class whose number is infinite, which JSON cannot say.
    pub(crate) fn of(
        labels: &'a Labels,
        classes: impl IntoIterator<Item = (usize, f32)>,
    ) -> Result<Self> {
        let finite = |(class, score): (usize, f32)| {
            let infinite = || {
                Error::prediction_failed(format!("the model's score of class {class} is {score}"))
            };
            if score.is_finite() { Ok((class, score)) } else { Err(infinite()) }
        };
        let classes = classes.into_iter().map(finite).collect::<Result<Vec<_>>>()?;
        Ok(Self(labels.named(classes)))
    }
}

impl Serialize for Scores<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, score)| (name, score)))
    }
}

/// What the network gave, where one output counts.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`] where it gave none.
pub(crate) fn first(outputs: &[Tensor]) -> Result<&Tensor> {
    outputs.first().ok_or_else(|| Error::prediction_failed("the model gave no output"))
}

/// What clients are told of a handler that names what it finds in images.
pub(crate) fn described(labels: &Labels, pipeline: &Pipeline) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("labels".into(), labels.list().into_iter().map(Value::from).collect());
    told.insert("preprocessing".into(), pipeline.describe().into());
    told
}

/// One request's scores: the numbers of the only output that counts, one a class.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`] where the network gave none, of another shape, or no numbers.
pub(crate) fn scores<'a>(outputs: &'a [Tensor], handler: &str) -> Result<Cow<'a, [f32]>> {
    let output = first(outputs)?;
    if output.shape().len() != 1 {
        return Err(Error::prediction_failed(format!(
            "the model's output has shape {:?} for one request; {handler} needs one score a class, [batch, classes]",
            output.shape()
        )));
    }
    let scores = floats(output).ok_or_else(|| {
        let dtype = output.dtype().name();
        Error::prediction_failed(format!("the model's scores are {dtype}; {handler} needs float32"))
    })?;
    if let Some(class) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::prediction_failed(format!(
            "the model's score of class {class} is not a number"
        )));
    }
    Ok(scores)
}

/// A tensor's numbers, where they are of single or of half precision.
pub(crate) fn floats(tensor: &Tensor) -> Option<Cow<'_, [f32]>> {
    match tensor.dtype() {
        DType::F32 => tensor.as_slice().ok().map(Cow::Borrowed),
        DType::F16 => tensor.as_slice::<f16>().ok().map(widened),
        DType::BF16 => tensor.as_slice::<bf16>().ok().map(widened),
        _ => None,
    }
}

/// Numbers of half precision in single precision, which has all of them.
pub(crate) fn widened<T: Copy + Into<f32>>(values: &[T]) -> Cow<'static, [f32]> {
    values.iter().map(|value| (*value).into()).collect()
}

/// The value of a query's parameter, where the client gave it.
///
/// # Errors
/// [`ErrorCode::InvalidInput`] naming the parameter and what it takes.
pub(crate) fn parameter<T: std::str::FromStr>(
    request: &Request,
    name: &str,
    takes: &str,
) -> Result<Option<T>> {
    let parsed = request.parameter(name).map(|text| {
        text.parse()
            .map_err(|_| Error::invalid_input(format!("?{name}={text}: {name} must be {takes}")))
    });
    parsed.transpose()
}

/// JSON as Python writes it: indented, floats by `repr`, and nothing but ASCII.
#[derive(Default)]
struct Python(PrettyFormatter<'static>);

impl Formatter for Python {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(value).as_bytes())
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, value.into())
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for part in fragment.split_inclusive(|c: char| !c.is_ascii()) {
            let (ascii, last) = match part.char_indices().next_back() {
                Some((at, last)) if !last.is_ascii() => (&part[..at], Some(last)),
                _ => (part, None),
            };
            writer.write_all(ascii.as_bytes())?;
            for unit in last.into_iter().flat_map(|last| {
                let mut units = [0; 2];
                last.encode_utf16(&mut units).to_vec()
            }) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// A float as Python's `repr` writes it: the fewest digits that mean it, with an exponent of two digits
/// below 1e-4 and from 1e16.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..16).contains(&exponent) => format!("{value:?}"),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_are_pythons() {
        for (value, text) in [
            (f64::from(0.4_f32), "0.4000000059604645"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (0.0001, "0.0001"),
            (0.000_012_3, "1.23e-05"),
            (1e-10, "1e-10"),
            (1.5e-300, "1.5e-300"),
            (123_456.5, "123456.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e22, "1.25e+22"),
            (-2.5e-7, "-2.5e-07"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn an_answer_is_what_json_dumps_writes() {
        let value = json!({ "caf\u{e9} \u{1f600}\"\n\u{7f}": 0.5, "list": [1, [2.0]], "none": [], "of": {} });
        let response = json(&value).unwrap();
        assert_eq!(response.content_type.as_deref(), Some("application/json"));
        let expected = r#"{
  "caf\u00e9 \ud83d\ude00\"\n"#
            .to_owned()
            + "\u{7f}"
            + r#"": 0.5,
  "list": [
    1,
    [
      2.0
    ]
  ],
  "none": [],
  "of": {}
}"#;
        assert_eq!(String::from_utf8(response.body.to_vec()).unwrap(), expected);
    }
}
