//! The keys of the declared preprocessing, as written in a model's configuration. What they mean together is
//! worked out in `settings`.

use serde::Deserialize;

use super::cut::PadMode;
use super::value::{Factor, PerChannel, Sides};
use crate::decode::Exif;
use crate::geometry::CropRounding;
use crate::resample::Filter;

/// Preprocessing as written in a model's configuration. Unknown keys are errors; see [`Self::KEYS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// How the image is decoded and resized; absent: [`Parity::Exact`].
    #[serde(deserialize_with = "key::parity")]
    pub parity: Option<Parity>,
    /// Whether the image is turned as its EXIF orientation says; absent: [`Exif::Ignore`].
    #[serde(deserialize_with = "key::exif")]
    pub exif: Option<Exif>,
    /// What the pixels become before anything else; absent: [`ColorMode::Rgb`].
    #[serde(deserialize_with = "key::color_mode")]
    pub color_mode: Option<ColorMode>,
    /// Target size in pixels; absent: the image's own size.
    #[serde(deserialize_with = "key::size")]
    pub size: Option<Sides>,
    /// How an image comes to that size; absent: [`ResizeMethod::Squish`].
    #[serde(deserialize_with = "key::resize")]
    pub resize: Option<ResizeMethod>,
    /// The most pixels the longer side may have with [`ResizeMethod::Shorter`].
    #[serde(deserialize_with = "key::max_size")]
    pub max_size: Option<u32>,
    /// What stands around the image with [`ResizeMethod::Pad`], absent: [`PadMode::Reflection`]; and around one
    /// that is smaller than `center_crop` with [`CropRounding::Fastai`], absent: [`PadMode::Zeros`].
    #[serde(deserialize_with = "key::pad_mode")]
    pub pad_mode: Option<PadMode>,
    /// The resampling filter; absent: [`Filter::Bilinear`].
    #[serde(deserialize_with = "key::filter")]
    pub filter: Option<Filter>,
    /// Whether the filter widens where it shrinks; absent: true.
    #[serde(deserialize_with = "key::antialias")]
    pub antialias: Option<bool>,
    /// Part kept from the middle after the resize, in pixels.
    #[serde(deserialize_with = "key::center_crop")]
    pub center_crop: Option<Sides>,
    /// Whose centre that is; absent: [`CropRounding::Torchvision`].
    #[serde(deserialize_with = "key::crop_rounding")]
    pub crop_rounding: Option<CropRounding>,
    /// The order of the network's channels; absent: [`ChannelOrder::Rgb`].
    #[serde(deserialize_with = "key::channel_order")]
    pub channel_order: Option<ChannelOrder>,
    /// The order of the network's axes; absent: [`Layout::Chw`].
    #[serde(deserialize_with = "key::layout")]
    pub layout: Option<Layout>,
    /// What each level of 0 to 255 is multiplied with; absent: 1/255.
    #[serde(deserialize_with = "key::scale")]
    pub scale: Option<Factor>,
    /// Subtracted from what `scale` gives, in the order of the network's channels; absent:
    /// [`crate::IMAGENET_MEAN`] for red, green and blue on the scale 0..1, else 0.
    #[serde(deserialize_with = "key::mean")]
    pub mean: Option<PerChannel>,
    /// Divides what is left; absent: [`crate::IMAGENET_STD`] for red, green and blue on the scale 0..1, else 1.
    #[serde(deserialize_with = "key::std")]
    pub std: Option<PerChannel>,
    /// The type of the network's numbers; absent: [`SampleType::Float32`].
    #[serde(deserialize_with = "key::dtype")]
    pub dtype: Option<SampleType>,
    /// Most pixels an image may have; absent: [`crate::DEFAULT_MAX_PIXELS`].
    #[serde(deserialize_with = "key::max_image_pixels")]
    pub max_image_pixels: Option<u64>,
}

impl PipelineConfig {
    /// Every key, so that a caller whose configuration holds other keys beside these can part them.
    pub const KEYS: [&str; 18] = [
        "parity",
        "exif",
        "color_mode",
        "size",
        "resize",
        "max_size",
        "pad_mode",
        "filter",
        "antialias",
        "center_crop",
        "crop_rounding",
        "channel_order",
        "layout",
        "scale",
        "mean",
        "std",
        "dtype",
        "max_image_pixels",
    ];

