//! What the keys of a configuration mean together; refuses those that contradict each other or do nothing.

use super::config::{
    ChannelOrder, ColorMode, Layout, Parity, PipelineConfig, ResizeMethod, SampleType,
};
use super::cut::PadMode;
use super::value::{Factor, PerChannel, Sides};
use crate::decode::{DecodeLimits, Exif};
use crate::geometry::{CenterCrop, CropRounding, Scale, Size};
use crate::resample::{Filter, Interpolation};

/// Means of red, green and blue over `ImageNet`'s training images, on the scale 0..1: torchvision's
/// (`transforms/_presets.py`) and `FastAI`'s (`imagenet_stats`).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// The standard deviations that go with [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Longest side that a configuration may ask for, in pixels.
pub const MAX_SIDE: u32 = 16_384;

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
    pub(super) parity: Parity,
    pub(super) exif: Exif,
    pub(super) color_mode: ColorMode,
    pub(super) scale: Scale,
    /// The size that the configuration names, for limits.
    pub(super) declared: Option<Size>,
    /// What stands around an image that [`Scale::Pad`] puts into a frame.
    pub(super) frame: PadMode,
    pub(super) resampling: Resampling,
    pub(super) center_crop: Option<CenterCrop>,
    /// What stands around an image that is smaller than its centre crop.
    pub(super) margin: PadMode,
    pub(super) channel_order: ChannelOrder,
    pub(super) layout: Layout,
    pub(super) values: Values,
    pub(super) limits: DecodeLimits,
}

/// Whose resize it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resampling {
    /// Pillow's, which widens a filter where it shrinks.
    Image(Filter),
    /// torchvision's of a tensor, without antialiasing.
    Tensor(Interpolation),
}

/// What becomes of a level of 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Values {
    /// It stays.
    Levels,
    /// It is scaled and normalised.
    Normalised(Moments),
}

/// How levels are scaled and normalised, each number by network channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moments {
    pub(super) factor: Factor,
    pub(super) mean: PerChannel,
    pub(super) std: PerChannel,
    /// Whether the result is of half precision.
    pub(super) half: bool,
}

impl TryFrom<PipelineConfig> for Settings {
    type Error = ConfigError;

    fn try_from(config: PipelineConfig) -> Result<Self, ConfigError> {
        let color_mode = config.color_mode.unwrap_or_default();
        if color_mode == ColorMode::L && config.channel_order.is_some() {
            return fail("channel_order", "there is one channel with color_mode: L; leave it out");
        }
        let scale = scale(&config)?;
        if config.parity == Some(Parity::Fast) && matches!(scale, Scale::Pad(_)) {
            return fail("parity", "fast is not known to resize: pad; leave one of them out");
        }
        let center_crop = center_crop(&config)?;
        let frame_or_margin = matches!(scale, Scale::Pad(_))
            || center_crop.is_some_and(|crop| crop.rounding == CropRounding::Fastai);
        if config.pad_mode.is_some() && !frame_or_margin {
            return fail(
                "pad_mode",
                "nothing is padded; it goes with resize: pad, or with center_crop and crop_rounding: fastai",
            );
        }
        Ok(Self {
            parity: config.parity.unwrap_or_default(),
            exif: config.exif.unwrap_or_default(),
            color_mode,
            scale,
            declared: config.size.map(square_or_both),
            frame: config.pad_mode.unwrap_or_default(),
            resampling: resampling(&config, scale)?,
            center_crop,
            margin: match center_crop {
                Some(CenterCrop { rounding: CropRounding::Fastai, .. }) => config.pad_mode,
                _ => None,
            }
            .unwrap_or(PadMode::Zeros),
            channel_order: config.channel_order.unwrap_or_default(),
            layout: config.layout.unwrap_or_default(),
            values: values(&config)?,
            limits: match config.max_image_pixels {
                None => DecodeLimits::default(),
                Some(0) => return fail("max_image_pixels", "must be at least 1"),
                Some(pixels) => DecodeLimits::for_pixels(pixels),
            },
        })
    }
}

fn fail<T>(key: &'static str, reason: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { key, reason: reason.into() })
}

fn scale(config: &PipelineConfig) -> Result<Scale, ConfigError> {
    let method = config.resize.unwrap_or_default();
    if config.max_size.is_some() && method != ResizeMethod::Shorter {
        return fail("max_size", "bounds the longer side with resize: shorter; leave it out");
    }
    let Some(sides) = config.size else {
        return match config.resize {
            None | Some(ResizeMethod::Native) => Ok(Scale::Native),
            Some(_) => fail("resize", "needs a target; add size"),
        };
    };
    let size = checked("size", sides)?;
    match (method, sides) {
        (ResizeMethod::Squish, _) => Ok(Scale::Squish(size)),
        (ResizeMethod::Crop, _) => Ok(Scale::Crop(size)),
        (ResizeMethod::Pad, _) => Ok(Scale::Pad(size)),
        (ResizeMethod::Native, _) => fail("size", "is not used with resize: native; leave it out"),
        (ResizeMethod::Shorter, Sides::Both { .. }) => {
            fail("size", "must be one number where resize is shorter; cut with center_crop")
        }
        (ResizeMethod::Shorter, Sides::One(side)) => match config.max_size {
            Some(max) if max <= side => {
                fail("max_size", format!("must be above size, which is {side}, not {max}"))
            }
            Some(max) if max > MAX_SIDE => {
                fail("max_size", format!("must be at most {MAX_SIDE} pixels, not {max}"))
            }
            max => Ok(Scale::Shorter { side, max }),
        },
    }
}

