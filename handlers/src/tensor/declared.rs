//! What an archive says of the tensors that its network takes.

use mar_handler::{DType, Result, Side, TensorSpec};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::section::wrong;

/// What the only input is called where the archive does not say.
pub(super) const UNNAMED: &str = "input";

/// One of a network's inputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// How clients call it.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default = "float32", deserialize_with = "dtype")]
    pub(super) dtype: DType,
    /// The sides of one request's tensor, without the batch's, -1 where a side is free; `None` where all is.
    #[serde(default)]
    pub(super) shape: Option<Vec<i64>>,
}

/// The inputs that an archive declares, else those that are `known` of its network, else one of any shape; each has
/// a name of its own.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the input that is wrong.
pub(super) fn checked(
    inputs: Option<Vec<Input>>,
    known: Option<&[TensorSpec]>,
) -> Result<Vec<Input>> {
    let one = || vec![Input { name: String::new(), dtype: float32(), shape: None }];
    let known =
        || Some(known?.iter().map(Input::of).collect()).filter(|all: &Vec<_>| !all.is_empty());
    let mut inputs = inputs.or_else(known).unwrap_or_else(one);
    let count = inputs.len();
    if count == 0 {
        return Err(wrong(&"inputs is empty; leave it out, or name what the network takes"));
    }
    for (index, input) in inputs.iter_mut().enumerate() {
        if input.name.is_empty() {
            input.name = if count == 1 { UNNAMED.into() } else { format!("input_{index}") };
        }
        let shape = input.shape.as_deref().unwrap_or_default();
        if let Some(side) = shape.iter().find(|side| **side < -1) {
            return Err(wrong(&format!(
                "inputs: {:?} has a side of {side}; write -1 for one that is free",
                input.name
            )));
        }
    }
    if let Some(twice) = (1..count).find(|i| inputs[..*i].iter().any(|b| b.name == inputs[*i].name))
    {
        return Err(wrong(&format!("inputs: {:?} stands twice", inputs[twice].name)));
    }
    Ok(inputs)
}

impl Input {
    /// What a request holds for an input of a network: one entry of its first side.
    fn of(spec: &TensorSpec) -> Self {
        let side = |side: &Side| side.and_then(|side| i64::try_from(side).ok()).unwrap_or(-1);
        let shape = spec.shape.as_ref().and_then(|sides| sides.split_first());
        Self {
            name: spec.name.clone(),
            dtype: spec.dtype.unwrap_or(DType::F32),
            shape: shape.map(|(_, sides)| sides.iter().map(side).collect()),
        }
    }

    /// The shape of a tensor that was sent as this one: a bare value is the only cell of a column.
    pub(super) fn shape_for<'a>(&self, shape: &'a [usize]) -> &'a [usize] {
        if shape.is_empty() && self.shape.as_deref() == Some(&[1]) { &[1] } else { shape }
    }

    /// Whether it is of texts.
    pub(super) fn is_texts(&self) -> bool {
        self.dtype == DType::Bytes
    }

    /// What is wrong with a tensor of this shape, if anything.
    pub(super) fn refuses(&self, shape: &[usize]) -> Option<String> {
        let declared = self.shape.as_deref()?;
        let fits = |(declared, side): (&i64, &usize)| {
            *declared == -1 || usize::try_from(*declared) == Ok(*side)
        };
        let fits = declared.len() == shape.len() && declared.iter().zip(shape).all(fits);
        let sides =
            || format!("shape {shape:?} does not fit {declared:?}, without a batch dimension");
        (!fits).then(sides)
    }

    /// The shape that so many elements have, where at most one side is free.
    pub(super) fn shape_of(&self, elements: usize) -> Option<Vec<usize>> {
        let declared = self.shape.as_deref()?;
        let known: Vec<usize> =
            declared.iter().filter_map(|side| usize::try_from(*side).ok()).collect();
        let product = known.iter().try_fold(1_usize, |product, side| product.checked_mul(*side))?;
        let free = match declared.len() - known.len() {
            0 if product == elements => 0,
            1 if product > 0 && elements.is_multiple_of(product) => elements / product,
            _ => return None,
        };
        Some(declared.iter().map(|side| usize::try_from(*side).unwrap_or(free)).collect())
    }

    /// What the network takes, with the batch's side.
    pub(super) fn spec(&self) -> TensorSpec {
        let side = |side: &i64| usize::try_from(*side).ok();
        let sides =
            |shape: &Vec<i64>| std::iter::once(None).chain(shape.iter().map(side)).collect();
        let shape = self.shape.as_ref().map(sides);
        TensorSpec { name: self.name.clone(), dtype: Some(self.dtype), shape }
    }

    /// What clients are told of it.
    pub(super) fn describe(&self) -> Value {
        json!({ "name": self.name, "dtype": self.dtype.name(), "shape": self.shape })
    }
}

/// A type by the name that NumPy and PyTorch give it.
pub(super) fn by_name(name: &str) -> Option<DType> {
    if name == STRING {
        return Some(DType::Bytes);
    }
    DType::ALL.into_iter().find(|dtype| dtype.name() == name)
}

