//! `tensor`: numbers and texts in, numbers and texts out, for networks that need nothing done to either: signals,
//! embeddings, anything, rows of tables that the network itself takes apart. And rows of tables whose columns an
//! archive describes.

mod columns;
mod declared;
pub(crate) mod npy;
mod read;
mod row;
mod write;

use mar_handler::{
    Context, DType, Error, ErrorCode, Handler, Request, Response, Result, Signature, Tensor,
    TensorSpec,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::columns::{Columns, Written as WrittenColumns};
use self::declared::Input;
use crate::answer::BRIEF;
use crate::labels::{Labels, Written};
use crate::section;

/// The name that archives know it by.
pub(crate) const NAME: &str = "tensor";

/// Any network: tensors as JSON, as NumPy's files or as bytes go in, each without a batch dimension, and
/// its outputs come back in the form that the client asks for.
///
/// With `columns` a request is a row of a table, an object with a member a column, as `FastAI`'s tabular learners
/// take it.
///
/// Its keys under `handler:` are `inputs` or `columns`, `outputs`, `activation` and `labels`.
#[derive(Debug)]
pub struct TensorHandler {
    takes: Takes,
    outputs: Vec<String>,
    activation: Activation,
    labels: Labels,
}

/// What a request holds.
#[derive(Debug)]
enum Takes {
    /// The network's inputs.
    Inputs(Vec<Input>),
    /// A row of these columns, of which the inputs are made.
    Row(Columns),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    /// What the network takes, in order; absent: what its file says, else one input of `float32`, of any shape.
    inputs: Option<Vec<Input>>,
    /// The columns of a table, where a request is a row of it.
    columns: Option<WrittenColumns>,
    /// What the network's answers are called, in order; absent: as the network calls them, else
    /// `output_0` and so on.
    outputs: Vec<String>,
    activation: Activation,
    labels: Option<Written>,
}

/// What is done to the network's first answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Probabilities along the last dimension.
    Softmax,
    /// A probability for every number.
    Sigmoid,
}

const KEYS: [&str; 5] = ["inputs", "columns", "outputs", "activation", "labels"];

impl Handler for TensorHandler {
    fn initialize(context: &Context) -> Result<Self> {
        let own = section::own(context, NAME, &KEYS)?;
        let Own { inputs, columns, outputs, activation, labels } = own;
        let takes = match (inputs, columns) {
            (Some(_), Some(_)) => {
                return Err(section::wrong(
                    &"inputs: columns say what the network takes; leave one of them out",
                ));
            }
            (None, Some(columns)) => Takes::Row(columns.checked()?),
            (inputs, None) => {
                let known = context.signature.inputs.as_deref();
                Takes::Inputs(declared::checked(inputs, known)?)
            }
        };
        if let Some(twice) = (1..outputs.len()).find(|i| outputs[..*i].contains(&outputs[*i])) {
            return Err(section::wrong(&format!("outputs: {:?} stands twice", outputs[twice])));
        }
        let labels = Labels::find(labels, &context.model_dir)?;
        Ok(Self { takes, outputs, activation, labels })
    }

    /// A few numbers, whichever form they have.
    fn preprocess_is_brief(&self, bytes: usize) -> bool {
        bytes <= BRIEF
    }

