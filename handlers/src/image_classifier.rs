//! `image_classifier`: an image in, the names and probabilities of its likeliest classes out.

use std::num::NonZeroUsize;

use mar_handler::{
    Batch, Context, Epilogue, Error, Handler, Model, Request, Response, Result, Signature, Stage,
    Tensor,
};
use mar_vision::{Pipeline, PipelineConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::labels::{Labels, Written};
use crate::{answer, input, section};

/// The name that archives know it by.
pub(crate) const NAME: &str = "image_classifier";
/// Where a classifier's output has its classes: `[batch, classes]`.
const CLASSES_DIM: usize = 1;
/// How many classes TorchServe answers with.
const TOP_K: usize = 5;
/// How sure `FastAI` is of a label that it tells, where an image may have several.
const THRESHOLD: f32 = 0.5;

/// Classification by a network that takes `[batch, 3, height, width]` floats and gives
/// `[batch, classes]` scores: TorchServe's handler of that name.
///
/// An image whose preprocessing the archive does not describe is resized to 256 pixels on its shorter
/// side, cut to 224 x 224 and normalised with `ImageNet`'s moments. The answer is `{"label": probability}`,
/// the likeliest first.
///
/// Its keys under `handler:` are `labels`, `top_k`, `activation`, `threshold` and those of
/// [`PipelineConfig`].
#[derive(Debug)]
pub struct ImageClassifier {
    pipeline: Pipeline,
    labels: Labels,
    own: Own,
}

impl ImageClassifier {
    /// How many classes this request wants at most, and above which probability.
    fn wanted(&self, request: &Request) -> Result<(usize, Option<f32>)> {
        let top_k = answer::parameter::<NonZeroUsize>(request, "top_k", "a number from 1 on")?;
        let top_k = top_k.map(NonZeroUsize::get).or(self.own.top_k);
        let threshold = answer::parameter::<f32>(request, "threshold", "a finite number")?;
        if threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err(Error::invalid_input("?threshold: threshold must be a finite number"));
        }
        let threshold = threshold.or(self.own.threshold);
        Ok(match self.own.activation {
            Activation::Sigmoid => {
                (top_k.unwrap_or(usize::MAX), Some(threshold.unwrap_or(THRESHOLD)))
            }
            Activation::Softmax | Activation::None => (top_k.unwrap_or(TOP_K), threshold),
        })
    }
}

/// The keys that are not the pipeline's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Own {
    labels: Option<Written>,
    /// At most so many classes; absent: 5 of an image with one class, all of one with several.
    top_k: Option<usize>,
    activation: Activation,
    /// Only labels that are likelier, of an image that may have several; absent: 0.5.
    threshold: Option<f32>,
}

/// What makes probabilities of the network's scores.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Activation {
    /// An image has one class.
    #[default]
    Softmax,
    /// An image may have several, or none.
    Sigmoid,
    /// The network does it itself.
    None,
}

pub(crate) const KEYS: [&str; 4] = ["labels", "top_k", "activation", "threshold"];

impl Handler for ImageClassifier {
    fn initialize(context: &Context) -> Result<Self> {
        let (config, mut own) = section::parted::<Own>(context, NAME, &KEYS)?;
        let pipeline = section::pipeline(config.or(PipelineConfig::torchvision_imagenet()))?;
        if own.top_k == Some(0) {
            return Err(section::wrong(&"top_k must be 1 or more"));
        }
        if own.threshold.is_some_and(|threshold| !threshold.is_finite()) {
            return Err(section::wrong(&"threshold must be a finite number"));
        }
        let labels = Labels::find(own.labels.take(), &context.model_dir)?;
        Ok(Self { pipeline, labels, own })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        // What is wrong with the query is said before the network runs.
        self.wanted(request)?;
        Ok(vec![input::prepared(request, &self.pipeline)?])
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        input::stages(request, &self.pipeline, self.preprocess(request)?)
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        let epilogue = match self.own.activation {
            Activation::Softmax => Epilogue::Softmax { dim: CLASSES_DIM },
            Activation::Sigmoid | Activation::None => Epilogue::None,
        };
        batch.through(model, epilogue)
    }

    /// A few numbers.
    fn postprocess_is_brief(&self, bytes: usize) -> bool {
        bytes <= answer::BRIEF
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        let scores = answer::scores(&outputs, NAME)?;
        let (top_k, threshold) = self.wanted(request)?;
        let is_sigmoid = self.own.activation == Activation::Sigmoid;
        let activated = |score: f32| if is_sigmoid { 1.0 / (1.0 + (-score).exp()) } else { score };
        let mut classes: Vec<(usize, f32)> =
            scores.iter().map(|score| activated(*score)).enumerate().collect();
        classes.retain(|(_, p)| threshold.is_none_or(|threshold| *p > threshold));
        // Stable, so that of equal ones the first class comes first.
        classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        classes.truncate(top_k);
        let response = answer::json(&answer::Scores::of(&self.labels, classes)?)?;
        Ok(input::with_parity(response, &self.pipeline))
    }

