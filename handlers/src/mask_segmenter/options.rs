//! What a request wants its mask as: the parameters of its query, over what the archive says.

use std::fmt::Display;
use std::str::FromStr;

use mar_handler::{Error, Request, Result};
use mar_vision::Size;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use super::accept::preferred;

/// The forms of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// JSON with the mask's bytes as base64.
    #[default]
    Base64,
    /// An 8-bit palette PNG.
    Png,
    /// JSON with COCO's run lengths.
    Rle,
    /// JSON with COCO's polygons.
    Polygons,
    /// JSON with each class's pixels, share and box.
    Areas,
    /// A NumPy file.
    Npy,
    /// The bytes, with shape and type in headers.
    Raw,
    /// The image with the classes' colours over it, as PNG.
    Overlay,
}

impl Format {
    /// The content type of the answer, by which an `Accept` header chooses it.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Base64 | Self::Rle | Self::Polygons | Self::Areas => "application/json",
            Self::Png | Self::Overlay => "image/png",
            Self::Npy => "application/x-npy",
            Self::Raw => "application/octet-stream",
        }
    }

    /// What `accept` wants: the archive's default wherever that will do.
    fn accepted(accept: &str, default: Self) -> Option<Self> {
        let offers = [default, Self::Base64, Self::Png, Self::Npy, Self::Raw];
        preferred(accept, &offers.map(Self::content_type)).map(|chosen| offers[chosen])
    }

    /// Whether the confidence can stand beside the classes.
    fn has_room_for_confidence(self) -> bool {
        matches!(self, Self::Base64 | Self::Areas)
    }
}

/// Whose pixels the mask has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pixels {
    /// Those that the network saw.
    #[default]
    Network,
    /// Those of the image that was sent.
    Original,
}

/// What the bytes of `npy` and `raw` are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Map {
    /// The class of each pixel.
    #[default]
    Classes,
    /// How sure the network is of it.
    Confidence,
}

/// How a mask is answered. As keys of an archive, under `answer:`, these are the defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Options {
    pub(super) format: Format,
    pub(super) size: Pixels,
    pub(super) confidence: bool,
    /// The class of pixels that the network did not see.
    pub(super) fill: u8,
    /// How much of the colours an overlay shows.
    pub(super) opacity: f32,
    #[serde(skip)]
    pub(super) map: Map,
    /// The one class that is wanted.
    #[serde(skip)]
    pub(super) class: Option<u8>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: Format::default(),
            size: Pixels::default(),
            confidence: false,
            fill: 0,
            opacity: 0.5,
            map: Map::default(),
            class: None,
        }
    }
}

