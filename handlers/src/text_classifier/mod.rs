//! `text_classifier`: a text in, the names and probabilities of all classes out.

mod pickle;
mod vocabulary;
mod words;

use std::borrow::Cow;

use mar_handler::{
    Batch, Context, DType, Epilogue, Error, Handler, Model, Request, Response, Result, Signature,
    Tensor, TensorSpec,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::vocabulary::{Vocabulary, Wanted};
use self::words::Words;
use crate::labels::{Labels, Written};
use crate::{answer, input, section};

/// The name that archives know it by.
pub(crate) const NAME: &str = "text_classifier";
/// Where a classifier's output has its classes: `[batch, classes]`.
const CLASSES_DIM: usize = 1;
/// TorchServe's: words, and pairs of them.
const NGRAMS: usize = 2;
/// Longest run of words that an archive may ask for.
const MAX_NGRAMS: usize = 16;
/// The manifest's member that names the vocabulary in old archives.
const SOURCE_VOCAB: &str = "sourceVocab";
/// The members of a JSON object that hold a text, the first that is there counts.
const MEMBERS: [&str; 3] = ["data", "body", "text"];

/// Classification by a network that takes the numbers of all words, `int64` in one row, and where each text
/// begins in it, as `EmbeddingBag` does, and gives `[batch, classes]` scores: TorchServe's handler of that
/// name.
///
/// The text is cleaned and cut as TorchServe does it; single words come first, then runs of 2, up to
/// `ngrams`. The vocabulary is `source_vocab.pt`, as torchtext and `torch.save` write it and never run,
/// or `vocab.json` or `vocab.txt`. The answer is `{"label": probability}` in the order of the classes.
///
/// Its keys under `handler:` are `labels`, `ngrams`, `vocabulary`, `unknown_index` and `unknown_token`.
#[derive(Debug)]
pub struct TextClassifier {
    words: Words,
    vocabulary: Vocabulary,
    labels: Labels,
    ngrams: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    labels: Option<Written>,
    /// Longest run of words that counts; absent: 2.
    ngrams: Option<usize>,
    /// The file that has the vocabulary.
    vocabulary: Option<String>,
    /// The number of words that are not in it; absent: what the vocabulary says, else that of `<unk>`.
    unknown_index: Option<i64>,
    /// The word whose number those have.
    unknown_token: Option<String>,
}

const KEYS: [&str; 5] = ["labels", "ngrams", "vocabulary", "unknown_index", "unknown_token"];

impl Handler for TextClassifier {
    fn initialize(context: &Context) -> Result<Self> {
        let own: Own = section::own(context, NAME, &KEYS)?;
        let ngrams = own.ngrams.unwrap_or(NGRAMS);
        if !(1..=MAX_NGRAMS).contains(&ngrams) {
            return Err(section::wrong(&format!("ngrams must be 1 to {MAX_NGRAMS}, not {ngrams}")));
        }
        let wanted = Wanted {
            file: own.vocabulary.map_or_else(|| of_manifest(context), |file| Ok(Some(file)))?,
            unknown_index: own.unknown_index,
            unknown_token: own.unknown_token,
        };
        let vocabulary = Vocabulary::load(wanted, &context.model_dir)?;
        // Files of the name vocab hold words here, not classes.
        let labels = Labels::find_mapping(own.labels, &context.model_dir)?.unwrap_or_default();
        Ok(Self { words: Words::new(), vocabulary, labels, ngrams })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        let words = self.words.of(&text(request)?);
        if words.is_empty() {
            return Err(Error::invalid_input(
                "the text has no word once markup, accents and punctuation are off; send a text in Latin letters",
            ));
        }
        let runs = words::runs(&words, self.ngrams);
        let numbers = runs.map(|run| self.vocabulary.index(&run)).collect::<Result<Vec<_>>>()?;
        Ok(vec![Tensor::from_vec(&[numbers.len()], numbers)?])
    }

    /// Texts of one length share a pass: one row of all their words, and where each begins.
    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        let len = batch.len();
        let mut inputs = Vec::new();
        for texts in batch.into_tensors() {
            let all: usize = texts.shape().iter().product();
            let starts = (0_i64..).step_by((all / len.max(1)).max(1)).take(len).collect();
            inputs.push(texts.reshape(&[all])?);
            inputs.push(Tensor::from_vec(&[len], starts)?);
        }
        Batch::new(model.forward(inputs, Epilogue::Softmax { dim: CLASSES_DIM })?, len)?.split()
    }

    /// A few numbers.
    fn postprocess_is_brief(&self, bytes: usize) -> bool {
        bytes <= answer::BRIEF
    }

    fn postprocess(&self, outputs: Vec<Tensor>, _: &Request) -> Result<Response> {
        let scores = answer::scores(&outputs, NAME)?;
        let classes = scores.iter().copied().enumerate();
        answer::json(&answer::Scores::of(&self.labels, classes)?)
    }

    fn signature(&self) -> Signature {
        let row = |name| TensorSpec {
            dtype: Some(DType::I64),
            shape: Some(vec![None]),
            ..TensorSpec::named(name)
        };
        let inputs = Some(vec![row("text"), row("offsets")]);
        Signature { inputs, outputs: answer::numbers(&self.labels) }
    }

    /// The network takes the words of all texts in one row.
    fn stacks(&self) -> bool {
        false
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("labels".into(), self.labels.list().into_iter().map(Value::from).collect());
        told.insert("ngrams".into(), self.ngrams.into());
        told.insert("words".into(), self.vocabulary.len().into());
        told
    }
}

