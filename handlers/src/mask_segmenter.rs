//! `mask_segmenter`: an image in, the class of every pixel out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mar_handler::{
    Batch, Context, DType, Epilogue, Error, ErrorCode, Handler, Model, Request, Response, Result,
    Tensor,
};
use mar_vision::{Pipeline, PipelineConfig, Prepared, Samples, voc_palette};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a segmentation network's output has its classes: `[batch, classes, height, width]`.
const CLASSES_DIM: usize = 1;

/// Semantic segmentation by a network that takes `[batch, 3, height, width]` floats and gives
/// `[batch, classes, height, width]` scores.
///
/// The response is JSON: `base64_prediction`, the mask's `height * width` bytes, row by row, one class a
/// byte; `shape`, `[height, width]`; `dtype`, `uint8`; and, where the archive names them, `labels` and
/// `palette`, one entry a class.
///
/// Its keys under `handler:` are `labels`, `palette` and those of
/// [`PipelineConfig`].
#[derive(Debug)]
pub struct MaskSegmenter {
    pipeline: Pipeline,
    labels: Vec<String>,
    palette: Vec<[u8; 3]>,
}

/// The keys that are not the pipeline's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Classes {
    /// One name a class, in the order of the network's channels.
    labels: Vec<String>,
    /// One red, green and blue triple a class; by default PASCAL VOC's colours.
    palette: Option<Vec<[u8; 3]>>,
}

impl Classes {
    const KEYS: [&str; 2] = ["labels", "palette"];
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    base64_prediction: String,
    shape: &'a [usize],
    dtype: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    palette: &'a [[u8; 3]],
}

impl Handler for MaskSegmenter {
    fn initialize(context: &Context) -> Result<Self> {
        let (pipeline, classes) = part_keys(context.handler_section()?)?;
        let pipeline: PipelineConfig = settings(pipeline)?;
        let pipeline = Pipeline::new(pipeline).map_err(|error| wrong(&error))?;
        let Classes { labels, palette } = settings(classes)?;
        let palette = palette.unwrap_or_else(|| voc_palette(labels.len()));
        if !labels.is_empty() && palette.len() != labels.len() {
            return Err(wrong(&format!(
                "palette has {} colours for {} labels; give one a label, or leave it out",
                palette.len(),
                labels.len()
            )));
        }
        Ok(Self { pipeline, labels, palette })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        let prepared = self
            .pipeline
            .run(&request.payload()?.data)
            .map_err(|error| Error::invalid_input(error.to_string()).caused_by(error))?;
        request.kept.set(prepared.geometry);
        Ok(vec![tensor(prepared)?])
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        let len = batch.len();
        let epilogue = Epilogue::ArgMax { dim: CLASSES_DIM };
        Batch::new(model.forward(batch.into_tensors(), epilogue)?, len)?.split()
    }

    fn postprocess(&self, outputs: Vec<Tensor>, _: &Request) -> Result<Response> {
        let failed = |message: String| Error::new(ErrorCode::PredictionFailed, message);
        let mask = outputs.first().ok_or_else(|| failed("the model gave no output".into()))?;
        if mask.shape().len() != 2 {
            return Err(failed(format!(
                "the model's mask has shape {:?}; mask_segmenter needs scores of shape [batch, classes, height, width]",
                mask.shape()
            )));
        }
        if mask.dtype() != DType::U8 {
            return Err(failed(
                "the model has more than 256 classes; mask_segmenter gives one byte a pixel".into(),
            ));
        }
        Response::json(&Answer {
            base64_prediction: STANDARD.encode(mask.bytes()),
            shape: mask.shape(),
            dtype: mask.dtype().name(),
            labels: &self.labels,
            palette: &self.palette,
        })
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("labels".into(), self.labels.clone().into());
        let palette = self.palette.iter().map(|colour| colour.to_vec()).collect::<Vec<_>>();
        told.insert("palette".into(), palette.into());
        told
    }
}

fn tensor(Prepared { samples, shape, .. }: Prepared) -> Result<Tensor> {
    match samples {
        Samples::U8(values) => Tensor::from_vec(&shape, values),
        Samples::F32(values) => Tensor::from_vec(&shape, values),
        Samples::F16(values) => Tensor::from_vec(&shape, values),
    }
}

/// Parts the section into the pipeline's keys and the handler's own; a key that is neither is an error.
fn part_keys(section: Map<String, Value>) -> Result<(Map<String, Value>, Map<String, Value>)> {
    let (mut pipeline, mut own) = (Map::new(), Map::new());
    for (key, value) in section {
        if PipelineConfig::KEYS.contains(&key.as_str()) {
            pipeline.insert(key, value);
        } else if Classes::KEYS.contains(&key.as_str()) {
            own.insert(key, value);
        } else {
            let known = [&PipelineConfig::KEYS[..], &Classes::KEYS].concat().join(", ");
            return Err(wrong(&format!("unknown key \"{key}\"; mask_segmenter knows: {known}")));
        }
    }
    Ok((pipeline, own))
}

fn settings<T: serde::de::DeserializeOwned>(keys: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(keys)).map_err(|error| wrong(&error))
}