    /// What torchvision's classifiers were evaluated with, and what `TorchServe`'s `image_classifier` and
    /// `image_segmenter` do: the shorter side to 256, the centre 224, `ImageNet`'s moments.
    pub fn torchvision_imagenet() -> Self {
        Self {
            size: Some(Sides::One(256)),
            resize: Some(ResizeMethod::Shorter),
            center_crop: Some(Sides::One(224)),
            ..Self::default()
        }
    }

    /// What torchvision's `ToTensor` alone does, and with it `TorchServe`'s `object_detector`: the image's own
    /// size, levels scaled to 0..1, no moments.
    pub fn to_tensor() -> Self {
        Self {
            mean: Some(PerChannel::One(0.0)),
            std: Some(PerChannel::One(1.0)),
            ..Self::default()
        }
    }

    /// This configuration with a handler's `defaults` for the keys it leaves open.
    ///
    /// What is said about sizes belongs together: where this configuration sets `size`, `resize` or
    /// `center_crop`, none of the sizes of `defaults` apply. The same holds for levels as they are
    /// ([`SampleType::Uint8`]) and the numbers that would scale them.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        let shaped = self.size.is_some() || self.resize.is_some() || self.center_crop.is_some();
        let shape = if shaped { Self::default() } else { defaults };
        let raw = self.dtype.or(defaults.dtype) == Some(SampleType::Uint8);
        let values = if raw { Self::default() } else { defaults };
        Self {
            parity: self.parity.or(defaults.parity),
            exif: self.exif.or(defaults.exif),
            color_mode: self.color_mode.or(defaults.color_mode),
            size: self.size.or(shape.size),
            resize: self.resize.or(shape.resize),
            max_size: self.max_size.or(shape.max_size),
            pad_mode: self.pad_mode.or(shape.pad_mode),
            filter: self.filter.or(defaults.filter),
            antialias: self.antialias.or(defaults.antialias),
            center_crop: self.center_crop.or(shape.center_crop),
            crop_rounding: self.crop_rounding.or(shape.crop_rounding),
            channel_order: self.channel_order.or(defaults.channel_order),
            layout: self.layout.or(defaults.layout),
            scale: self.scale.or(values.scale),
            mean: self.mean.or(values.mean),
            std: self.std.or(values.std),
            dtype: self.dtype.or(defaults.dtype),
            max_image_pixels: self.max_image_pixels.or(defaults.max_image_pixels),
        }
    }
}

/// How near the pixels are to those of the Python stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// The bytes that Pillow gives.
    #[default]
    Exact,
    /// A few levels away, in less time.
    Fast,
}

impl std::fmt::Display for Parity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        })
    }
}

/// The pixels that are resized, by Pillow's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMode {
    /// Red, green and blue.
    #[default]
    Rgb,
    /// Gray: one channel.
    L,
}

/// How an image of another aspect comes to the target size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResizeMethod {
    /// Both sides to the target, the aspect given up (`FastAI` `Squish`, torchvision `Resize([h, w])`).
    #[default]
    #[serde(alias = "exact")]
    Squish,
    /// The largest centred part of the target's aspect, scaled (`FastAI` `Crop`, as at validation).
    Crop,
    /// The smallest frame of the target's aspect around the image, scaled (`FastAI` `Pad`, as at validation).
    Pad,
    /// The shorter side to `size`, the aspect kept (torchvision `Resize(int)`).
    Shorter,
    /// The image's own size, for a handler that resizes unless told otherwise.
    Native,
}

/// The order of the channels that a network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as `OpenCV` and Caffe have it.
    Bgr,
}

/// The order of the axes that a network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels, height, width.
    #[default]
    Chw,
    /// Height, width, channels.
    Hwc,
}

/// The type of the numbers that a network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleType {
    /// Single precision.
    #[default]
    Float32,
    /// Half precision.
    Float16,
    /// Levels as they are, 0 to 255.
    Uint8,
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
        parity: super::Parity,
        exif: super::Exif,
        color_mode: super::ColorMode,
        size: super::Sides,
        resize: super::ResizeMethod,
        max_size: u32,
        pad_mode: super::PadMode,
        filter: super::Filter,
        antialias: bool,
        center_crop: super::Sides,
        crop_rounding: super::CropRounding,
        channel_order: super::ChannelOrder,
        layout: super::Layout,
        scale: super::Factor,
        mean: super::PerChannel,
        std: super::PerChannel,
        dtype: super::SampleType,
        max_image_pixels: u64,
    }
}
