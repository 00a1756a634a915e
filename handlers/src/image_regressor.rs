//! `image_regressor`: an image in, the numbers that a network reads off it out: an age, a count, an angle.

use std::borrow::Cow;

use mar_handler::{Context, Error, Handler, Request, Response, Result, Signature, Stage, Tensor};
use mar_vision::{Pipeline, PipelineConfig};
use serde::Deserialize;
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::labels::{Labels, Written};
use crate::{answer, input, section};

/// The name that archives know it by.
pub(crate) const NAME: &str = "image_regressor";

/// Regression by a network that takes `[batch, 3, height, width]` floats and gives `[batch, numbers]`, or
/// `[batch]`: what a `FastAI` learner with a `RegressionBlock` is.
///
/// An image whose preprocessing the archive does not describe gets what
/// [`ImageClassifier`](crate::ImageClassifier) does to it. The answer is `{"name": number}` where the archive
/// names the numbers, else a list of them. What is not finite is `null`.
///
/// Its keys under `handler:` are `labels` and those of [`PipelineConfig`].
#[derive(Debug)]
pub struct ImageRegressor {
    pipeline: Pipeline,
    labels: Labels,
}

/// The keys that are not the pipeline's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {
    /// What the numbers are called, in order.
    labels: Option<Written>,
}

impl Handler for ImageRegressor {
    fn initialize(context: &Context) -> Result<Self> {
        let (config, own) = section::parted::<Own>(context, NAME, &["labels"])?;
        let pipeline = section::pipeline(config.or(PipelineConfig::torchvision_imagenet()))?;
        let labels = Labels::find(own.labels, &context.model_dir)?;
        let names = labels.list();
        if let Some(twice) = (1..names.len()).find(|place| names[..*place].contains(&names[*place]))
        {
            return Err(section::wrong(&format!(
                "labels: {:?} stands twice; each number needs a name of its own",
                names[twice]
            )));
        }
        Ok(Self { pipeline, labels })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        Ok(vec![input::prepared(request, &self.pipeline)?])
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        input::stages(request, &self.pipeline, self.preprocess(request)?)
    }

    /// A few numbers.
    fn postprocess_is_brief(&self, bytes: usize) -> bool {
        bytes <= answer::BRIEF
    }

    fn postprocess(&self, outputs: Vec<Tensor>, _: &Request) -> Result<Response> {
        let output = answer::first(&outputs)?;
        let numbers = answer::floats(output).filter(|_| output.shape().len() < 2);
        let numbers = numbers.ok_or_else(|| {
            Error::prediction_failed(format!(
                "the model's output is {} of shape {:?} for one request; {NAME} needs float32, [batch, numbers] or [batch]",
                output.dtype().name(),
                output.shape()
            ))
        })?;
        let names = self.labels.list();
        let response = if names.is_empty() {
            Response::json(&numbers)?
        } else if names.len() == numbers.len() {
            Response::json(&Named { names: &names, numbers: &numbers })?
        } else {
            return Err(Error::prediction_failed(format!(
                "the model gave {} numbers; the archive names {}: {}",
                numbers.len(),
                names.len(),
                names.join(", ")
            )));
        };
        Ok(input::with_parity(response, &self.pipeline))
    }

    fn signature(&self) -> Signature {
        // A network of one number may give no side for it.
        let outputs = answer::numbers(&self.labels).filter(|_| self.labels.list().len() > 1);
        input::signature(&self.pipeline, outputs)
    }

    fn describe(&self) -> Map<String, Value> {
        answer::described(&self.labels, &self.pipeline)
    }
}

