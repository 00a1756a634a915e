//! What an archive says of its classes and their pixels: the keys under `handler:`.

use mar_handler::{Context, Result};
use mar_vision::{DecodeLimits, Exif, Pipeline, voc_palette};
use serde::Deserialize;

use super::NAME;
use super::options::Options;
use crate::labels::{Labels, Written};
use crate::section::{parted, pipeline, wrong};

/// An archive's section, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) pipeline: Pipeline,
    /// How the pipeline decodes.
    pub(super) limits: DecodeLimits,
    pub(super) exif: Exif,
    pub(super) labels: Vec<String>,
    /// One colour a label.
    pub(super) palette: Vec<[u8; 3]>,
    /// How masks are answered where the request does not say.
    pub(super) answer: Options,
    /// Above which probability a pixel is 1, of a network with one logit a pixel.
    pub(super) threshold: Option<f32>,
}

/// The keys that are not the pipeline's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Classes {
    /// The classes' names.
    labels: Option<Written>,
    /// One red, green and blue triple a class; by default PASCAL VOC's colours.
    palette: Option<Vec<[u8; 3]>>,
    /// Defaults of what a request may ask for.
    answer: Options,
    /// Of a network with one logit a pixel; absent: a half, and networks with several classes.
    threshold: Option<f32>,
}

impl Classes {
    const KEYS: [&str; 4] = ["labels", "palette", "answer", "threshold"];
}

impl Config {
    pub(super) fn read(context: &Context) -> Result<Self> {
        let (written, classes) = parted(context, NAME, &Classes::KEYS)?;
        let Classes { labels, palette, answer, threshold } = classes;
        let limits =
            written.max_image_pixels.map_or_else(DecodeLimits::default, DecodeLimits::for_pixels);
        let exif = written.exif.unwrap_or_default();
        let labels = Labels::find(labels, &context.model_dir)?;
        let labels: Vec<String> = labels.list().into_iter().map(Into::into).collect();
        let palette = palette.unwrap_or_else(|| voc_palette(labels.len()));
        if !labels.is_empty() && palette.len() != labels.len() {
            return Err(wrong(&format!(
                "palette has {} colours for {} labels; give one a label, or leave it out",
                palette.len(),
                labels.len()
            )));
        }
        if labels.len() > 256 {
            return Err(wrong(&format!(
                "{} labels; {NAME} gives one byte a pixel, which is 256 classes at most",
                labels.len()
            )));
        }
        if let Some(threshold) = threshold.filter(|threshold| !(0.0..1.0).contains(threshold)) {
            return Err(wrong(&format!(
                "threshold: {threshold} is no probability; write one from 0 to below 1"
            )));
        }
        let answer = answer.check().map_err(|reason| wrong(&format!("answer: {reason}")))?;
        Ok(Self { pipeline: pipeline(written)?, limits, exif, labels, palette, answer, threshold })
    }

    /// A colour for each of the 256 classes there may be: the archive's, then PASCAL VOC's.
    pub(super) fn colours(&self) -> Vec<[u8; 3]> {
        let known = self.palette.len().min(256);
        [&self.palette[..known], &voc_palette(256)[known..]].concat()
    }
}