fn center_crop(config: &PipelineConfig) -> Result<Option<CenterCrop>, ConfigError> {
    match (config.center_crop, config.crop_rounding) {
        (None, Some(_)) => fail("crop_rounding", "needs a centre crop; add center_crop"),
        (None, None) => Ok(None),
        (Some(sides), rounding) => {
            let size = checked("center_crop", sides)?;
            Ok(Some(CenterCrop { size, rounding: rounding.unwrap_or_default() }))
        }
    }
}

fn resampling(config: &PipelineConfig, scale: Scale) -> Result<Resampling, ConfigError> {
    if scale == Scale::Native {
        let set = [("filter", config.filter.is_some()), ("antialias", config.antialias.is_some())];
        if let Some((key, _)) = set.into_iter().find(|(_, set)| *set) {
            return fail(key, "nothing is resized; add size, or leave it out");
        }
    }
    let filter = config.filter.unwrap_or_default();
    if config.antialias.unwrap_or(true) {
        return Ok(Resampling::Image(filter));
    }
    if config.parity == Some(Parity::Fast) {
        return fail("antialias", "false is known to parity: exact alone; leave one of them out");
    }
    match filter {
        Filter::Nearest => Ok(Resampling::Tensor(Interpolation::Nearest)),
        Filter::Bilinear => Ok(Resampling::Tensor(Interpolation::Linear)),
        Filter::Bicubic => Ok(Resampling::Tensor(Interpolation::Cubic)),
        Filter::Box | Filter::Hamming | Filter::Lanczos => fail(
            "antialias",
            format!("there is no {filter} without it; use nearest, bilinear or bicubic"),
        ),
    }
}

fn values(config: &PipelineConfig) -> Result<Values, ConfigError> {
    let dtype = config.dtype.unwrap_or_default();
    if dtype == SampleType::Uint8 {
        let set = [
            ("scale", config.scale.is_some()),
            ("mean", config.mean.is_some()),
            ("std", config.std.is_some()),
        ];
        return match set.into_iter().find(|(_, set)| *set) {
            Some((key, _)) => fail(key, "levels stay as they are with dtype: uint8; leave it out"),
            None => Ok(Values::Levels),
        };
    }
    let factor = config.scale.unwrap_or(Factor::UNIT);
    if !factor.0.is_finite() || factor.0 == 0.0 {
        return fail("scale", "must be a finite number other than 0");
    }
    let color_mode = config.color_mode.unwrap_or_default();
    let imagenet = color_mode == ColorMode::Rgb && factor == Factor::UNIT;
    let default = |mut moments: [f32; 3], otherwise: f32| {
        if config.channel_order == Some(ChannelOrder::Bgr) {
            moments.reverse();
        }
        if imagenet { PerChannel::Three(moments) } else { PerChannel::One(otherwise) }
    };
    let mean = config.mean.unwrap_or_else(|| default(IMAGENET_MEAN, 0.0));
    let std = config.std.unwrap_or_else(|| default(IMAGENET_STD, 1.0));
    for (key, value) in [("mean", mean), ("std", std)] {
        if color_mode == ColorMode::L && matches!(value, PerChannel::Three(_)) {
            return fail(key, "three numbers for the one channel of color_mode: L; give one");
        }
    }
    if !mean.all(f32::is_finite) {
        return fail("mean", "must be finite numbers");
    }
    if !std.all(|value| value.is_finite() && value > 0.0) {
        return fail("std", "must be finite numbers above 0");
    }
    Ok(Values::Normalised(Moments { factor, mean, std, half: dtype == SampleType::Float16 }))
}

fn checked(key: &'static str, sides: Sides) -> Result<Size, ConfigError> {
    let size = square_or_both(sides);
    match [size.height, size.width].into_iter().find(|side| !(1..=MAX_SIDE).contains(side)) {
        Some(side) => fail(key, format!("sides must be 1 to {MAX_SIDE} pixels, not {side}")),
        None => Ok(size),
    }
}

fn square_or_both(sides: Sides) -> Size {
    match sides {
        Sides::One(side) => Size { height: side, width: side },
        Sides::Both { height, width } => Size { height, width },
    }
}