impl Options {
    /// What the archive says, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(self) -> Result<Self, String> {
        if (0.0..=1.0).contains(&self.opacity) {
            Ok(self)
        } else {
            Err(format!("opacity: must be a number from 0 to 1, not {}", self.opacity))
        }
    }

    /// What a request wants, where `self` is what the archive says. Parameters that are not ours are left
    /// alone: they may be a proxy's.
    ///
    /// # Errors
    /// [`InvalidInput`](mar_handler::ErrorCode::InvalidInput) naming the parameter and what it takes.
    pub(super) fn of(&self, request: &Request, labels: &[String]) -> Result<Self> {
        let format = match variant(request, "format")? {
            Some(format) => format,
            None => request
                .header("accept")
                .and_then(|accept| Format::accepted(accept, self.format))
                .unwrap_or(self.format),
        };
        let size = variant(request, "size")?.unwrap_or(self.size);
        let confidence = truth(request, "confidence")?;
        let opacity = parsed::<f32>(request, "opacity", "a number from 0 to 1")?;
        let fill = parsed(request, "fill", "a class from 0 to 255")?;
        let class = request.parameter("class").map(|name| class(name, labels)).transpose()?;
        let map = variant(request, "map")?.unwrap_or_default();
        if confidence == Some(true) && !format.has_room_for_confidence() {
            return Err(wrong(
                "confidence",
                "true goes with format=base64 and format=areas; for the confidence itself, ask for format=npy or format=raw with map=confidence",
            ));
        }
        if map == Map::Confidence && !matches!(format, Format::Npy | Format::Raw) {
            return Err(wrong("map", "confidence goes with format=npy and format=raw"));
        }
        if map == Map::Confidence && class.is_some() {
            return Err(wrong("class", "map=confidence is that of all classes; leave one out"));
        }
        if let Some(opacity) = opacity.filter(|opacity| !(0.0..=1.0).contains(opacity)) {
            return Err(wrong("opacity", format!("takes a number from 0 to 1, not {opacity}")));
        }
        // What would do nothing is refused, because the client expects that it does something.
        if opacity.is_some() && format != Format::Overlay {
            return Err(wrong("opacity", "goes with format=overlay"));
        }
        if fill.is_some() && size != Pixels::Original {
            return Err(wrong("fill", "goes with size=original"));
        }
        Ok(Self {
            format,
            size,
            confidence: confidence.unwrap_or(self.confidence) && format.has_room_for_confidence(),
            fill: fill.unwrap_or(self.fill),
            opacity: opacity.unwrap_or(self.opacity),
            map,
            class,
        })
    }

    /// Refuses formats that hold every pixel as it is where the answer could not be sent, before the network
    /// runs and before the answer takes its memory. Of the others only their making tells how large they are.
    ///
    /// # Errors
    /// [`InvalidInput`](mar_handler::ErrorCode::InvalidInput) with both sizes and what to ask for.
    pub(super) fn check_bytes(&self, request: &Request, size: Size) -> Result<()> {
        let pixels = u64::from(size.height) * u64::from(size.width);
        let bytes = match (self.format, self.map, self.confidence) {
            (Format::Npy | Format::Raw, Map::Classes, _) => pixels,
            (Format::Npy | Format::Raw, Map::Confidence, _) => 4 * pixels,
            (Format::Base64, _, false) => pixels.div_ceil(3) * 4,
            (Format::Base64, _, true) => (pixels + 4 * pixels).div_ceil(3) * 4,
            _ => return Ok(()),
        };
        request.check_response_bytes(bytes, "ask for format=png or format=rle, or raise that limit")
    }

    /// Whether the network has to say how sure it is.
    pub(super) fn needs_confidence(&self) -> bool {
        self.confidence || self.map == Map::Confidence
    }
}

/// A class by its name, else by its number.
fn class(name: &str, labels: &[String]) -> Result<u8> {
    let classes = if labels.is_empty() { 256 } else { labels.len().min(256) };
    let named = labels.iter().position(|label| label == name);
    let index = named.or_else(|| name.parse().ok().filter(|index| *index < classes));
    index.and_then(|index| u8::try_from(index).ok()).ok_or_else(|| {
        let named =
            if labels.is_empty() { String::new() } else { format!("{}, or ", labels.join(", ")) };
        wrong(
            "class",
            format!("no class \"{name}\"; known: {named}a number from 0 to {}", classes - 1),
        )
    })
}

/// A parameter that is one of some words.
fn variant<'a, T: Deserialize<'a>>(request: &'a Request, name: &str) -> Result<Option<T>> {
    let value = |text: &'a str| T::deserialize(text.into_deserializer());
    request.parameter(name).map(value).transpose().map_err(|error: ValueError| wrong(name, error))
}

/// A parameter that is true or false, in any case: Python's clients send `True`.
fn truth(request: &Request, name: &str) -> Result<Option<bool>> {
    let value = |text: &str| match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(name, format!("takes true or false, not \"{text}\""))),
    };
    request.parameter(name).map(value).transpose()
}

/// A parameter that is a number.
fn parsed<T: FromStr>(request: &Request, name: &str, takes: &str) -> Result<Option<T>> {
    let value = |text: &str| {
        text.parse().map_err(|_| wrong(name, format!("takes {takes}, not \"{text}\"")))
    };
    request.parameter(name).map(value).transpose()
}

fn wrong(parameter: &str, reason: impl Display) -> Error {
    Error::invalid_input(format!("parameter {parameter}: {reason}"))
}
