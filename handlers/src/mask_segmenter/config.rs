//! What an archive says of its classes and their pixels: the keys under `handler:`.

use mar_handler::{Context, Error, Result};
use mar_vision::{DecodeLimits, Exif, Pipeline, PipelineConfig, voc_palette};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::options::Options;

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
}

/// The keys that are not the pipeline's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Classes {
    /// One name a class, in the order of the network's channels.
    labels: Vec<String>,
    /// One red, green and blue triple a class; by default PASCAL VOC's colours.
    palette: Option<Vec<[u8; 3]>>,
    /// Defaults of what a request may ask for.
    answer: Options,
}

impl Classes {
    const KEYS: [&str; 3] = ["labels", "palette", "answer"];
}

impl Config {
    pub(super) fn read(context: &Context) -> Result<Self> {
        let (pipeline, classes) = part_keys(context.handler_section()?)?;
        let pipeline: PipelineConfig = settings(pipeline)?;
        let limits =
            pipeline.max_image_pixels.map_or_else(DecodeLimits::default, DecodeLimits::for_pixels);
        let exif = pipeline.exif.unwrap_or_default();
        let pipeline = Pipeline::new(pipeline).map_err(|error| wrong(&error))?;
        let Classes { labels, palette, answer } = settings(classes)?;
        let palette = palette.unwrap_or_else(|| voc_palette(labels.len()));
        if !labels.is_empty() && palette.len() != labels.len() {
            return Err(wrong(&format!(
                "palette has {} colours for {} labels; give one a label, or leave it out",
                palette.len(),
                labels.len()
            )));
        }
        let answer = answer.check().map_err(|reason| wrong(&format!("answer: {reason}")))?;
        Ok(Self { pipeline, limits, exif, labels, palette, answer })
    }

    /// A colour for each of the 256 classes there may be: the archive's, then PASCAL VOC's.
    pub(super) fn colours(&self) -> Vec<[u8; 3]> {
        let known = self.palette.len().min(256);
        [&self.palette[..known], &voc_palette(256)[known..]].concat()
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
