//! The handlers that marserve brings along, one module each.
//!
//! A handler depends on the contract and on pixels, never on a protocol or a tensor library.
#![warn(missing_docs)]

mod answer;
mod image_classifier;
mod image_segmenter;
mod input;
mod known;
mod labels;
mod mask_segmenter;
mod numbers;
mod object_detector;
mod section;
mod tensor;
mod text_classifier;

use mar_handler::{Registration, Result};
use mar_vision::PipelineConfig;
use serde_json::{Map, Value};

pub use image_classifier::ImageClassifier;
pub use image_segmenter::ImageSegmenter;
pub use known::{Distance, MaskAnswer, Preprocessing, Seen, SeenTensor};
pub use mask_segmenter::MaskSegmenter;
pub use object_detector::ObjectDetector;
pub use tensor::TensorHandler;
pub use text_classifier::TextClassifier;

/// Every handler here, under the name that archives know it by.
pub fn all() -> Vec<Registration> {
    vec![
        Registration::of::<ImageClassifier>(image_classifier::NAME),
        Registration::of::<ImageSegmenter>(image_segmenter::NAME),
        Registration::of::<MaskSegmenter>(mask_segmenter::NAME),
        Registration::of::<ObjectDetector>(object_detector::NAME),
        Registration::of::<TensorHandler>(tensor::NAME),
        Registration::of::<TextClassifier>(text_classifier::NAME),
    ]
}

/// What a handler of this name does to an image, in one sentence, where an archive's `model-config.yaml`
/// is `config`. `None` where there is no such handler here, or it takes no images.
///
/// Only the keys that say something of pixels are read: labels and other files need the archive.
pub fn preprocessing(handler: &str, config: &Map<String, Value>) -> Option<Result<String>> {
    let defaults = match handler {
        image_classifier::NAME | image_segmenter::NAME => PipelineConfig::torchvision_imagenet(),
        object_detector::NAME => PipelineConfig::to_tensor(),
        mask_segmenter::NAME => PipelineConfig::default(),
        _ => return None,
    };
    let pipeline =
        section::pipeline_keys(config).and_then(|config| section::pipeline(config.or(defaults)));
    Some(pipeline.map(|pipeline| pipeline.describe()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn preprocessing_is_told_from_the_configuration_alone() {
        let told = |handler: &str, config: &Value| {
            preprocessing(handler, config.as_object().unwrap()).map(|told| told.unwrap())
        };
        let torchserves = told("image_classifier", &json!({ "minWorkers": 1 })).unwrap();
        assert!(torchserves.contains("resize the shorter side to 256"), "{torchserves}");
        assert!(torchserves.contains("crop the centre 224x224"), "{torchserves}");
        assert_eq!(told("image_segmenter", &json!({})), Some(torchserves));
        let own = told("image_classifier", &json!({ "handler": { "size": 96, "top_k": 3 } }));
        assert!(own.unwrap().contains("squish to 96x96"));
        let native = told("mask_segmenter", &json!({})).unwrap();
        assert!(!native.contains("resize") && native.contains("normalise"), "{native}");
        let unscaled = told("object_detector", &json!({})).unwrap();
        assert!(!unscaled.contains("0.485"), "{unscaled}");
        assert_eq!(told("tensor", &json!({})), None);
        assert_eq!(told("my_handler.py", &json!({})), None);
        let wrong = json!({ "handler": { "size": "big" } });
        let error = preprocessing("image_classifier", wrong.as_object().unwrap()).unwrap();
        assert!(error.unwrap_err().message().contains("size"));
    }
}
