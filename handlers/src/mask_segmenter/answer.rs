//! A mask in the form that was asked for.

use mar_handler::{Error, ErrorCode, Response, Result};
use mar_vision::{
    ClassArea, Geometry, MaskError, Polygon, RgbImage8, Rle, class_areas, npy_f32, npy_u8, overlay,
    palette_png, polygons, rgb_png, rle, rles,
};
use serde::Serialize;

use super::config::Config;
use super::options::{Format, Map, Options};
use super::told::{Places, Told};
use crate::in_base64;

/// One request's mask.
pub(super) struct Mask<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The class of each pixel, row by row.
    pub(super) classes: &'a [u8],
    /// How sure the network is of each, where that was asked for.
    pub(super) confidence: Option<&'a [f32]>,
    pub(super) geometry: Geometry,
}

#[derive(Serialize)]
struct Listed<'a, T> {
    #[serde(flatten)]
    entries: Entries<'a, T>,
    #[serde(flatten)]
    told: Told<'a>,
}

/// A list of classes under the name of its format.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Entries<'a, T> {
    Rle(Vec<Entry<'a, T>>),
    Polygons(Vec<Entry<'a, T>>),
    Areas(Vec<Entry<'a, T>>),
}

#[derive(Serialize)]
struct Entry<'a, T> {
    class: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(flatten)]
    of: T,
}

#[derive(Serialize)]
struct Runs {
    size: [u32; 2],
    counts: String,
}

#[derive(Serialize)]
struct Objects {
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    segmentation: [Vec<u32>; 1],
    bbox: [u32; 4],
    area: u64,
}

#[derive(Serialize)]
struct Figures {
    pixels: u64,
    share: f64,
    bbox: Option<[u32; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
}

impl Mask<'_> {
    /// The answer. `image` gives the picture that an overlay is laid over.
    pub(super) fn answer(
        &self,
        options: &Options,
        config: &Config,
        image: impl FnOnce() -> Result<RgbImage8>,
    ) -> Result<Response> {
        match options.format {
            Format::Rle => self.rle(options, config),
            Format::Polygons => self.polygons(options, config),
            Format::Areas => self.areas(options, config),
            Format::Overlay => self.overlay(options, config, &image()?),
            Format::Base64 | Format::Png | Format::Npy | Format::Raw => {
                self.pixels(options, config)
            }
        }
    }

    /// The mask itself; where one class is wanted, 1 where it is, else 0.
    fn pixels(&self, options: &Options, config: &Config) -> Result<Response> {
        let one: Vec<u8>;
        let palette: Vec<[u8; 3]>;
        let (mut classes, mut told) = (self.classes, self.told(config));
        let colours = config.colours();
        let mut shown = &colours[..];
        if let Some(class) = options.class {
            one = classes.iter().map(|found| u8::from(*found == class)).collect();
            let label = label(config, class).map_or_else(|| class.to_string(), str::to_owned);
            let labels = vec![format!("not {label}"), label];
            palette = vec![[0; 3], colours[usize::from(class)]];
            classes = &one;
            shown = &palette;
            told = Told {
                labels: labels.into(),
                palette: palette.clone().into(),
                class: Some(class),
                is_named: true,
                ..told
            };
        }
        let body = match (options.format, options.map) {
            (Format::Png, _) => {
                // As many colours as the archive has, and more only where the mask has them.
                let found = classes.iter().copied().max().map_or(0, |class| usize::from(class) + 1);
                let colours = told.palette.len().clamp(found, 256);
                palette_png(classes, self.width, self.height, &shown[..colours]).map_err(failed)?
            }
            (Format::Npy, Map::Classes) => npy_u8(self.shape(), classes),
            (Format::Npy, Map::Confidence) => npy_f32(self.shape(), self.confidence()?),
            (Format::Raw, Map::Classes) => classes.to_vec(),
            (Format::Raw, Map::Confidence) => little_endian(self.confidence()?),
            _ => {
                let confidence = self.confidence.filter(|_| options.confidence);
                return in_json(classes, &told, confidence);
            }
        };
        if options.map == Map::Confidence {
            told.dtype = "float32";
        }
        Ok(told.beside(Response::bytes(options.format.content_type(), body)))
    }

    fn rle(&self, options: &Options, config: &Config) -> Result<Response> {
        let found = match options.class {
            None => rles(self.classes, self.width, self.height),
            Some(class) => {
                rle(self.classes, self.width, self.height, class).map(|rle| vec![(class, rle)])
            }
        };
        let runs = |(class, Rle { size, counts })| entry(config, class, Runs { size, counts });
        let entries = found.map_err(failed)?.into_iter().map(runs).collect();
        self.listed(options, config, Entries::Rle(entries))
    }

    fn polygons(&self, options: &Options, config: &Config) -> Result<Response> {
        let found =
            polygons(self.classes, self.width, self.height, options.class).map_err(failed)?;
        let mut classes: [Option<Objects>; 256] = [const { None }; 256];
        if let Some(class) = options.class {
            classes[usize::from(class)] = Some(Objects { objects: Vec::new() });
        }
        for Polygon { class, points, bbox, area } in found {
            let of = classes[usize::from(class)].get_or_insert(Objects { objects: Vec::new() });
            of.objects.push(Object { segmentation: [points.into_flattened()], bbox, area });
        }
        let found = (0..=u8::MAX).zip(classes);
        let entries = found.filter_map(|(class, of)| Some(entry(config, class, of?))).collect();
        self.listed(options, config, Entries::Polygons(entries))
    }