    fn signature(&self) -> Signature {
        input::signature(&self.pipeline, answer::numbers(&self.labels))
    }

    fn describe(&self) -> Map<String, Value> {
        answer::described(&self.labels, &self.pipeline)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mar_handler::{Device, ErrorCode, Part};
    use mar_vision::{RgbImage8, rgb_png};
    use serde_json::json;

    use super::*;
    use crate::section::tests::context;

    /// A network that gives these scores, or their softmax where it is asked for.
    struct Scores(Vec<f32>);

    impl Model for Scores {
        fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
            let sum: f32 = self.0.iter().map(|score| score.exp()).sum();
            let scores: Vec<f32> = match epilogue {
                Epilogue::Softmax { dim: 1 } => {
                    self.0.iter().map(|score| score.exp() / sum).collect()
                }
                _ => self.0.clone(),
            };
            let len = inputs[0].shape()[0];
            Ok(vec![Tensor::from_vec(&[len, self.0.len()], scores.repeat(len))?])
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    fn handler(section: &Value) -> Result<ImageClassifier> {
        ImageClassifier::initialize(&context("no such folder", section))
    }

    fn request(query: &[(&str, &str)]) -> Request {
        let image = RgbImage8::new(300, 280, vec![128; 3 * 300 * 280]).unwrap();
        let data = rgb_png(&image).unwrap().into();
        Request {
            query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            parts: vec![Part { name: "data".into(), content_type: None, data }],
            ..Request::default()
        }
    }

    /// What a handler of this section answers where the network gives these scores.
    fn answered(section: &Value, scores: &[f32], query: &[(&str, &str)]) -> Result<Response> {
        let handler = handler(section)?;
        let request = request(query);
        let batch = Batch::stack(vec![handler.preprocess(&request)?])?;
        let outputs = handler.inference(&Scores(scores.to_vec()), batch)?.remove(0);
        handler.postprocess(outputs, &request)
    }

    fn names(section: &Value, scores: &[f32], query: &[(&str, &str)]) -> Vec<String> {
        let answer: Value =
            serde_json::from_slice(&answered(section, scores, query).unwrap().body).unwrap();
        answer.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn few_classes_are_written_at_once_and_no_image_is_decoded_so() {
        let classifier =
            ImageClassifier::initialize(&context("no such folder", &json!({}))).unwrap();
        assert!(classifier.postprocess_is_brief(256 * 4));
        assert!(!classifier.postprocess_is_brief(1000 * 4));
        assert!(!classifier.preprocess_is_brief(1), "a small file may hold a large picture");
    }

    #[test]
    fn an_image_becomes_what_torchserve_makes_of_it() {
        let inputs = handler(&json!({})).unwrap().preprocess(&request(&[])).unwrap();
        assert_eq!(inputs[0].shape(), [3, 224, 224]);
        let first = inputs[0].as_slice::<f32>().unwrap()[0];
        assert!((first - (128.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6, "{first}");
        let own = handler(&json!({ "size": 32 })).unwrap().preprocess(&request(&[])).unwrap();
        assert_eq!(own[0].shape(), [3, 32, 32]);
    }

    #[test]
    fn numbers_go_to_the_network_as_they_are() {
        let part = Part::field("data".into(), "[[[1, 2]], [[3, 4]]]".into());
        let request = Request { parts: vec![part], ..Request::default() };
        let inputs = handler(&json!({})).unwrap().preprocess(&request).unwrap();
        assert_eq!(inputs[0].shape(), [2, 1, 2]);
        assert_eq!(inputs[0].as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn the_five_likeliest_come_first_and_the_rest_not() {
        let scores = [0.0, 3.0, 1.0, 5.0, 4.0, 2.0];
        assert_eq!(names(&json!({}), &scores, &[]), ["3", "4", "1", "5", "2"]);
        assert_eq!(names(&json!({}), &scores, &[("top_k", "2")]), ["3", "4"]);
        assert_eq!(names(&json!({ "top_k": 1 }), &scores, &[]), ["3"]);
        assert_eq!(names(&json!({ "top_k": 1 }), &scores, &[("top_k", "9")]).len(), 6);
        assert_eq!(names(&json!({}), &[1.0, 2.0], &[]), ["1", "0"]);
        assert_eq!(names(&json!({}), &[1.0; 3], &[]), ["0", "1", "2"], "of equals the first");
    }

    #[test]
    fn the_answer_is_torchserves_to_the_byte() {
        let section = json!({ "labels": ["cat", "dog"] });
        let response = answered(&section, &[0.0, 0.0], &[]).unwrap();
        assert_eq!(response.body, "{\n  \"cat\": 0.5,\n  \"dog\": 0.5\n}");
        let parity = response.headers.iter().find(|(name, _)| name == "X-Parity").unwrap();
        assert_eq!(parity.1, "exact");
    }

    #[test]
    fn classes_of_one_name_are_one_entry_with_the_last_ones_number() {
        let section = json!({ "labels": ["cat", "dog", "cat"], "activation": "none" });
        let response = answered(&section, &[0.5, 0.25, 0.125], &[]).unwrap();
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(answer, json!({ "cat": 0.125, "dog": 0.25 }));
    }

    #[test]
    fn an_image_of_several_classes_has_those_above_the_threshold() {
        let section = json!({ "activation": "sigmoid" });
        let scores = [-1.0, 0.0, 3.0, 1.0];
        assert_eq!(names(&section, &scores, &[]), ["2", "3"], "0.5 itself is not above it");
        assert_eq!(names(&section, &scores, &[("threshold", "0")]), ["2", "3", "1", "0"]);
        assert_eq!(names(&section, &scores, &[("top_k", "1")]), ["2"]);
        let narrow = json!({ "activation": "sigmoid", "threshold": 0.9 });
        assert_eq!(names(&narrow, &scores, &[]), ["2"]);
        let response = answered(&section, &[3.0_f32.ln()], &[]).unwrap();
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        assert!((answer["0"].as_f64().unwrap() - 0.75).abs() < 1e-6);
    }

    #[test]
    fn names_come_from_torchserves_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("index_to_name.json"), r#"{"0": ["n0", "cat"]}"#).unwrap();
        let handler = ImageClassifier::initialize(&context(dir.path(), &json!({}))).unwrap();
        let output = Tensor::from_vec(&[2], vec![0.75_f32, 0.25]).unwrap();
        let response = handler.postprocess(vec![output], &Request::default()).unwrap();
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(answer, json!({ "cat": 0.75, "1": 0.25 }));
        assert_eq!(handler.describe()["labels"], json!(["cat"]));
    }

    #[test]
    fn wrong_settings_and_parameters_name_themselves() {
        for (section, named) in [
            (json!({ "topk": 3 }), "\"topk\"; image_classifier knows"),
            (json!({ "top_k": 0 }), "top_k must be 1"),
            (json!({ "threshold": 1e39 }), "threshold must be a finite"),
            (json!({ "activation": "relu" }), "`relu`"),
            (json!({ "size": "big" }), "size"),
            (json!({ "labels": 5 }), "labels"),
        ] {
            let error = handler(&section).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(named), "{error}");
        }
        for query in [
            ("top_k", "-1"),
            ("top_k", "all"),
            ("threshold", "high"),
            ("top_k", "0"),
            ("threshold", "NaN"),
        ] {
            let error = answered(&json!({}), &[1.0], &[query]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput);
            assert!(error.message().contains(query.0), "{error}");
        }
    }

    #[test]
    fn an_output_that_is_no_list_of_scores_is_an_error_that_says_what_is_needed() {
        let handler = handler(&json!({})).unwrap();
        let fail = |outputs| handler.postprocess(outputs, &Request::default()).unwrap_err();
        assert!(fail(vec![]).message().contains("no output"));
        let plane = Tensor::from_vec(&[1, 2], vec![0_f32; 2]).unwrap();
        assert!(fail(vec![plane]).message().contains("[1, 2]"));
        let whole = Tensor::from_vec(&[1], vec![0_i64]).unwrap();
        assert!(fail(vec![whole]).message().contains("int64"));
        let nan = Tensor::from_vec(&[2], vec![0.0, f32::NAN]).unwrap();
        let error = fail(vec![nan]);
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.message().contains("class 1 is not a number"), "{error}");
        let infinite = Tensor::from_vec(&[2], vec![0.0, f32::INFINITY]).unwrap();
        let error = fail(vec![infinite]);
        assert!(error.message().contains("class 1 is inf"), "{error}");
    }

    #[test]
    fn a_network_may_answer_in_half_precision() {
        let handler = handler(&json!({})).unwrap();
        let halves = Tensor::from_vec(&[2], vec![half::f16::from_f32(0.25), half::f16::ONE]);
        let bytes = handler.postprocess(vec![halves.unwrap()], &Request::default()).unwrap().body;
        assert_eq!(bytes, "{\n  \"1\": 1.0,\n  \"0\": 0.25\n}");
        let halves = Tensor::from_vec(&[1], vec![half::bf16::from_f32(0.5)]).unwrap();
        let bytes = handler.postprocess(vec![halves], &Request::default()).unwrap().body;
        assert_eq!(bytes, "{\n  \"0\": 0.5\n}");
    }
}
