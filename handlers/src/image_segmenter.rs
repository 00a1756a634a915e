//! `image_segmenter`: an image in, the class of every pixel and how sure the network is of it out, as
//! TorchServe sends them.

use mar_handler::{
    Batch, Context, DType, Epilogue, Error, Handler, Model, Request, Response, Result, Signature,
    Stage, Tensor,
};
use mar_vision::{Pipeline, PipelineConfig};
use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::{Map, Value};

use crate::{input, section};

/// The name that archives know it by.
pub(crate) const NAME: &str = "image_segmenter";
/// Where a segmentation network's output has its classes: `[batch, classes, height, width]`.
const CLASSES_DIM: usize = 1;

/// Semantic segmentation by a network that takes `[batch, 3, height, width]` floats and gives
/// `[batch, classes, height, width]` scores, or a dictionary with them under `out`: TorchServe's handler
/// of that name.
///
/// An image whose preprocessing the archive does not describe is resized to 256 pixels on its shorter
/// side, cut to 224 x 224 and normalised with `ImageNet`'s moments. The answer is a list of rows of pixels,
/// each `[class, probability]`. That is 1 MB of JSON for 224 x 224 pixels:
/// [`MaskSegmenter`](crate::MaskSegmenter) answers in a hundredth of it.
///
/// Its keys under `handler:` are those of [`PipelineConfig`].
#[derive(Debug)]
pub struct ImageSegmenter {
    pipeline: Pipeline,
}

/// No keys of its own.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Own {}

impl Handler for ImageSegmenter {
    fn initialize(context: &Context) -> Result<Self> {
        let (config, Own {}) = section::parted(context, NAME, &[])?;
        Ok(Self { pipeline: section::pipeline(config.or(PipelineConfig::torchvision_imagenet()))? })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        Ok(vec![input::prepared(request, &self.pipeline)?])
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        input::stages(request, &self.pipeline, self.preprocess(request)?)
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        batch.through(model, Epilogue::ArgMaxWithProbability { dim: CLASSES_DIM })
    }

    fn postprocess(&self, outputs: Vec<Tensor>, _: &Request) -> Result<Response> {
        let pixels = Pixels::of(&outputs)?;
        Ok(input::with_parity(Response::json(&pixels)?, &self.pipeline))
    }

    fn signature(&self) -> Signature {
        input::signature(&self.pipeline, None)
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("preprocessing".into(), self.pipeline.describe().into());
        told
    }
}

/// The answer, written as it is read: no tree of 100 000 values stands in between.
struct Pixels<'a> {
    classes: Classes<'a>,
    probabilities: &'a [f32],
    width: usize,
}

#[derive(Clone, Copy)]
enum Classes<'a> {
    Few(&'a [u8]),
    Many(&'a [i64]),
}

impl<'a> Pixels<'a> {
    fn of(outputs: &'a [Tensor]) -> Result<Self> {
        let [classes, probabilities] = outputs else {
            return Err(Error::prediction_failed(format!(
                "the model gave {} outputs; {NAME} needs scores of shape [batch, classes, height, width]",
                outputs.len()
            )));
        };
        let &[_, width] = classes.shape() else {
            return Err(Error::prediction_failed(format!(
                "the model's mask has shape {:?}; {NAME} needs scores of shape [batch, classes, height, width]",
                classes.shape()
            )));
        };
        let values = match classes.dtype() {
            DType::U8 => Classes::Few(classes.as_slice()?),
            _ => Classes::Many(classes.as_slice()?),
        };
        if probabilities.shape() != classes.shape() {
            return Err(Error::prediction_failed(format!(
                "the runtime gave probabilities of shape {:?} for a mask of shape {:?}",
                probabilities.shape(),
                classes.shape()
            )));
        }
        Ok(Self { classes: values, probabilities: probabilities.as_slice()?, width })
    }

    /// The class of a pixel, a float as in TorchServe's answer.
    #[expect(clippy::cast_precision_loss, reason = "no network has 2^52 classes")]
    fn class(&self, at: usize) -> f64 {
        match self.classes {
            Classes::Few(classes) => classes[at].into(),
            Classes::Many(classes) => classes[at] as f64,
        }
    }
}

impl Serialize for Pixels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.probabilities.chunks(self.width.max(1)).enumerate();
        serializer.collect_seq(rows.map(|(row, probabilities)| Row {
            pixels: self,
            start: row * self.width,
            probabilities,
        }))
    }
}

struct Row<'a> {
    pixels: &'a Pixels<'a>,
    start: usize,
    probabilities: &'a [f32],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(self.probabilities.len()))?;
        for (column, probability) in self.probabilities.iter().enumerate() {
            row.serialize_element(&(self.pixels.class(self.start + column), probability))?;
        }
        row.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use mar_handler::ErrorCode;

    use super::*;
    use crate::section::tests::context;

    fn answered(outputs: Vec<Tensor>) -> Result<Response> {
        let handler = ImageSegmenter::initialize(&context("", &json!({}))).unwrap();
        handler.postprocess(outputs, &Request::default())
    }

    #[test]
    fn every_pixel_is_its_class_and_its_probability() {
        let sure = Tensor::from_vec(&[2, 3], vec![0.5_f32, 1.0, 0.25, 0.75, 0.1, 0.0]).unwrap();
        let few = Tensor::from_vec(&[2, 3], vec![0_u8, 1, 2, 3, 4, 255]).unwrap();
        let response = answered(vec![few, sure.clone()]).unwrap();
        assert_eq!(
            response.body,
            "[[[0.0,0.5],[1.0,1.0],[2.0,0.25]],[[3.0,0.75],[4.0,0.1],[255.0,0.0]]]"
        );
        assert_eq!(response.content_type.as_deref(), Some("application/json"));
        assert_eq!(response.headers, [("X-Parity".to_owned(), "exact".to_owned())]);
        let many = Tensor::from_vec(&[2, 3], vec![300_i64; 6]).unwrap();
        assert!(answered(vec![many, sure]).unwrap().body.starts_with(b"[[[300.0,0.5],"));
    }

    #[test]
    fn an_output_that_is_no_mask_is_an_error_that_says_what_is_needed() {
        let flat = || Tensor::from_vec(&[2], vec![0_u8; 2]).unwrap();
        for (outputs, named) in [(vec![], "0 outputs"), (vec![flat(), flat()], "[2]")] {
            let error = answered(outputs).unwrap_err();
            assert_eq!(error.code(), ErrorCode::PredictionFailed);
            assert!(error.message().contains(named), "{error}");
            assert!(error.message().contains("[batch, classes, height, width]"), "{error}");
        }
    }

    #[test]
    fn more_probabilities_than_pixels_are_an_error() {
        let classes = Tensor::from_vec(&[1, 2], vec![0_u8; 2]).unwrap();
        let error = answered(vec![classes, Tensor::from_vec(&[1, 3], vec![0_f32; 3]).unwrap()]);
        let error = error.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.message().contains("[1, 3] for a mask of shape [1, 2]"), "{error}");
    }

    #[test]
    fn a_key_that_it_does_not_know_is_named() {
        let error =
            ImageSegmenter::initialize(&context("", &json!({ "palette": [] }))).unwrap_err();
        assert!(error.message().contains("\"palette\"; image_segmenter knows: parity"), "{error}");
    }
}