    /// A few numbers, whichever form they have.
    fn postprocess_is_brief(&self, bytes: usize) -> bool {
        bytes <= BRIEF
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        // What is wrong with the query is said before the network runs.
        write::wanted(request)?;
        match &self.takes {
            Takes::Inputs(inputs) => read::inputs(request, inputs),
            Takes::Row(columns) => row::inputs(request, columns),
        }
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        if outputs.is_empty() || outputs.len() < self.outputs.len() {
            return Err(Error::prediction_failed(format!(
                "the model gave {} outputs; the archive names {}",
                outputs.len(),
                if self.outputs.is_empty() { "none".into() } else { self.outputs.join(", ") }
            )));
        }
        let mut named = Vec::with_capacity(outputs.len());
        for (index, output) in outputs.into_iter().enumerate() {
            let name = match (self.outputs.get(index), output.name()) {
                (Some(name), _) => name.clone(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => format!("output_{index}"),
            };
            let output = if index == 0 { activated(output, self.activation)? } else { output };
            named.push((name, output));
        }
        write::response(named, &self.labels, request)
    }

    fn signature(&self) -> Signature {
        let inputs = match &self.takes {
            Takes::Inputs(inputs) => inputs.iter().map(Input::spec).collect(),
            Takes::Row(columns) => row::specs(columns),
        };
        let outputs = self.outputs.iter().map(TensorSpec::named).collect::<Vec<_>>();
        let outputs = Some(outputs).filter(|outputs| !outputs.is_empty());
        Signature { inputs: Some(inputs), outputs }
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        match &self.takes {
            Takes::Inputs(inputs) => {
                told.insert("inputs".into(), inputs.iter().map(Input::describe).collect());
            }
            Takes::Row(columns) => {
                told.insert("columns".into(), columns.describe());
            }
        }
        if !self.outputs.is_empty() {
            told.insert("outputs".into(), self.outputs.clone().into());
        }
        if !self.labels.is_empty() {
            let labels = self.labels.list().into_iter().map(Value::from).collect();
            told.insert("labels".into(), labels);
        }
        told
    }
}

/// The tensor after the activation.
fn activated(output: Tensor, activation: Activation) -> Result<Tensor> {
    if activation == Activation::None {
        return Ok(output);
    }
    if output.dtype() != DType::F32 {
        return Err(Error::new(
            ErrorCode::PredictionFailed,
            format!("the model's output is {}; an activation needs float32", output.dtype().name()),
        ));
    }
    let mut values = output.as_slice::<f32>()?.to_vec();
    match activation {
        Activation::None => {}
        Activation::Softmax => {
            let row = output.shape().last().copied().unwrap_or(1).max(1);
            values.chunks_mut(row).for_each(softmax);
        }
        Activation::Sigmoid => {
            for value in &mut values {
                *value = 1.0 / (1.0 + (-*value).exp());
            }
        }
    }
    let made = Tensor::from_vec(output.shape(), values)?;
    Ok(match output.name() {
        Some(name) => made.named(name),
        None => made,
    })
}

fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - most).exp();
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use mar_handler::{ErrorCode, Part};
    use serde_json::json;

    use super::*;
    use crate::section::tests::context;

    fn handler(section: &Value) -> Result<TensorHandler> {
        TensorHandler::initialize(&context("no such folder", section))
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// A body of this type, with these headers.
    fn body(kind: Option<&str>, data: &[u8], headers: &[(&str, &str)]) -> Request {
        let content_type = kind.map(str::to_owned);
        let part = Part { name: "body".into(), content_type, data: data.to_vec().into() };
        let headers = headers.iter().map(|(name, value)| pair(name, value)).collect();
        Request { parts: vec![part], headers, ..Request::default() }
    }

    fn read(section: &Value, request: &Request) -> Result<Vec<Tensor>> {
        handler(section).unwrap().preprocess(request)
    }

    fn refused(section: &Value, request: &Request) -> String {
        let error = read(section, request).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{error}");
        error.to_string()
    }

    fn json_body(text: &str) -> Request {
        body(None, text.as_bytes(), &[])
    }

    /// What `numpy.save` writes of `numpy.arange(6, dtype=kind).reshape(2, 3)`.
    fn npy(kind: &str, order: &str, data: &[u8]) -> Vec<u8> {
        let mut header =
            format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': (2, 3), }}");
        header.push_str(&" ".repeat(117 - header.len()));
        header.push('\n');
        [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), data].concat()
    }

    fn six() -> Vec<u8> {
        (0..6_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect()
    }

    #[test]
    fn one_input_comes_as_json_in_any_wrapping() {
        for text in [
            "[[1, 2.5]]",
            r#"{"data": [[1, 2.5]]}"#,
            r#"{"body": [[1, 2.5]], "id": 5}"#,
            r#"{"input": [[1, 2.5]]}"#,
            r#"{"inputs": [[1, 2.5]]}"#,
            r#" {"inputs": {"input": [[1, 2.5]]}}"#,
        ] {
            let tensors = read(&json!({}), &json_body(text)).unwrap();
            assert_eq!(tensors[0].shape(), [1, 2], "{text}");
            assert_eq!(tensors[0].as_slice::<f32>().unwrap(), [1.0, 2.5]);
            assert_eq!(tensors[0].name(), Some("input"));
        }
        let scalar = read(&json!({}), &json_body("-4")).unwrap();
        assert_eq!((scalar[0].shape(), scalar[0].as_slice().unwrap()), (&[][..], &[-4_f32][..]));
    }

    #[test]
    fn several_inputs_come_by_name_in_order_or_as_parts() {
        let section = json!({ "inputs": [
            { "name": "ids", "dtype": "int64", "shape": [-1] },
            { "name": "flag", "dtype": "bool", "shape": [] },
        ] });
        let by_parts = Request {
            parts: vec![
                Part::field("flag".into(), "true".into()),
                Part::field("ids".into(), "[7, 8]".into()),
            ],
            ..Request::default()
        };
        let requests = [
            json_body(r#"{"inputs": {"flag": true, "ids": [7, 8]}}"#),
            json_body(r#"{"flag": 1, "ids": [7, 8.0]}"#),
            json_body(r#"{"inputs": [[7, 8], true]}"#),
            json_body("[[7, 8], true]"),
            by_parts,
        ];
        for request in requests {
            let tensors = read(&section, &request).unwrap();
            assert_eq!(tensors[0].as_slice::<i64>().unwrap(), [7, 8]);
            assert_eq!(tensors[1].dtype(), DType::Bool);
            assert_eq!(tensors[1].bytes(), &[1_u8][..]);
            assert_eq!((tensors[0].name(), tensors[1].name()), (Some("ids"), Some("flag")));
        }
        for (text, words) in [
            (r#"{"inputs": {"ids": [1]}}"#, r#"the input "flag" is missing; the model takes ids"#),
            (r#"{"inputs": {"ids": [1], "x": 1}}"#, r#"no input "x"; it takes ids, flag"#),
            (r#"{"data": [1]}"#, r#"no input "data""#),
            ("[[1]]", "the list has 1 values; the model takes ids, flag"),
            ("5", "no list with a value for each input"),
            (r#"{"ids": [1.5], "flag": true}"#, r#"input "ids": 1.5 at [0] does not fit int64"#),
            (r#"{"ids": [1], "flag": 2}"#, r#"input "flag": element 0 is neither"#),
            (r#"{"ids": 1, "flag": true}"#, r#"input "ids": shape [] does not fit [-1]"#),
        ] {
            let error = refused(&section, &json_body(text));
            assert!(error.contains(words), "{text}: {error}");
        }
        let raw = body(None, b"\xff", &[("X-Shape", "1")]);
        assert!(refused(&section, &raw).contains("the model takes ids, flag; send a form"));
        let part = |name: &str, value: &'static str| Part::field(name.into(), value.into());
        let form = |parts| Request { parts, ..Request::default() };
        let error = refused(&section, &form(vec![part("ids", "[7]"), part("flags", "true")]));
        assert!(error.contains(r#"the input "flag" is missing; the model takes ids"#), "{error}");
        // Members and the parts of that name that hold all of it are no inputs.
        let whole = form(vec![part("data", r#"{"ids": [7], "flag": true}"#)]);
        assert_eq!(read(&section, &whole).unwrap().len(), 2);
        let section =
            json!({ "inputs": [{ "name": "data" }, { "name": "flag", "dtype": "bool" }] });
        let whole = form(vec![part("data", r#"{"data": [7], "flag": true}"#)]);
        assert_eq!(read(&section, &whole).unwrap().len(), 2);
    }

    #[test]
    fn numpys_files_are_read() {
        let request = body(Some("application/x-npy"), &npy("<f4", "False", &six()), &[]);
        let tensors = read(&json!({}), &request).unwrap();
        assert_eq!(tensors[0].shape(), [2, 3]);
        assert_eq!(tensors[0].as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        for (file, words) in [
            (npy("<f8", "False", &six().repeat(2)), "holds float64, the model takes float32"),
            (npy(">f4", "False", &six()), ">f4, which is not taken"),
            (npy("<f4", "True", &six()), "Fortran order"),
            (npy("<f4", "False", &six()[1..]), "holds 23 bytes"),
            (npy("<f4", "False", &[])[..40].to_vec(), "ends early"),
            (b"\x93NUMPY".to_vec(), "ends early"),
        ] {
            let error = refused(&json!({}), &body(None, &file, &[]));
            assert!(error.starts_with("input \"input\": "), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn bytes_have_the_shape_of_a_header_or_of_the_archive() {
        let octets = Some("application/octet-stream");
        let declared = json!({ "inputs": [{ "shape": [2, -1] }] });
        for (section, headers) in [
            (json!({}), &[("x-shape", "2,3"), ("X-Dtype", "float32")][..]),
            (json!({}), &[("X-Shape", "[2, 3]")]),
            (declared.clone(), &[]),
        ] {
            let tensors = read(&section, &body(octets, &six(), headers)).unwrap();
            assert_eq!(tensors[0].shape(), [2, 3], "{section} {headers:?}");
            assert_eq!(tensors[0].as_slice::<f32>().unwrap()[4..], [4.0, 5.0]);
        }
        // Bytes that begin as JSON may, from a client that says nothing of their type.
        let digits = body(None, b"[1234567", &[("X-Shape", "2")]);
        assert_eq!(read(&json!({}), &digits).unwrap()[0].bytes(), &b"[1234567"[..]);
        for (section, headers, words) in [
            (json!({}), &[][..], "bytes need their shape, in the header X-Shape"),
            (json!({}), &[("X-Shape", "2,2")], "24 bytes are not float32 of shape [2, 2]"),
            (json!({}), &[("X-Shape", "0,4611686018427387904,8")], "24 bytes are not float32"),
            (json!({}), &[("X-Shape", "2x3")], "is no list of sides"),
            (json!({}), &[("X-Shape", "2,3"), ("X-Dtype", "int8")], "X-Dtype is int8"),
            (declared, &[("X-Shape", "3,2")], "shape [3, 2] does not fit [2, -1]"),
            (
                json!({ "inputs": [{ "shape": [5, -1] }] }),
                &[],
                "6 elements do not fill [5, -1]; add",
            ),
            (
                json!({}),
                &[("X-Dtype", "float32")],
                "bytes need their shape; add the header X-Shape",
            ),
        ] {
            let error = refused(&section, &body(octets, &six(), headers));
            assert!(error.contains(words), "{error}");
        }
        let flags = json!({ "inputs": [{ "dtype": "bool", "shape": [2] }] });
        assert!(refused(&flags, &body(octets, &[0, 2], &[])).contains("element 1 is neither"));
    }

    #[test]
    fn broken_json_says_where() {
        for (text, words) in [
            ("[1, [2]]", "input \"input\": a list at [1]"),
            ("[1, \"2\"]", "expected numbers or lists of them at [1]"),
            ("[1,", "EOF"),
            ("[1] 2", "trailing characters"),
            ("{", "the body is not JSON"),
            ("hello", "neither JSON nor a .npy file"),
        ] {
            let error = refused(&json!({}), &json_body(text));
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn half_precision_is_rounded_and_told_as_it_is() {
        let section = json!({ "inputs": [{ "dtype": "float16" }] });
        let tensor = read(&section, &json_body("[1.0001, 65504]")).unwrap().remove(0);
        assert_eq!(tensor.dtype(), DType::F16);
        let answer = handler(&section).unwrap().postprocess(vec![tensor], &Request::default());
        assert_eq!(answer.unwrap().body, "[1.0,65504.0]");
    }

    fn answered(section: &Value, outputs: Vec<Tensor>, query: &[(&str, &str)]) -> Result<Response> {
        let query = query.iter().map(|(name, value)| pair(name, value)).collect();
        handler(section)?.postprocess(outputs, &Request { query, ..Request::default() })
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    fn text(response: &Response) -> &str {
        std::str::from_utf8(&response.body).unwrap()
    }

    #[test]
    fn one_output_is_a_list_and_several_are_an_object() {
        let told = |section: Value, outputs: Vec<Tensor>, query: &[(&str, &str)]| {
            text(&answered(&section, outputs, query).unwrap()).to_owned()
        };
        let x = || floats(&[2, 1], &[0.1, f32::NAN]);
        let y = || Tensor::from_vec(&[], vec![7_i64]).unwrap();
        assert_eq!(told(json!({}), vec![x()], &[]), "[[0.1],[null]]");
        assert_eq!(told(json!({}), vec![y()], &[]), "7");
        assert_eq!(told(json!({}), vec![floats(&[2, 0], &[])], &[]), "[[],[]]");
        let flags = Tensor::from_bytes(DType::Bool, &[2], vec![1, 0].into()).unwrap();
        assert_eq!(told(json!({}), vec![flags], &[]), "[true,false]");
        let both = || vec![x(), y().named("sum")];
        let object = r#"{"output_0":[[0.1],[null]],"sum":7}"#;
        assert_eq!(told(json!({}), both(), &[]), object);
        let named = json!({ "outputs": ["a", "b"] });
        assert_eq!(told(named.clone(), both(), &[]), r#"{"a":[[0.1],[null]],"b":7}"#);
        assert_eq!(told(named.clone(), both(), &[("output", "b")]), "7");
        let error = answered(&named, both(), &[("output", "c")]).unwrap_err();
        assert!(error.message().contains("no output \"c\"; the model gives a, b"), "{error}");
        let error = answered(&named, vec![x()], &[]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.message().contains("gave 1 outputs; the archive names a, b"), "{error}");
    }

    #[test]
    fn activations_make_probabilities_of_the_first_output() {
        let ln3 = 3.0_f32.ln();
        let of = |activation: &str| {
            let outputs = vec![floats(&[2, 2], &[0.0, ln3, ln3, 0.0]), floats(&[1], &[9.0])];
            let section = json!({ "activation": activation });
            let response = answered(&section, outputs, &[]).unwrap();
            let answer: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(answer["output_1"], json!([9.0]));
            serde_json::from_value::<[[f32; 2]; 2]>(answer["output_0"].clone()).unwrap()
        };
        let near = |got: [[f32; 2]; 2], expected: [[f32; 2]; 2]| {
            let pairs = got.as_flattened().iter().zip(expected.as_flattened());
            pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{got:?}"));
        };
        near(of("softmax"), [[0.25, 0.75], [0.75, 0.25]]);
        near(of("sigmoid"), [[0.5, 0.75], [0.75, 0.5]]);
        let whole = Tensor::from_vec(&[1], vec![1_i64]).unwrap();
        let error = answered(&json!({ "activation": "softmax" }), vec![whole], &[]).unwrap_err();
        assert!(error.message().contains("needs float32"), "{error}");
    }

    #[test]
    fn a_row_of_named_classes_is_an_object() {
        let section = json!({ "labels": ["no", "yes"] });
        let row = || vec![floats(&[2], &[0.25, 0.75])];
        assert_eq!(text(&answered(&section, row(), &[]).unwrap()), r#"{"no":0.25,"yes":0.75}"#);
        let plane = vec![floats(&[1, 2], &[0.25, 0.75])];
        assert_eq!(text(&answered(&section, plane, &[]).unwrap()), "[[0.25,0.75]]");
    }

    #[test]
    fn outputs_come_as_files_and_bytes_too() {
        let plane = || floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let saved = answered(&json!({}), vec![plane()], &[("format", "npy")]).unwrap();
        assert_eq!(saved.content_type.as_deref(), Some("application/x-npy"));
        assert_eq!(saved.body, npy("<f4", "False", &six()));
        let raw = answered(&json!({}), vec![plane()], &[("format", "raw")]).unwrap();
        assert_eq!(raw.content_type.as_deref(), Some("application/octet-stream"));
        assert_eq!(raw.headers, [pair("X-Dtype", "float32"), pair("X-Shape", "2,3")]);
        assert_eq!(raw.body, six());
        let several = vec![plane(), plane()];
        let error = answered(&json!({}), several.clone(), &[("format", "raw")]).unwrap_err();
        assert!(error.message().contains("?output= one of output_0, output_1"), "{error}");
        let chosen = [("format", "raw"), ("output", "output_1")];
        assert_eq!(answered(&json!({}), several, &chosen).unwrap().body, six());
        let xml = Request { query: vec![pair("format", "xml")], ..json_body("[1]") };
        assert!(refused(&json!({}), &xml).contains("known are json, npy, raw"));
        let brain = Tensor::from_bytes(DType::BF16, &[1], vec![0x80, 0x3f].into()).unwrap();
        let error = answered(&json!({}), vec![brain.clone()], &[("format", "npy")]).unwrap_err();
        assert!(error.message().contains("NumPy has no bfloat16"), "{error}");
        assert_eq!(text(&answered(&json!({}), vec![brain], &[]).unwrap()), "[1.0]");
    }

    #[test]
    fn the_form_follows_what_the_client_accepts() {
        let handler = handler(&json!({})).unwrap();
        for (accept, kind) in [
            ("application/x-npy", "application/x-npy"),
            ("text/html, application/octet-stream;q=0.9, */*", "application/octet-stream"),
            ("*/*", "application/json"),
            ("text/html", "application/json"),
        ] {
            let request = body(None, b"", &[("accept", accept)]);
            let response = handler.postprocess(vec![floats(&[1], &[1.0])], &request).unwrap();
            assert_eq!(response.content_type.as_deref(), Some(kind), "{accept}");
        }
    }

    #[test]
    fn texts_are_answered_as_json_alone() {
        let texts = || Tensor::from_strings(&[2], ["a \"b\"", "\u{e9}"]).unwrap().named("x");
        let answer = answered(&json!({}), vec![texts()], &[]).unwrap();
        assert_eq!(text(&answer), "[\"a \\\"b\\\"\",\"\u{e9}\"]");
        for form in ["raw", "npy"] {
            let error = answered(&json!({}), vec![texts()], &[("format", form)]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput);
            assert!(error.message().contains("\"x\" is of texts"), "{error}");
        }
        let broken = Tensor::from_strings(&[], [b"\xff"]).unwrap();
        let error = answered(&json!({}), vec![broken], &[]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed, "{error}");
    }

    #[test]
    fn a_row_whose_places_the_network_names_is_an_object() {
        let of = |shape: &[usize]| {
            let labels = ["1", "2"].map(str::to_owned).into();
            floats(shape, &[0.25, 0.75]).with_labels(labels).unwrap().named("p")
        };
        let label = Tensor::from_vec(&[], vec![2_i64]).unwrap().named("label");
        let told = |outputs: Vec<Tensor>, section: Value| {
            text(&answered(&section, outputs, &[]).unwrap()).to_owned()
        };
        assert_eq!(told(vec![of(&[2])], json!({})), r#"{"1":0.25,"2":0.75}"#);
        let both = r#"{"label":2,"p":{"1":0.25,"2":0.75}}"#;
        assert_eq!(told(vec![label, of(&[2])], json!({})), both);
        assert_eq!(told(vec![of(&[1, 2])], json!({})), "[[0.25,0.75]]");
        let named = json!({ "labels": ["no", "yes"] });
        assert_eq!(told(vec![of(&[2])], named), r#"{"no":0.25,"yes":0.75}"#);
    }

    #[test]
    fn clients_are_told_what_goes_in() {
        let section = json!({ "inputs": [{ "name": "x", "shape": [-1, 4] }], "outputs": ["y"] });
        let told = Value::Object(handler(&section).unwrap().describe());
        let x = json!({ "name": "x", "dtype": "float32", "shape": [-1, 4] });
        assert_eq!(told, json!({ "inputs": [x], "outputs": ["y"] }));
    }

    #[test]
    fn wrong_settings_name_themselves() {
        for (section, named) in [
            (json!({ "inputs": [] }), "inputs is empty"),
            (json!({ "inputs": [{ "dtype": "float" }] }), "no dtype \"float\"; known: bool"),
            (json!({ "inputs": [{ "dtype": "str" }] }), "bytes, string"),
            (json!({ "inputs": [{ "shape": [-2] }] }), "a side of -2"),
            (json!({ "inputs": [{ "name": "a" }, { "name": "a" }] }), "\"a\" stands twice"),
            (json!({ "inputs": [{ "nam": "a" }] }), "`nam`"),
            (json!({ "outputs": ["a", "a"] }), "\"a\" stands twice"),
            (json!({ "size": 5 }), "\"size\"; tensor knows"),
        ] {
            let error = handler(&section).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(named), "{error}");
        }
    }
}
