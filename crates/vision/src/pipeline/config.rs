//! The keys of the declared preprocessing: as written, and what they mean once checked.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::decode::DecodeLimits;
use crate::geometry::{Scale, Size};
use crate::resample::Filter;

/// Means of red, green and blue over `ImageNet`'s training images, on the scale 0..1: torchvision's
/// (`transforms/_presets.py`) and `FastAI`'s (`imagenet_stats`).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// The standard deviations that go with [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Longest side that a configuration may ask for, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Preprocessing as written in a model's configuration. Unknown keys are errors; see [`Self::KEYS`].
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Target size in pixels; absent: the image's own size.
    #[serde(deserialize_with = "key::size")]
    pub size: Option<Sides>,
    /// How an image comes to that size; absent: [`ResizeMethod::Squish`].
    #[serde(deserialize_with = "key::resize")]
    pub resize: Option<ResizeMethod>,
    /// The resampling filter; absent: [`Filter::Bilinear`].
    #[serde(deserialize_with = "key::filter")]
    pub filter: Option<Filter>,
    /// Part kept from the middle after the resize, in pixels.
    #[serde(deserialize_with = "key::center_crop")]
    pub center_crop: Option<Sides>,
    /// Subtracted from red, green and blue on the scale 0..1; absent: [`IMAGENET_MEAN`].
    #[serde(deserialize_with = "key::mean")]
    pub mean: Option<[f32; 3]>,
    /// Divides what is left; absent: [`IMAGENET_STD`].
    #[serde(deserialize_with = "key::std")]
    pub std: Option<[f32; 3]>,
    /// Most pixels an image may have; absent: [`crate::DEFAULT_MAX_PIXELS`].
    #[serde(deserialize_with = "key::max_image_pixels")]
    pub max_image_pixels: Option<u64>,
}

impl PipelineConfig {
    /// Every key, so that a caller whose configuration holds other keys beside these can part them.
    pub const KEYS: [&str; 7] =
        ["size", "resize", "filter", "center_crop", "mean", "std", "max_image_pixels"];
}

/// One side for both directions, or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// One number.
    One(u32),
    /// Two numbers, height first.
    Both {
        /// Height in pixels.
        height: u32,
        /// Width in pixels.
        width: u32,
    },
}

/// How an image of another aspect comes to the target size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResizeMethod {
    /// Both sides to the target, the aspect given up (`FastAI` `Squish`, torchvision `Resize([h, w])`).
    #[default]
    Squish,
    /// The largest centred part of the target's aspect, scaled (`FastAI` `Crop`, as at validation).
    Crop,
    /// The shorter side to `size`, the aspect kept (torchvision `Resize(int)`).
    Shorter,
}

/// A key whose value cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{key}: {reason}")]
pub struct ConfigError {
    /// The key.
    pub key: &'static str,
    /// What is wrong with its value and what to write instead.
    pub reason: String,
}

/// A configuration whose values hold together.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) scale: Scale,
    pub(super) declared: Option<Size>,
    pub(super) filter: Filter,
    pub(super) center_crop: Option<Size>,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
    pub(super) limits: DecodeLimits,
}

impl TryFrom<PipelineConfig> for Settings {
    type Error = ConfigError;

    fn try_from(config: PipelineConfig) -> Result<Self, ConfigError> {
        let size = config.size.map(|sides| checked("size", sides)).transpose()?;
        let center_crop =
            config.center_crop.map(|sides| checked("center_crop", sides)).transpose()?;
        let scale = match (size, config.resize.unwrap_or_default(), config.resize) {
            (None, _, None) => Scale::Native,
            (None, _, Some(_)) => return fail("resize", "needs a target; add size"),
            (Some(size), ResizeMethod::Squish, _) => Scale::Squish(size),
            (Some(size), ResizeMethod::Crop, _) => Scale::Crop(size),
            (Some(_), ResizeMethod::Shorter, _) => match config.size {
                Some(Sides::One(side)) => Scale::Shorter(side),
                _ => {
                    return fail(
                        "size",
                        "must be one number where resize is shorter; cut with center_crop",
                    );
                }
            },
        };
        let mean = config.mean.unwrap_or(IMAGENET_MEAN);
        if mean.iter().any(|value| !value.is_finite()) {
            return fail("mean", "must be three finite numbers");
        }
        let std = config.std.unwrap_or(IMAGENET_STD);
        if std.iter().any(|value| !value.is_finite() || *value <= 0.0) {
            return fail("std", "must be three finite numbers above 0");
        }
        let limits = match config.max_image_pixels {
            None => DecodeLimits::default(),
            Some(0) => return fail("max_image_pixels", "must be at least 1"),
            Some(pixels) => DecodeLimits::for_pixels(pixels),
        };
        let filter = config.filter.unwrap_or_default();
        Ok(Self { scale, declared: size, filter, center_crop, mean, std, limits })
    }
}

fn fail<T>(key: &'static str, reason: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { key, reason: reason.into() })
}

fn checked(key: &'static str, sides: Sides) -> Result<Size, ConfigError> {
    let size = match sides {
        Sides::One(side) => Size { height: side, width: side },
        Sides::Both { height, width } => Size { height, width },
    };
    match [size.height, size.width].into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
        Some(side) => fail(key, format!("sides must be 1 to {MAX_SIDE} pixels, not {side}")),
        None => Ok(size),
    }
}

impl<'de> Deserialize<'de> for Sides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SidesVisitor;

        impl<'de> Visitor<'de> for SidesVisitor {
            type Value = Sides;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a number of pixels from 1 to {MAX_SIDE}, or two of them as [height, width]"
                )
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Sides, E> {
                // What does not fit is as wrong as any other number above the bound.
                Ok(Sides::One(u32::try_from(value).unwrap_or(u32::MAX)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Sides, E> {
                let value = u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
                self.visit_u64(value)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sides, A::Error> {
                let mut sides = [0; 2];
                for (index, side) in sides.iter_mut().enumerate() {
                    *side = seq
                        .next_element()?
                        .ok_or_else(|| de::Error::invalid_length(index, &self))?;
                }
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::invalid_length(3, &self));
                }
                Ok(Sides::Both { height: sides[0], width: sides[1] })
            }
        }

        deserializer.deserialize_any(SidesVisitor)
    }
}

impl<'de> Deserialize<'de> for ResizeMethod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "squish" => Ok(Self::Squish),
            "crop" => Ok(Self::Crop),
            "shorter" => Ok(Self::Shorter),
            "pad" => Err(de::Error::custom(
                "pad is not supported yet; known methods: squish, crop, shorter",
            )),
            other => Err(de::Error::custom(format_args!(
                "no method {other:?}; known methods: squish, crop, shorter"
            ))),
        }
    }
}

/// One function a key, so that an error about a value names the key it stands under.
mod key {
    use serde::de::{Deserialize, Deserializer, Error};

    macro_rules! named {
        ($($name:ident: $value:ty),+ $(,)?) => {$(
            pub(super) fn $name<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<$value>, D::Error> {
                Option::deserialize(deserializer)
                    .map_err(|error| D::Error::custom(format_args!("{}: {error}", stringify!($name))))
            }
        )+};
    }

    named! {
        size: super::Sides,
        resize: super::ResizeMethod,
        filter: super::Filter,
        center_crop: super::Sides,
        mean: [f32; 3],
        std: [f32; 3],
        max_image_pixels: u64,
    }
}