/// What ONNX and Python call texts, beside the name that they have here.
const STRING: &str = "string";

fn float32() -> DType {
    DType::F32
}

fn dtype<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<DType, D::Error> {
    let name = String::deserialize(deserializer)?;
    by_name(&name).ok_or_else(|| {
        let known = DType::ALL.map(DType::name).join(", ");
        serde::de::Error::custom(format_args!(
            "inputs: no dtype {name:?}; known: {known}, {STRING}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use mar_handler::{Context, ErrorCode, Handler, Part, Request, Signature, Tensor};

    use super::*;
    use crate::section::tests::context;
    use crate::tensor::TensorHandler;

    fn spec(name: &str, dtype: DType, shape: &[Side]) -> TensorSpec {
        TensorSpec { dtype: Some(dtype), shape: Some(shape.to_vec()), ..TensorSpec::named(name) }
    }

    /// A handler without a word of configuration on a network that takes this.
    fn handler(inputs: Vec<TensorSpec>) -> TensorHandler {
        let signature = Signature { inputs: Some(inputs), outputs: None };
        let context = Context { signature, ..context("no such folder", &json!({})) };
        TensorHandler::initialize(&context).unwrap()
    }

    /// What the exporter makes of a data frame.
    fn columns() -> TensorHandler {
        let column = |name, dtype| spec(name, dtype, &[None, Some(1)]);
        handler(vec![
            column("age", DType::I64),
            column("hours", DType::F32),
            column("city", DType::Bytes),
        ])
    }

    fn read(handler: &TensorHandler, kind: Option<&str>, body: &[u8]) -> Result<Vec<Tensor>> {
        let content_type = kind.map(str::to_owned);
        let part = Part { name: "body".into(), content_type, data: body.to_vec().into() };
        handler.preprocess(&Request { parts: vec![part], ..Request::default() })
    }

    fn refused(handler: &TensorHandler, body: &str) -> String {
        let error = read(handler, None, body.as_bytes()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{body}: {error}");
        error.to_string()
    }

    #[test]
    fn a_row_of_a_data_frame_is_an_object_or_a_list_of_bare_values() {
        let handler = columns();
        for body in [
            r#"{"age": 42, "hours": 37.5, "city": "Paris"}"#,
            r#"{"city": "Paris", "hours": 37.5, "age": 42.0}"#,
            r#"{"age": [42], "hours": [37.5], "city": ["Paris"]}"#,
            r#"{"data": {"age": 42, "hours": 37.5, "city": "Paris"}}"#,
            r#"{"inputs": {"age": 42, "hours": 37.5, "city": "Paris"}}"#,
            r#"[42, 37.5, "Paris"]"#,
        ] {
            let row = read(&handler, None, body.as_bytes()).unwrap();
            assert!(row.iter().all(|tensor| tensor.shape() == [1]), "{body}: {row:?}");
            let names: Vec<_> = row.iter().filter_map(Tensor::name).collect();
            assert_eq!(names, ["age", "hours", "city"]);
            assert_eq!(row[0].as_slice::<i64>().unwrap(), [42]);
            assert_eq!(row[1].as_slice::<f32>().unwrap(), [37.5]);
            assert_eq!(row[2].strings().collect::<Vec<_>>(), ["Paris"]);
        }
        let parts = [("city", "Paris"), ("age", "42"), ("hours", "37.5")];
        let parts = parts.map(|(name, value)| Part::field(name.into(), value.into()));
        let form = Request { parts: parts.to_vec(), ..Request::default() };
        assert_eq!(handler.preprocess(&form).unwrap()[2].strings().next().unwrap(), "Paris");
        let missing = read(&handler, None, br#"{"age": 1, "hours": null, "city": ""}"#).unwrap();
        assert!(missing[1].as_slice::<f32>().unwrap()[0].is_nan());
    }

    #[test]
    fn a_row_that_does_not_fit_names_the_column() {
        let many =
            "a request is one row; send many as {\"instances\": [...]} to /v1/models/NAME:predict";
        for (body, words) in [
            (r#"{"age": 3.5, "hours": 1, "city": "a"}"#, "input \"age\": 3.5 does not fit int64"),
            (
                r#"{"age": "3", "hours": 1, "city": "a"}"#,
                "input \"age\": invalid type: string \"3\"",
            ),
            (r#"{"age": null, "hours": 1, "city": "a"}"#, "input \"age\": null is no number"),
            (r#"{"age": 3, "hours": 1, "city": 7}"#, "input \"city\": 7 is no text; send it in"),
            (r#"{"age": 3, "hours": 1, "city": null}"#, "input \"city\": null is no text"),
            (r#"{"age": 3, "hours": 1e39, "city": "a"}"#, "input \"hours\": "),
            (
                r#"{"age": 3, "city": "a"}"#,
                "the input \"hours\" is missing; the model takes age, h",
            ),
            (r#"{"age": 3, "hours": 1, "city": "a", "id": 9}"#, "no input \"id\"; it takes age"),
            (r#"{"data": {"age": 3, "hours": 1}}"#, "the input \"city\" is missing"),
            ("[1, 2]", "the list has 2 values; the model takes age, hours, city"),
            (r#"[{"age": 3, "hours": 1, "city": "a"}]"#, many),
            (r#"{"instances": [[1, 2, "a"]]}"#, many),
            (r#"{"age": [3, 4], "hours": [1, 2], "city": ["a", "b"]}"#, many),
        ] {
            let error = refused(&columns(), body);
            assert!(error.contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn a_row_of_a_matrix_is_a_list() {
        let matrix = || handler(vec![spec("X", DType::F64, &[None, Some(2)])]);
        for body in
            ["[0.1, 2]", r#"{"X": [0.1, 2]}"#, r#"{"input": [0.1, 2]}"#, r#"{"data": [0.1, 2]}"#]
        {
            let tensor = read(&matrix(), None, body.as_bytes()).unwrap().remove(0);
            assert_eq!((tensor.shape(), tensor.name()), (&[2][..], Some("X")), "{body}");
            assert_eq!(tensor.as_slice::<f64>().unwrap(), [0.1, 2.0]);
        }
        for (body, words) in [
            ("[1, 2, 3]", "input \"X\": shape [3] does not fit [2], without a batch dimension"),
            (
                "[[1, 2], [3, 4]]",
                "shape [2, 2] does not fit [2], without a batch dimension; a request is one row",
            ),
            (r#"[{"X": [1, 2]}]"#, "the body is a list of objects; a request is one row"),
            (r#"{"Y": [1, 2]}"#, "no input \"Y\"; it takes X"),
        ] {
            let error = refused(&matrix(), body);
            assert!(error.contains(words), "{body}: {error}");
        }
        assert!(!refused(&matrix(), "[1, 2, 3]").contains("one row"));
    }

    #[test]
    fn an_input_that_has_the_name_of_every_body_is_read_as_others_are() {
        for name in ["data", "body", "inputs"] {
            let handler = handler(vec![spec(name, DType::F32, &[None, Some(1)])]);
            for body in ["[7]".to_owned(), format!("{{\"{name}\": [7]}}"), "7".to_owned()] {
                let tensor = read(&handler, None, body.as_bytes()).unwrap().remove(0);
                assert_eq!(tensor.as_slice::<f32>().unwrap(), [7.0], "{name}: {body}");
            }
        }
    }

    #[test]
    fn a_network_of_one_text_takes_it_bare() {
        let handler = handler(vec![spec("text", DType::Bytes, &[None, Some(1)])]);
        let of = |kind: Option<&str>, body: &[u8]| {
            read(&handler, kind, body).map(|mut read| {
                let tensor = read.remove(0);
                assert_eq!(tensor.shape(), [1]);
                tensor.strings().next().unwrap()
            })
        };
        for body in ["good day", "\"good day\"", "[\"good day\"]", r#"{"text": "good day"}"#] {
            assert_eq!(of(None, body.as_bytes()).unwrap(), "good day", "{body}");
        }
        assert_eq!(of(None, b"12 of them").unwrap(), "12 of them");
        assert_eq!(of(Some("text/plain"), b"[sic]").unwrap(), "[sic]");
        assert_eq!(of(Some("application/json"), br#""x""#).unwrap(), "x");
        let error = of(None, b"\xff").unwrap_err();
        assert!(error.message().contains("input \"text\": the text is no UTF-8"), "{error}");
        let error = of(None, b"\x93NUMPY").unwrap_err();
        assert!(error.message().contains("texts are not taken from .npy files"), "{error}");
    }

    #[test]
    fn what_nobody_knows_of_an_input_is_free() {
        let told = |inputs: Vec<TensorSpec>| handler(inputs).describe()["inputs"].clone();
        let free = |name: &str| json!([{ "name": name, "dtype": "float32", "shape": null }]);
        assert_eq!(told(vec![TensorSpec::named("x")]), free("x"));
        assert_eq!(told(vec![spec("x", DType::F32, &[])]), free("x"), "a rank that is not told");
        assert_eq!(told(Vec::new()), free(UNNAMED));
        let sides = json!([{ "name": "x", "dtype": "int64", "shape": [-1, 3] }]);
        assert_eq!(told(vec![spec("x", DType::I64, &[Some(1), None, Some(3)])]), sides);
    }

    #[test]
    fn what_an_archive_declares_goes_before_what_the_file_says() {
        let signature = Signature { inputs: Some(vec![TensorSpec::named("x")]), outputs: None };
        let section = json!({ "inputs": [{ "name": "word", "dtype": "string", "shape": [] }] });
        let context = Context { signature, ..context("no such folder", &section) };
        let handler = TensorHandler::initialize(&context).unwrap();
        let word = read(&handler, None, b"\"yes\"").unwrap().remove(0);
        assert_eq!(
            (word.name(), word.dtype(), word.shape()),
            (Some("word"), DType::Bytes, &[][..])
        );
    }
}
