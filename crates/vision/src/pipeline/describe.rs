//! A pipeline in one sentence, for people who want to know what an archive does to their images.

use super::config::{ChannelOrder, ColorMode, Layout, Parity};
use super::cut::PadMode;
use super::settings::{Moments, Resampling, Settings, Values};
use super::value::PerChannel;
use crate::decode::Exif;
use crate::geometry::{CropRounding, Scale, Size};
use crate::resample::{Filter, Interpolation};

/// The sentence, without a full stop.
pub(super) fn describe(settings: &Settings) -> String {
    let steps = [
        Some(decoding(settings)),
        (settings.exif == Exif::Apply).then(|| "turn it as its EXIF orientation says".to_owned()),
        resizing(settings),
        cropping(settings),
        (settings.channel_order == ChannelOrder::Bgr)
            .then(|| "put blue before green and red".to_owned()),
        values(settings.values),
        Some(result(settings)),
    ];
    steps.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn decoding(settings: &Settings) -> String {
    let mode = match settings.color_mode {
        ColorMode::Rgb => "RGB",
        ColorMode::L => "gray (L)",
    };
    match settings.parity {
        Parity::Exact => format!("decode as Pillow does to {mode}"),
        Parity::Fast => format!("decode fast, not quite as Pillow does, to {mode}"),
    }
}

fn resizing(settings: &Settings) -> Option<String> {
    let how = match settings.resampling {
        // It takes single pixels, however much smaller the result is.
        Resampling::Image(Filter::Nearest) => "nearest".to_owned(),
        Resampling::Image(filter) => format!("{filter}, antialiased"),
        Resampling::Tensor(Interpolation::Nearest) => "nearest, as tensors are".to_owned(),
        Resampling::Tensor(Interpolation::Linear) => "bilinear, not antialiased".to_owned(),
        Resampling::Tensor(Interpolation::Cubic) => "bicubic, not antialiased".to_owned(),
    };
    Some(match settings.scale {
        Scale::Native => return None,
        Scale::Squish(size) => format!("squish to {} ({how})", sides(size)),
        Scale::Crop(size) => {
            format!("crop to the aspect of {size} and resize to it ({how})", size = sides(size))
        }
        Scale::Pad(size) => {
            let size = sides(size);
            let with = padding(settings.frame);
            format!("pad with {with} to the aspect of {size} and resize to it ({how})")
        }
        Scale::Shorter { side, max: None } => format!("resize the shorter side to {side} ({how})"),
        Scale::Shorter { side, max: Some(max) } => {
            format!("resize the shorter side to {side}, the longer to at most {max} ({how})")
        }
    })
}

fn cropping(settings: &Settings) -> Option<String> {
    let crop = settings.center_crop?;
    let size = sides(crop.size);
    Some(match crop.rounding {
        CropRounding::Torchvision => format!("crop the centre {size}"),
        CropRounding::Fastai => {
            let with = padding(settings.margin);
            format!("crop the centre {size} as FastAI does (smaller images padded with {with})")
        }
    })
}

fn padding(mode: PadMode) -> &'static str {
    match mode {
        PadMode::Reflection => "its reflection",
        PadMode::Border => "its border",
        PadMode::Zeros => "black",
    }
}

fn values(values: Values) -> Option<String> {
    let Values::Normalised(Moments { factor, mean, std, .. }) = values else { return None };
    let scaled = format!("scale by {factor}");
    if (mean, std) == (PerChannel::One(0.0), PerChannel::One(1.0)) {
        return Some(scaled);
    }
    Some(format!("{scaled}, normalise with mean {mean} and std {std}"))
}

fn result(settings: &Settings) -> String {
    let dtype = match settings.values {
        Values::Levels => "uint8",
        Values::Normalised(Moments { half: true, .. }) => "float16",
        Values::Normalised(Moments { half: false, .. }) => "float32",
    };
    let channels = match settings.color_mode {
        ColorMode::Rgb => 3,
        ColorMode::L => 1,
    };
    let known = settings.center_crop.map(|crop| crop.size).or(match settings.scale {
        Scale::Squish(size) | Scale::Crop(size) | Scale::Pad(size) => Some(size),
        Scale::Native | Scale::Shorter { .. } => None,
    });
    let size = known
        .map_or("height, width".to_owned(), |Size { height, width }| format!("{height}, {width}"));
    match settings.layout {
        Layout::Chw => format!("as {dtype} [{channels}, {size}]"),
        Layout::Hwc => format!("as {dtype} [{size}, {channels}]"),
    }
}

/// Height first, as everywhere in a configuration.
fn sides(Size { height, width }: Size) -> String {
    format!("{height}x{width}")
}
