//! The handlers that marserve brings along, one module each.
//!
//! A handler depends on the contract and on pixels, never on a protocol or a tensor library.
#![warn(missing_docs)]

mod answer;
mod image_classifier;
mod image_regressor;
mod image_segmenter;
mod in_base64;
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
pub use image_regressor::ImageRegressor;
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
        Registration::of::<ImageRegressor>(image_regressor::NAME),
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
        image_classifier::NAME | image_regressor::NAME | image_segmenter::NAME => {
            PipelineConfig::torchvision_imagenet()
        }
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
    use mar_handler::{
        Context, DType, ErrorCode, Part, Request, Signature, Stage, Tensor, TensorSpec,
    };
    use mar_vision::{RgbImage8, rgb_png};
    use serde_json::json;

    use super::*;
    use crate::section::tests::context;

    const OF_IMAGES: [&str; 5] = [
        image_classifier::NAME,
        image_regressor::NAME,
        image_segmenter::NAME,
        mask_segmenter::NAME,
        object_detector::NAME,
    ];

    /// A picture of 6 x 4 pixels of this colour.
    fn picture(colour: [u8; 3]) -> Vec<u8> {
        rgb_png(&RgbImage8::new(6, 4, colour.repeat(24)).unwrap()).unwrap()
    }

    /// What the handler of this name makes of a body on the way to its network.
    fn stages(
        name: &str,
        context: &Context,
        body: Vec<u8>,
        content_type: Option<&str>,
    ) -> Result<Vec<Stage>> {
        let handler = all().into_iter().find(|known| known.name() == name).unwrap();
        let content_type = content_type.map(str::to_owned);
        let part = Part { name: "body".into(), content_type, data: body.into() };
        let request = Request { parts: vec![part], ..Request::default() };
        handler.initialize(context)?.stages(&request)
    }

    fn names(stages: &[Stage]) -> Vec<&str> {
        stages.iter().map(|stage| stage.name).collect()
    }

    fn levels(stage: &Stage) -> (&[usize], &[u8]) {
        let [tensor] = &stage.tensors[..] else { panic!("{stage:?}") };
        (tensor.shape(), tensor.as_slice().unwrap())
    }

    #[test]
    fn every_handler_of_images_shows_three_steps() {
        let section =
            json!({ "size": 2, "channel_order": "bgr", "mean": [0, 0, 1], "std": 1, "scale": 1 });
        let context = context("no such folder", &section);
        for name in OF_IMAGES {
            let steps = stages(name, &context, picture([10, 20, 30]), None).unwrap();
            assert_eq!(names(&steps), ["decode", "resize", "normalise"], "{name}");
            // Red first, and no number of the archive's, until the last.
            assert_eq!(levels(&steps[0]), (&[4, 6, 3][..], &[10, 20, 30].repeat(24)[..]), "{name}");
            assert_eq!(levels(&steps[1]), (&[2, 2, 3][..], &[10, 20, 30].repeat(4)[..]), "{name}");
            let seen = [[30.0; 4], [20.0; 4], [9.0_f32; 4]].concat();
            let seen = vec![Tensor::from_vec(&[3, 2, 2], seen).unwrap()];
            assert_eq!(steps[2].tensors, seen, "{name}");
        }
    }

    #[test]
    fn gray_has_one_channel_from_the_first_step_on() {
        let context = context("no such folder", &json!({ "size": 2, "color_mode": "L" }));
        let steps = stages("image_classifier", &context, picture([90; 3]), None).unwrap();
        assert_eq!(levels(&steps[0]), (&[4, 6, 1][..], &[90; 24][..]));
        assert_eq!(levels(&steps[1]), (&[2, 2, 1][..], &[90; 4][..]));
        assert_eq!(steps[2].tensors[0].shape(), [1, 2, 2]);
    }

    #[test]
    fn the_fast_tier_shows_no_image_that_it_never_has() {
        let context = context("no such folder", &json!({ "size": 2, "parity": "fast" }));
        for name in OF_IMAGES {
            let steps = stages(name, &context, picture([9; 3]), None).unwrap();
            assert_eq!(names(&steps), ["resize", "normalise"], "{name}");
        }
    }

    #[test]
    fn what_is_no_picture_has_one_step() {
        let context = context("no such folder", &json!({}));
        for name in ["image_classifier", "image_regressor", "tensor"] {
            let numbers = b"[[[1, 2]], [[3, 4]], [[5, 6]]]".to_vec();
            let json = Some("application/json");
            let steps = stages(name, &context, numbers, json).unwrap();
            assert_eq!(names(&steps), ["preprocess"], "{name}");
            assert_eq!(steps[0].tensors[0].shape(), [3, 1, 2]);
            assert_eq!(steps[0].tensors[0].dtype(), DType::F32);
        }
    }

    #[test]
    fn steps_that_cannot_be_shown_say_why() {
        let of = |name: &str, section: &Value, body: &'static str| {
            stages(name, &context("no such folder", section), body.into(), None)
        };
        for name in OF_IMAGES {
            let error = of(name, &json!({}), "hello").unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidInput, "{name}");
            let error = of(name, &json!({ "sise": 3 }), "hello").unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel, "{name}");
        }
    }

    /// What the handler of this name knows of its network: inputs and outputs, each with its type and sides.
    fn knows(name: &str, section: &serde_json::Value) -> [Option<Vec<String>>; 2] {
        let context = context("no such folder", section);
        let handler = all().into_iter().find(|known| known.name() == name).unwrap();
        let Signature { inputs, outputs } = handler.initialize(&context).unwrap().signature();
        [inputs, outputs].map(|specs| {
            let side = |side: Option<usize>| side.map_or("-1".into(), |side| side.to_string());
            let spec = |spec: TensorSpec| {
                let dtype = spec.dtype.map_or("?", DType::datatype);
                let sides = spec
                    .shape
                    .map(|sides| sides.into_iter().map(side).collect::<Vec<_>>().join(","));
                format!("{} {dtype} {}", spec.name, sides.unwrap_or_else(|| "?".into()))
            };
            specs.map(|specs| specs.into_iter().map(spec).collect())
        })
    }

    #[test]
    fn handlers_know_their_networks() {
        let some = |specs: &[&str]| Some(specs.iter().map(ToString::to_string).collect());
        let labels = json!({ "labels": ["a", "b", "c"] });
        let image = some(&["input FP32 -1,3,224,224"]);
        let scores = some(&["output FP32 -1,3"]);
        assert_eq!(knows("image_classifier", &labels), [image.clone(), scores.clone()]);
        assert_eq!(knows("image_regressor", &labels), [image.clone(), scores]);
        assert_eq!(knows("image_regressor", &json!({ "labels": ["age"] })), [image.clone(), None]);
        assert_eq!(knows("image_segmenter", &json!({})), [image, None]);
        for (section, input) in [
            (json!({}), "input FP32 -1,3,-1,-1"),
            (json!({ "size": [4, 6], "dtype": "float16" }), "input FP16 -1,3,4,6"),
            (json!({ "size": 8, "resize": "shorter" }), "input FP32 -1,3,-1,-1"),
            (json!({ "size": 8, "resize": "shorter", "center_crop": 6 }), "input FP32 -1,3,6,6"),
            (json!({ "size": 4, "color_mode": "L" }), "input FP32 -1,1,4,4"),
            (json!({ "size": 4, "dtype": "uint8", "layout": "hwc" }), "input UINT8 -1,4,4,3"),
        ] {
            assert_eq!(knows("mask_segmenter", &section), [some(&[input]), None], "{section}");
        }
        assert_eq!(knows("object_detector", &json!({})), [None, None]);

        let one = some(&["input FP32 ?"]);
        assert_eq!(knows("tensor", &json!({})), [one, None]);
        let inputs = json!([{ "name": "ids", "dtype": "int64", "shape": [-1] }, { "name": "flag", "dtype": "bool", "shape": [] }]);
        let declared = json!({ "inputs": inputs, "outputs": ["y"] });
        let two = some(&["ids INT64 -1,-1", "flag BOOL -1"]);
        assert_eq!(knows("tensor", &declared), [two, some(&["y ? ?"])]);
        let columns = json!({ "columns": {
            "categorical": [{ "name": "job", "categories": ["a"] }],
            "continuous": [{ "name": "age" }, { "name": "height" }],
        } });
        let both = some(&["x_cat INT64 -1,1", "x_cont FP32 -1,2"]);
        assert_eq!(knows("tensor", &columns), [both, None]);
        let numbers = json!({ "columns": { "continuous": [{ "name": "age" }] } });
        assert_eq!(knows("tensor", &numbers), [some(&["x_cont FP32 -1,1"]), None]);
    }

    #[test]
    fn networks_that_are_given_no_stacked_requests_take_no_rows() {
        for registration in all() {
            let name = registration.name();
            if name == "text_classifier" {
                // It needs a vocabulary; its own tests have one.
                continue;
            }
            let handler = registration.initialize(&context("no such folder", &json!({}))).unwrap();
            assert_eq!(handler.stacks(), name != "object_detector", "{name}");
        }
    }

    #[test]
    fn preprocessing_is_told_from_the_configuration_alone() {
        let told = |handler: &str, config: &Value| {
            preprocessing(handler, config.as_object().unwrap()).map(|told| told.unwrap())
        };
        let torchserves = told("image_classifier", &json!({ "minWorkers": 1 })).unwrap();
        assert!(torchserves.contains("resize the shorter side to 256"), "{torchserves}");
        assert!(torchserves.contains("crop the centre 224x224"), "{torchserves}");
        assert_eq!(told("image_regressor", &json!({})).as_ref(), Some(&torchserves));
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