/// The vocabulary that the manifest names, as TorchServe's first archiver wrote it.
fn of_manifest(context: &Context) -> Result<Option<String>> {
    match context.manifest.get(SOURCE_VOCAB) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(file)) => Ok(Some(file.clone()).filter(|file| !file.is_empty())),
        Some(other) => Err(Error::invalid_model(format!(
            "{SOURCE_VOCAB} in the manifest is {other}; it must be the name of a file"
        ))),
    }
}

/// The text of a request: a part's bytes, or where it says that it is JSON, a string or an object with one.
fn text(request: &Request) -> Result<Cow<'_, str>> {
    let part = input::part(request)?;
    if input::says_json(part) {
        let object: Map<String, Value> = match serde_json::from_slice(&part.data) {
            Ok(Value::String(text)) => return Ok(text.into()),
            Ok(Value::Object(object)) => object,
            Ok(_) => Map::new(),
            Err(reason) => {
                return Err(Error::invalid_input(format!("the body is not JSON: {reason}")));
            }
        };
        let texts = MEMBERS.iter().filter_map(|name| object.get(*name)?.as_str());
        let text = texts.map(str::to_owned).next();
        return text.map(Cow::Owned).ok_or_else(|| {
            Error::invalid_input(format!(
                "the JSON holds no text; send a string, or an object with one of {}",
                MEMBERS.join(", ")
            ))
        });
    }
    std::str::from_utf8(&part.data)
        .map(Cow::Borrowed)
        .map_err(|reason| Error::invalid_input(format!("the text is not UTF-8: {reason}")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mar_handler::{Device, ErrorCode, Part};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::section::tests::context;

    fn archive() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("vocab.txt"), "<unk>\nhere\nwe\nare\nhere we\n").unwrap();
        fs::write(dir.path().join("index_to_name.json"), r#"{"0": "World", "1": "Sports"}"#)
            .unwrap();
        dir
    }

    fn handler(section: &Value) -> Result<TextClassifier> {
        TextClassifier::initialize(&context(archive().path(), section))
    }

    fn request(content_type: Option<&str>, text: &str) -> Request {
        let content_type = content_type.map(str::to_owned);
        let part = Part { name: "data".into(), content_type, data: text.to_owned().into() };
        Request { parts: vec![part], ..Request::default() }
    }

    fn numbers(section: &Value, text: &str) -> Vec<i64> {
        let inputs = handler(section).unwrap().preprocess(&request(None, text)).unwrap();
        inputs[0].as_slice().unwrap().to_vec()
    }

    /// A network that tells the sum of each text's words, and that of all others.
    struct Sums;

    impl Model for Sums {
        fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
            assert_eq!(epilogue, Epilogue::Softmax { dim: 1 });
            let words = inputs[0].as_slice::<i64>()?;
            let starts = inputs[1].as_slice::<i64>()?;
            assert_eq!((inputs[0].shape(), inputs[1].shape()), (&[6][..], &[2][..]));
            assert_eq!(starts, [0, 3]);
            let all: i64 = words.iter().sum();
            let of = |text: &[i64]| {
                let sum: i64 = text.iter().sum();
                [sum, all - sum].map(|value| f32::from(i16::try_from(value).unwrap()))
            };
            let sums = words.chunks(3).flat_map(of).collect();
            Ok(vec![Tensor::from_vec(&[2, 2], sums)?])
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    #[test]
    fn the_network_is_given_rows_of_words_and_not_of_texts() {
        let handler = handler(&json!({})).unwrap();
        assert!(!handler.stacks());
        let Signature { inputs: Some(inputs), outputs: Some(outputs) } = handler.signature() else {
            panic!("all of it is known")
        };
        let row = |spec: &TensorSpec| (spec.dtype, spec.shape.clone());
        assert_eq!(
            inputs.iter().map(row).collect::<Vec<_>>(),
            vec![(Some(DType::I64), Some(vec![None])); 2]
        );
        assert_eq!(outputs[0].shape, Some(vec![None, Some(2)]));
    }

    #[test]
    fn words_and_pairs_of_them_become_numbers() {
        let text = "<b>Here</b> we aren't!";
        assert_eq!(numbers(&json!({}), text), [1, 2, 3, 0, 4, 0, 0]);
        assert_eq!(numbers(&json!({ "ngrams": 1 }), text), [1, 2, 3, 0]);
        assert_eq!(numbers(&json!({ "ngrams": 1, "unknown_index": 9 }), "here zebra"), [1, 9]);
    }

    #[test]
    fn the_manifest_of_an_old_archive_names_the_vocabulary() {
        let archive = archive();
        fs::write(archive.path().join("old.json"), r#"["<unk>", "x", "here"]"#).unwrap();
        let numbers = |section: Value, named: Value| {
            let mut context = context(archive.path(), &section);
            context.manifest.insert(SOURCE_VOCAB.into(), named);
            let inputs =
                TextClassifier::initialize(&context)?.preprocess(&request(None, "here"))?;
            inputs[0].as_slice::<i64>().map(<[i64]>::to_vec)
        };
        assert_eq!(numbers(json!({}), json!("old.json")).unwrap(), [2]);
        let own = json!({ "vocabulary": "vocab.txt" });
        assert_eq!(
            numbers(own, json!("old.json")).unwrap(),
            [1],
            "the configuration's comes first"
        );
        assert_eq!(numbers(json!({}), json!("")).unwrap(), [1]);
        for (named, words) in
            [(json!("../x.pt"), "\"../x.pt\" is not a file"), (json!(5), "sourceVocab")]
        {
            let error = numbers(json!({}), named).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn texts_of_one_length_share_a_pass_and_are_answered_apart() {
        let handler = handler(&json!({})).unwrap();
        let texts = ["here we", "we are"].map(|text| request(None, text));
        let inputs = texts.iter().map(|text| handler.preprocess(text).unwrap()).collect();
        let batch = Batch::stack(inputs).unwrap();
        let outputs = handler.inference(&Sums, batch).unwrap();
        let sums: Vec<&[f32]> = outputs.iter().map(|o| o[0].as_slice().unwrap()).collect();
        // here, we, "here we": 1 + 2 + 4; we, are, and a pair that is not there: 2 + 3 + 0.
        assert_eq!(sums, [[7.0, 5.0], [5.0, 7.0]]);
    }

    #[test]
    fn all_classes_are_told_in_their_order() {
        let scores = Tensor::from_vec(&[3], vec![0.25_f32, 0.5, 0.25]).unwrap();
        let response =
            handler(&json!({})).unwrap().postprocess(vec![scores], &Request::default()).unwrap();
        assert_eq!(response.body, "{\n  \"World\": 0.25,\n  \"Sports\": 0.5,\n  \"2\": 0.25\n}");
    }

    #[test]
    fn a_text_may_stand_in_json() {
        let told = |json: &str| {
            let request = request(Some("application/json; charset=utf-8"), json);
            text(&request).map(Cow::into_owned).map_err(|error| error.to_string())
        };
        assert_eq!(told(r#""we \u0061re""#).unwrap(), "we are");
        assert_eq!(told(r#"{"text": "a", "data": "we"}"#).unwrap(), "we");
        assert!(told(r#"{"words": "we"}"#).unwrap_err().contains("data, body, text"));
        assert!(told("5").unwrap_err().contains("holds no text"));
        assert!(told("{").unwrap_err().contains("not JSON"));
        let bare = request(None, r#""we""#);
        assert_eq!(text(&bare).unwrap(), r#""we""#, "who does not say JSON sends a text");
    }

    #[test]
    fn a_text_that_holds_nothing_is_the_clients_fault() {
        let handler = handler(&json!({})).unwrap();
        for text in ["", " <b>&nbsp;</b> !", "\u{4f60}\u{597d}"] {
            let error = handler.preprocess(&request(None, text)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{text}");
            assert!(error.message().contains("no word"), "{error}");
        }
        let mut latin1 = request(None, "");
        latin1.parts[0].data = b"caf\xe9"[..].into();
        assert!(handler.preprocess(&latin1).unwrap_err().message().contains("UTF-8"));
    }

    #[test]
    fn wrong_settings_name_themselves() {
        for (section, named) in [
            (json!({ "ngrams": 0 }), "ngrams must be 1 to 16, not 0"),
            (json!({ "size": 3 }), "\"size\"; text_classifier knows"),
            (json!({ "vocabulary": "words.txt" }), "words.txt"),
        ] {
            let error = handler(&section).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(named), "{error}");
        }
    }
}