fn wrong(reason: &dyn std::fmt::Display) -> Error {
    Error::invalid_model(format!("handler: in model-config.yaml: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mar_handler::{Device, Part};
    use mar_vision::{RgbImage8, rgb_png};
    use serde_json::json;

    use super::*;

    /// A network whose class is 1 where the pixel is red above the mean, else 0.
    struct RedIsOne;

    impl Model for RedIsOne {
        fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
            assert_eq!(epilogue, Epilogue::ArgMax { dim: 1 }, "the mask crosses, not the scores");
            let shape = inputs[0].shape().to_vec();
            let planes = inputs[0].view::<f32>()?;
            let red = planes.index_axis(ndarray::Axis(1), 0);
            let mask = red.iter().map(|value| u8::from(*value > 0.0)).collect();
            Ok(vec![Tensor::from_vec(&[shape[0], shape[2], shape[3]], mask)?])
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    fn handler(section: &Value) -> Result<MaskSegmenter> {
        let config = json!({ "handler": section });
        MaskSegmenter::initialize(&Context {
            model_name: "m".into(),
            model_version: "1.0".into(),
            model_dir: PathBuf::new(),
            config: config.as_object().unwrap().clone(),
        })
    }

    fn request(data: Vec<u8>) -> Request {
        let part = Part { name: "data".into(), content_type: None, data: data.into() };
        Request { parts: vec![part], ..Request::default() }
    }

    /// Red on the left, blue on the right.
    fn half_red() -> Vec<u8> {
        let pixels = [[255, 0, 0], [0, 0, 255]].concat().repeat(2);
        rgb_png(&RgbImage8::new(2, 2, pixels).unwrap()).unwrap()
    }

    #[test]
    fn an_image_goes_in_and_its_mask_comes_out() {
        let handler = handler(&json!({ "labels": ["other", "red"] })).unwrap();
        let request = request(half_red());
        let inputs = handler.preprocess(&request).unwrap();
        assert_eq!(inputs[0].shape(), [3, 2, 2]);
        let batch = Batch::stack(vec![inputs]).unwrap();
        let outputs = handler.inference(&RedIsOne, batch).unwrap().remove(0);
        let response = handler.postprocess(outputs, &request).unwrap();
        assert_eq!(response.content_type.as_deref(), Some("application/json"));
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(
            answer,
            json!({
                "base64_prediction": "AQABAA==", // 1 0 1 0
                "shape": [2, 2],
                "dtype": "uint8",
                "labels": ["other", "red"],
                "palette": [[0, 0, 0], [128, 0, 0]],
            })
        );
    }

    #[test]
    fn clients_can_ask_for_labels_and_colours() {
        let handler = handler(&json!({ "labels": ["other", "red"] })).unwrap();
        let told = json!({ "labels": ["other", "red"], "palette": [[0, 0, 0], [128, 0, 0]] });
        assert_eq!(Value::Object(handler.describe()), told);
    }

    #[test]
    fn labels_and_palette_are_left_out_where_the_archive_has_none() {
        let handler = handler(&json!({})).unwrap();
        let mask = Tensor::from_vec(&[1, 2], vec![0_u8, 3]).unwrap();
        let response = handler.postprocess(vec![mask], &Request::default()).unwrap();
        let answer: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(answer, json!({"base64_prediction": "AAM=", "shape": [1, 2], "dtype": "uint8"}));
    }

    #[test]
    fn a_body_that_is_no_image_is_the_clients_fault() {
        let handler = handler(&json!({ "max_image_pixels": 3 })).unwrap();
        let mut truncated = half_red();
        truncated.truncate(truncated.len() / 2);
        for body in [Vec::new(), b"hello".to_vec(), truncated, half_red()] {
            let error = handler.preprocess(&request(body)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{error}");
        }
    }

    #[test]
    fn settings_that_do_not_fit_name_their_key() {
        for (section, named) in [
            (json!({ "sise": 3 }), "\"sise\""),
            (json!({ "size": "big" }), "size"),
            (json!({ "std": [0.0, 1.0, 1.0] }), "std"),
            (json!({ "labels": [1] }), "expected a string"),
            (json!({ "labels": ["a"], "palette": [[0, 0, 0], [1, 1, 1]] }), "palette has 2"),
            (json!({ "palette": [[0, 0, 256]] }), "256"),
        ] {
            let error = handler(&section).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains(named), "{error}");
            assert!(error.message().contains("model-config.yaml"), "{error}");
        }
    }

    #[test]
    fn an_output_that_is_no_mask_is_an_error_that_says_what_is_needed() {
        let handler = handler(&json!({})).unwrap();
        let fail = |outputs| handler.postprocess(outputs, &Request::default()).unwrap_err();
        let flat = Tensor::from_vec(&[4], vec![0_u8; 4]).unwrap();
        assert!(fail(vec![flat]).message().contains("[4]"));
        let wide = Tensor::from_vec(&[1, 1], vec![300_i64]).unwrap();
        assert!(fail(vec![wide]).message().contains("256 classes"));
        assert!(fail(Vec::new()).message().contains("no output"));
    }
}