/// Numbers by name, in the network's order. What is not finite becomes `null`, as in a list.
struct Named<'a> {
    names: &'a [Cow<'a, str>],
    numbers: &'a [f32],
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names.iter().zip(self.numbers))
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mar_handler::{ErrorCode, Part};
    use mar_vision::{RgbImage8, rgb_png};
    use serde_json::json;

    use super::*;
    use crate::section::tests::context;

    fn handler(section: &Value) -> Result<ImageRegressor> {
        ImageRegressor::initialize(&context("no such folder", section))
    }

    fn answered(section: &Value, output: Tensor) -> Result<Response> {
        handler(section)?.postprocess(vec![output], &Request::default())
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(shape, values.to_vec()).unwrap()
    }

    #[test]
    fn an_image_becomes_what_a_classifier_would_see() {
        let image = RgbImage8::new(300, 280, vec![128; 3 * 300 * 280]).unwrap();
        let data = rgb_png(&image).unwrap().into();
        let part = Part { name: "data".into(), content_type: None, data };
        let request = Request { parts: vec![part], ..Request::default() };
        let inputs = handler(&json!({})).unwrap().preprocess(&request).unwrap();
        assert_eq!(inputs[0].shape(), [3, 224, 224]);
        let own = handler(&json!({ "size": [8, 9] })).unwrap().preprocess(&request).unwrap();
        assert_eq!(own[0].shape(), [3, 8, 9]);
    }

    #[test]
    fn numbers_are_a_list_or_have_names() {
        let two = || floats(&[2], &[0.1, -7.0]);
        let response = answered(&json!({}), two()).unwrap();
        assert_eq!(response.body, "[0.1,-7.0]");
        assert_eq!(response.content_type.as_deref(), Some("application/json"));
        assert_eq!(response.headers, [("X-Parity".to_owned(), "exact".to_owned())]);
        let named = json!({ "labels": ["yaw", "pitch"] });
        assert_eq!(answered(&named, two()).unwrap().body, r#"{"yaw":0.1,"pitch":-7.0}"#);
        let one = floats(&[], &[41.5]);
        assert_eq!(answered(&json!({}), one.clone()).unwrap().body, "[41.5]", "[batch] alone");
        assert_eq!(answered(&json!({ "labels": ["age"] }), one).unwrap().body, r#"{"age":41.5}"#);
        let half = Tensor::from_vec(&[1], vec![f16::from_f32(0.5)]).unwrap();
        assert_eq!(answered(&json!({}), half).unwrap().body, "[0.5]");
    }

    #[test]
    fn what_is_not_finite_is_null() {
        let odd = || floats(&[2], &[f32::NAN, f32::INFINITY]);
        assert_eq!(answered(&json!({}), odd()).unwrap().body, "[null,null]");
        let named = json!({ "labels": ["a", "b"] });
        assert_eq!(answered(&named, odd()).unwrap().body, r#"{"a":null,"b":null}"#);
    }

    #[test]
    fn an_output_that_is_no_row_of_numbers_is_an_error() {
        let names = json!({ "labels": ["x", "y"] });
        let whole = Tensor::from_vec(&[2], vec![1_i64, 2]).unwrap();
        for (section, output, words) in [
            (json!({}), floats(&[1, 2], &[1.0, 2.0]), "shape [1, 2] for one request"),
            (json!({}), whole, "is int64 of shape [2]"),
            (names, floats(&[1], &[1.0]), "gave 1 numbers; the archive names 2: x, y"),
        ] {
            let error = answered(&section, output).unwrap_err();
            assert_eq!(error.code(), ErrorCode::PredictionFailed);
            assert!(error.message().contains(words), "{error}");
        }
        let none = handler(&json!({})).unwrap().postprocess(Vec::new(), &Request::default());
        assert!(none.unwrap_err().message().contains("no output"));
    }

    #[test]
    fn a_name_is_one_numbers_alone() {
        let error = handler(&json!({ "labels": ["x", "y", "x"] })).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidModel);
        assert!(error.message().contains("\"x\" stands twice"), "{error}");
        let error = handler(&json!({ "threshold": 1 })).unwrap_err();
        assert!(error.message().contains("image_regressor knows"), "{error}");
    }
}
