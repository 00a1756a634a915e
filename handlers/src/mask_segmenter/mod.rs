//! `mask_segmenter`: an image in, the class of every pixel out, in the form that was asked for.

mod accept;
mod answer;
mod binary;
mod config;
mod options;
#[cfg(test)]
mod tests;
mod told;

use mar_handler::{
    Batch, Context, DType, Epilogue, Error, ErrorCode, Handler, Model, Request, Response, Result,
    Signature, Stage, Tensor,
};
use mar_vision::{Geometry, RgbImage8, decode_oriented};
use serde_json::{Map, Value};

use answer::Mask;
use config::Config;
use options::{Options, Pixels};

use crate::answer::first;
use crate::input::{self, unreadable};

/// The name that archives know it by.
pub(crate) const NAME: &str = "mask_segmenter";
/// Where a segmentation network's output has its classes: `[batch, classes, height, width]`.
const CLASSES_DIM: usize = 1;

/// Semantic segmentation by a network that takes `[batch, 3, height, width]` numbers and gives
/// `[batch, classes, height, width]` scores.
///
/// The answer is JSON with the mask's bytes as base64, or what the query's `format` or the `Accept` header
/// asks for: a PNG, run lengths, polygons, areas, a `NumPy` file, bytes, an overlay. `docs/masks.md` has them
/// all, with the parameters that go with them.
///
/// Its keys under `handler:` are `labels`, `palette`, `answer`, `threshold` and those of
/// [`PipelineConfig`](mar_vision::PipelineConfig).
#[derive(Debug)]
pub struct MaskSegmenter {
    config: Config,
}

/// What `postprocess` has to know of a request.
struct Kept {
    geometry: Geometry,
    options: Options,
}

impl Handler for MaskSegmenter {
    fn initialize(context: &Context) -> Result<Self> {
        Ok(Self { config: Config::read(context)? })
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        let options = self.config.answer.of(request, &self.config.labels)?;
        let prepared = self.config.pipeline.run(&input::file(request)?).map_err(unreadable)?;
        let needs_confidence = options.needs_confidence();
        let answered = match options.size {
            Pixels::Network => prepared.geometry.size(),
            Pixels::Original => prepared.geometry.original,
        };
        options.check_bytes(request, answered)?;
        request.kept.set(Kept { geometry: prepared.geometry, options });
        let mut inputs = vec![input::tensor(prepared)?];
        if needs_confidence {
            // A tensor of nothing, which no network sees. Batches are made of requests whose tensors are
            // alike, so those that want the confidence, for which the network's answer is read otherwise,
            // get batches of their own.
            inputs.push(Tensor::from_vec(&[0], Vec::<u8>::new())?);
        }
        Ok(inputs)
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        let mut tensors = self.preprocess(request)?;
        // What parts the batches is no step of an image.
        tensors.truncate(1);
        input::stages(request, &self.config.pipeline, tensors)
    }

    fn inference(&self, model: &dyn Model, batch: Batch) -> Result<Vec<Vec<Tensor>>> {
        let len = batch.len();
        let mut inputs = batch.into_tensors();
        let confident = inputs.len() > 1;
        inputs.truncate(1);
        if let Some(threshold) = self.config.threshold {
            let outputs = model.forward(inputs, Epilogue::None)?;
            return binary::masks(&outputs, len, (threshold, confident));
        }
        let epilogue = if confident {
            Epilogue::ArgMaxWithProbability { dim: CLASSES_DIM }
        } else {
            Epilogue::ArgMax { dim: CLASSES_DIM }
        };
        let mut outputs = model.forward(inputs, epilogue)?;
        // A network may give more, such as the scores of an auxiliary head.
        outputs.truncate(1 + usize::from(confident));
        Batch::new(outputs, len)?.split()
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        let Kept { geometry, options } = request
            .kept
            .get()
            .ok_or_else(|| Error::new(ErrorCode::Internal, "the request was never preprocessed"))?;
        let (classes, [height, width]) = classes(&outputs)?;
        let confidence = if options.needs_confidence() {
            Some(confidence(&outputs, classes.len())?)
        } else {
            None
        };
        let config = &self.config;
        let response = match options.size {
            Pixels::Network => {
                let mask = Mask { width, height, classes, confidence, geometry: *geometry };
                let image = || config.pipeline.pixels(&input::file(request)?).map_err(unreadable);
                mask.answer(options, config, image)?
            }
            Pixels::Original => {
                let seen = geometry.size();
                if [seen.height, seen.width] != [height, width] {
                    return Err(Error::prediction_failed(format!(
                        "the model's mask has {height}x{width} pixels (height x width) for an input of {}x{}; size=original needs a mask of the input's size",
                        seen.height, seen.width
                    )));
                }
                let classes = &geometry.restore(classes, options.fill);
                let confidence = confidence.map(|values| geometry.restore(values, 0.0));
                let mask = Mask {
                    width: geometry.original.width,
                    height: geometry.original.height,
                    classes,
                    confidence: confidence.as_deref(),
                    geometry: *geometry,
                };
                mask.answer(options, config, || self.original(request))?
            }
        };
        Ok(input::with_parity(response, &config.pipeline))
    }

    fn signature(&self) -> Signature {
        input::signature(&self.config.pipeline, None)
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("labels".into(), self.config.labels.clone().into());
        let palette = self.config.palette.iter().map(|colour| colour.to_vec()).collect::<Vec<_>>();
        told.insert("palette".into(), palette.into());
        told.insert("preprocessing".into(), self.config.pipeline.describe().into());
        told
    }
}

impl MaskSegmenter {
    /// The image as it was sent. It is decoded again rather than kept, so that requests which wait hold no
    /// second copy of their pixels.
    fn original(&self, request: &Request) -> Result<RgbImage8> {
        decode_oriented(&input::file(request)?, &self.config.limits, self.config.exif)
            .map_err(unreadable)
    }
}

/// The mask that the network gave, and its height and width.
fn classes(outputs: &[Tensor]) -> Result<(&[u8], [u32; 2])> {
    let mask = first(outputs)?;
    let sides: Vec<u32> =
        mask.shape().iter().filter_map(|side| u32::try_from(*side).ok()).collect();
    let sides = <[u32; 2]>::try_from(sides).ok().filter(|_| mask.shape().len() == 2).ok_or_else(|| {
        Error::prediction_failed(format!(
            "the model's mask has shape {:?}; {NAME} needs scores of shape [batch, classes, height, width]",
            mask.shape()
        ))
    })?;
    if mask.dtype() != DType::U8 {
        return Err(Error::prediction_failed(format!(
            "the model has more than 256 classes; {NAME} gives one byte a pixel"
        )));
    }
    Ok((mask.as_slice()?, sides))
}

/// How sure the network is of each of so many pixels.
fn confidence(outputs: &[Tensor], pixels: usize) -> Result<&[f32]> {
    let values = outputs.get(1).filter(|values| values.dtype() == DType::F32);
    let values = values.map(Tensor::as_slice).transpose()?.filter(|v: &&[f32]| v.len() == pixels);
    values.ok_or_else(|| Error::prediction_failed("the runtime gave no confidence for each pixel"))
}