    fn areas(&self, options: &Options, config: &Config) -> Result<Response> {
        let confidence = self.confidence.filter(|_| options.confidence);
        let found =
            class_areas(self.classes, self.width, self.height, confidence).map_err(failed)?;
        let wanted = |class: u8| match options.class {
            Some(only) => class == only,
            None => {
                usize::from(class) < config.labels.len() || found.iter().any(|a| a.class == class)
            }
        };
        let of_class = |class: u8| {
            let area = found.iter().find(|area| area.class == class);
            entry(config, class, self.figures(area))
        };
        let entries = (0..=u8::MAX).filter(|class| wanted(*class)).map(of_class).collect();
        self.listed(options, config, Entries::Areas(entries))
    }

    #[expect(clippy::cast_precision_loss, reason = "no mask has 2^52 pixels")]
    fn figures(&self, area: Option<&ClassArea>) -> Figures {
        let pixels = area.map_or(0, |area| area.pixels);
        Figures {
            pixels,
            share: pixels as f64 / self.classes.len() as f64,
            bbox: area.map(|area| area.bbox),
            confidence: area.and_then(|area| area.confidence),
        }
    }

    fn overlay(&self, options: &Options, config: &Config, image: &RgbImage8) -> Result<Response> {
        let colours = (0..=u8::MAX).zip(config.colours());
        let shown =
            |(class, colour)| options.class.is_none_or(|only| only == class).then_some(colour);
        let colours: Vec<Option<[u8; 3]>> = colours.map(shown).collect();
        let (width, height) = (self.width, self.height);
        let over = overlay(image, self.classes, width, height, &colours, options.opacity);
        let file = over.and_then(|over| rgb_png(&over)).map_err(failed)?;
        let told = Told { class: options.class, ..self.told(config) };
        Ok(told.beside(Response::bytes(options.format.content_type(), file)))
    }

    fn listed<T: Serialize>(
        &self,
        options: &Options,
        config: &Config,
        entries: Entries<'_, T>,
    ) -> Result<Response> {
        let told = Told { class: options.class, ..self.told(config) };
        Response::json(&Listed { entries, told })
    }

    /// Of an archive that names no class, those up to the last that the mask has go by their numbers, in
    /// PASCAL VOC's colours unless the archive has some.
    fn told<'a>(&self, config: &'a Config) -> Told<'a> {
        let is_named = !config.labels.is_empty();
        let (labels, palette) = if is_named {
            (config.labels.as_slice().into(), config.palette.as_slice().into())
        } else {
            let found = self.classes.iter().max().map_or(0, |class| usize::from(*class) + 1);
            let classes = config.palette.len().clamp(found, 256);
            let numbers: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
            (numbers.into(), config.colours()[..classes].to_vec().into())
        };
        Told {
            shape: [self.height, self.width],
            dtype: "uint8",
            labels,
            palette,
            is_named,
            geometry: Places::from(&self.geometry),
            class: None,
        }
    }

    fn shape(&self) -> [usize; 2] {
        [self.height as usize, self.width as usize]
    }

    fn confidence(&self) -> Result<&[f32]> {
        self.confidence
            .ok_or_else(|| Error::new(ErrorCode::Internal, "no confidence was asked for"))
    }
}

/// A mask's bytes in base64 and what is told of it, as TorchServe's clients of masks know it. The mask goes straight to
/// its place in the text: nothing in base64 needs an escape, which a serializer would look for letter by letter.
fn in_json(classes: &[u8], told: &Told<'_>, confidence: Option<&[f32]>) -> Result<Response> {
    let told = Response::json(told)?.body;
    let confidence = confidence.map(little_endian);
    let values = confidence.as_ref().map_or(0, Vec::len);
    let mut body = String::with_capacity((classes.len() + values) / 3 * 4 + told.len() + 128);
    body.push_str("{\"base64_prediction\":\"");
    in_base64::append(classes, &mut body);
    body.push_str("\",");
    // Its members, without the braces around them.
    body.push_str(std::str::from_utf8(&told[1..told.len() - 1]).unwrap_or_default());
    if let Some(values) = confidence {
        body.push_str(",\"base64_confidence\":\"");
        in_base64::append(&values, &mut body);
        body.push_str("\",\"confidence_dtype\":\"float32\"");
    }
    body.push('}');
    Ok(Response::bytes("application/json", body))
}

fn entry<T>(config: &Config, class: u8, of: T) -> Entry<'_, T> {
    Entry { class, label: label(config, class), of }
}

fn label(config: &Config, class: u8) -> Option<&str> {
    config.labels.get(usize::from(class)).map(String::as_str)
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn failed(error: MaskError) -> Error {
    Error::new(ErrorCode::PredictionFailed, error.to_string()).caused_by(error)
}
