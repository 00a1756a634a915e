//! Masks of networks with one logit a pixel, where the archive says how sure of "yes" is sure enough. Runtimes
//! know one half alone.

use mar_handler::{Batch, Error, Result, Tensor};

use super::NAME;
use crate::answer::{first, floats};

/// From a batch's logits, `[batch, 1, height, width]`, to each request's mask: 1 where the sigmoid is above
/// `threshold`, as in `FastAI`'s `BCEWithLogitsLossFlat`. With `confident` a second tensor says how likely the
/// side is that a pixel is on.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`](mar_handler::ErrorCode::PredictionFailed) where the network gave something
/// else.
pub(super) fn masks(
    outputs: &[Tensor],
    len: usize,
    (threshold, confident): (f32, bool),
) -> Result<Vec<Vec<Tensor>>> {
    let logits = first(outputs)?;
    let unusable = || {
        Error::prediction_failed(format!(
            "the model's output is {} of shape {:?}; {NAME} with a threshold needs one logit a pixel, float32 [batch, 1, height, width]",
            logits.dtype().name(),
            logits.shape()
        ))
    };
    let &[_, 1, height, width] = logits.shape() else { return Err(unusable()) };
    let probabilities: Vec<f32> =
        floats(logits).ok_or_else(unusable)?.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let classes: Vec<u8> = probabilities.iter().map(|p| u8::from(*p > threshold)).collect();
    let shape = [logits.shape()[0], height, width];
    let mut tensors = Vec::with_capacity(2);
    if confident {
        let side = |(class, p): (&u8, &f32)| if *class == 1 { *p } else { 1.0 - *p };
        let sure = classes.iter().zip(&probabilities).map(side).collect();
        tensors.push(Tensor::from_vec::<f32>(&shape, sure)?);
    }
    tensors.insert(0, Tensor::from_vec(&shape, classes)?);
    Batch::new(tensors, len)?.split()
}

#[cfg(test)]
mod tests {
    use half::f16;
    use mar_handler::{Device, Epilogue, ErrorCode, Handler, Model, Part, Request, Stage};
    use mar_vision::{RgbImage8, rgb_png};
    use serde_json::{Value, json};

    use super::*;
    use crate::MaskSegmenter;
    use crate::section::tests::context;

    /// A network that has one logit for every pixel, whatever it sees.
    struct Logits(Tensor);

    impl Model for Logits {
        fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
            assert_eq!((inputs.len(), epilogue), (1, Epilogue::None));
            Ok(vec![self.0.clone()])
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    fn handler(section: &Value) -> Result<MaskSegmenter> {
        MaskSegmenter::initialize(&context("", section))
    }

    fn request(query: &[(&str, &str)]) -> Request {
        let image = rgb_png(&RgbImage8::new(2, 2, vec![0; 12]).unwrap()).unwrap();
        let part = Part { name: "body".into(), content_type: None, data: image.into() };
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Request { parts: vec![part], query, ..Request::default() }
    }

    fn answered(section: &Value, logits: Tensor, query: &[(&str, &str)]) -> Result<Vec<u8>> {
        let (handler, request) = (handler(section)?, request(query));
        let batch = Batch::stack(vec![handler.preprocess(&request)?])?;
        let outputs = handler.inference(&Logits(logits), batch)?.remove(0);
        Ok(handler.postprocess(outputs, &request)?.body.to_vec())
    }

    /// Logits whose sigmoids are 0.2, 0.5, 0.731... and 0.8.
    fn logits() -> Tensor {
        Tensor::from_vec(&[1, 1, 2, 2], vec![-(4_f32.ln()), 0.0, 1.0, 4_f32.ln()]).unwrap()
    }

    #[test]
    fn a_pixel_is_one_where_the_network_is_surer_than_the_archive_asks() {
        let mask = |threshold: f32| {
            let section = json!({ "threshold": threshold });
            answered(&section, logits(), &[("format", "raw")]).unwrap()
        };
        assert_eq!(mask(0.1), [1, 1, 1, 1]);
        assert_eq!(mask(0.5), [0, 0, 1, 1], "0.5 itself is not above it");
        assert_eq!(mask(0.75), [0, 0, 0, 1]);
        assert_eq!(mask(0.9), [0, 0, 0, 0]);
    }

    #[test]
    fn the_confidence_is_that_of_the_side_a_pixel_is_on() {
        let section = json!({ "threshold": 0.75, "labels": ["ground", "thing"] });
        let told = answered(&section, logits(), &[("format", "areas"), ("confidence", "true")]);
        let told: Value = serde_json::from_slice(&told.unwrap()).unwrap();
        let sure = |place: usize| told["areas"][place]["confidence"].as_f64().unwrap();
        let ground = (0.8 + 0.5 + (1.0 - 1.0 / (1.0 + (-1_f64).exp()))) / 3.0;
        assert!((sure(0) - ground).abs() < 1e-6, "{told}");
        assert!((sure(1) - 0.8).abs() < 1e-6, "{told}");
        // Such requests have batches of their own, which is no step of the image.
        let asked = request(&[("format", "areas"), ("confidence", "true")]);
        let steps = handler(&section).unwrap().stages(&asked).unwrap();
        let last = steps.last().unwrap();
        assert_eq!((last.name, last.tensors.len()), (Stage::NORMALISE, 1));
    }

    #[test]
    fn every_request_of_a_batch_has_its_own_mask() {
        let two = Tensor::from_vec(&[2, 1, 1, 2], [1.0, -1.0, 2.0, 3.0].map(f16::from_f32).into());
        let masks = masks(&[two.unwrap()], 2, (0.5, false)).unwrap();
        let classes: Vec<&[u8]> = masks.iter().map(|mask| mask[0].as_slice().unwrap()).collect();
        assert_eq!(classes, [[1, 0], [1, 1]]);
        assert_eq!(masks[0][0].shape(), [1, 2]);
    }

    #[test]
    fn a_threshold_is_for_networks_with_one_logit() {
        for (shape, words) in [
            (&[1, 2, 2, 2][..], "of shape [1, 2, 2, 2]; mask_segmenter with a threshold"),
            (&[1, 2, 2], "needs one logit a pixel"),
        ] {
            let scores = Tensor::from_vec(shape, vec![0_f32; shape.iter().product()]).unwrap();
            let error = answered(&json!({ "threshold": 0.5 }), scores, &[]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::PredictionFailed);
            assert!(error.message().contains(words), "{error}");
        }
        for threshold in [json!(1), json!(-0.5), json!("half")] {
            let error = handler(&json!({ "threshold": threshold })).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidModel, "{threshold}");
        }
    }
}
