//! The declared preprocessing of a model: from an encoded image to the planes its network takes.

mod config;

pub use config::{
    ConfigError, IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE, PipelineConfig, ResizeMethod, Sides,
};

use std::borrow::Cow;

use config::Settings;

use crate::RgbImage8;
use crate::decode::{DecodeError, decode};
use crate::geometry::{Geometry, Plan, Scale, Size, Window};
use crate::resample::resize;

/// A checked configuration, ready to run. One value serves any number of threads.
#[derive(Clone)]
pub struct Pipeline {
    settings: Settings,
    /// What each of the 256 levels of each channel becomes.
    levels: Box<[[f32; 256]; 3]>,
}

/// An image ready for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The values, in the order of `shape`.
    pub samples: Samples,
    /// Channels, height and width, or height, width and channels, as the configuration's `layout` says.
    pub shape: [usize; 3],
    /// Where the values come from in the image that was sent.
    pub geometry: Geometry,
}

/// The values of a prepared image, in the type that the network takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// 8-bit levels.
    U8(Vec<u8>),
    /// Half precision, as bits.
    F16(Vec<u16>),
    /// Single precision.
    F32(Vec<f32>),
}

impl Pipeline {
    /// Checks `config`.
    ///
    /// # Errors
    /// Names the key whose value cannot be used.
    pub fn new(config: PipelineConfig) -> Result<Self, ConfigError> {
        let settings = Settings::try_from(config)?;
        let mut levels = Box::new([[0.0; 256]; 3]);
        let moments = settings.mean.iter().zip(&settings.std);
        for (channel, (mean, std)) in levels.iter_mut().zip(moments) {
            for (value, level) in (0_u8..=255).zip(channel) {
                // In single precision and in this order, as FastAI and torchvision compute it.
                *level = (f32::from(value) / 255.0 - mean) / std;
            }
        }
        Ok(Self { settings, levels })
    }

    /// Decodes, resizes, crops, scales and normalises.
    ///
    /// # Errors
    /// As [`decode`], and [`DecodeError::ResizeTooLarge`] for images of very unequal sides.
    pub fn run(&self, encoded: &[u8]) -> Result<Prepared, DecodeError> {
        let (image, geometry) = self.resized(encoded)?;
        let mut planes = Vec::with_capacity(image.data().len());
        for (channel, levels) in self.levels.iter().enumerate() {
            let samples = image.data().iter().skip(channel).step_by(3);
            planes.extend(samples.map(|sample| levels[usize::from(*sample)]));
        }
        let shape = [3, image.height() as usize, image.width() as usize];
        Ok(Prepared { samples: Samples::F32(planes), shape, geometry })
    }

    /// The pixels that [`Self::run`] scales to 0..1 and normalises.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn pixels(&self, encoded: &[u8]) -> Result<RgbImage8, DecodeError> {
        Ok(self.resized(encoded)?.0)
    }

    /// What this pipeline does, in one sentence.
    pub fn describe(&self) -> String {
        let Settings { scale, filter, center_crop, mean, std, .. } = &self.settings;
        let text = |size: &Size| format!("{}x{} (height x width)", size.height, size.width);
        let scaled = match scale {
            Scale::Native => "keep the size".to_owned(),
            Scale::Squish(size) => format!("squish to {}, {filter}", text(size)),
            Scale::Crop(size) => {
                format!("crop to the aspect and resize to {}, {filter}", text(size))
            }
            Scale::Shorter(side) => format!("resize the shorter side to {side}, {filter}"),
        };
        let cut = center_crop.map(|size| format!(", crop the centre {}", text(&size)));
        format!(
            "decode to RGB, {scaled}{}, scale to 0..1, normalise with mean {mean:?} and std {std:?}",
            cut.unwrap_or_default()
        )
    }

    /// The image after resize and crop, and where it comes from in the one before.
    fn resized(&self, encoded: &[u8]) -> Result<(RgbImage8, Geometry), DecodeError> {
        let settings = &self.settings;
        let image = decode(encoded, &settings.limits)?;
        let size = Size { height: image.height(), width: image.width() };
        let plan = Plan::new(size, settings.scale, settings.center_crop);
        if let Some(limit) = plan.excess(settings.declared, settings.limits.max_pixels) {
            let Size { height, width } = plan.scaled;
            return Err(DecodeError::ResizeTooLarge { width, height, limit });
        }
        let part = cut(&image, plan.source);
        let scaled = if part.width() == plan.scaled.width && part.height() == plan.scaled.height {
            part
        } else {
            Cow::Owned(resize(&part, plan.scaled.width, plan.scaled.height, settings.filter))
        };
        let kept = cut(&scaled, plan.window).into_owned();
        let Plan { source, scaled, window } = plan;
        Ok((kept, Geometry { original: size, source, scaled, window }))
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The part of `image` that `window` shows; black where the window reaches beyond it.
fn cut(image: &RgbImage8, window: Window) -> Cow<'_, RgbImage8> {
    let Size { height, width } = window.size;
    if window == (Size { height: image.height(), width: image.width() }).whole() {
        return Cow::Borrowed(image);
    }
    let inside = |low: i64, length: u32, bound: u32| {
        let clamp = |at: i64| usize::try_from(at.clamp(0, i64::from(bound))).unwrap_or(0);
        (clamp(low), clamp(low + i64::from(length)))
    };
    let (first_column, end_column) = inside(window.left, width, image.width());
    let (first_row, end_row) = inside(window.top, height, image.height());
    // Black pixels before the first row or column of the image.
    let before = |low: i64| usize::try_from(-low).unwrap_or(0);
    let (black_rows, black_columns) = (before(window.top), before(window.left));
    let stride = 3 * width as usize;
    Cow::Owned(RgbImage8::build(width, height, |data| {
        data.resize(black_rows * stride, 0);
        for row in image.rows().take(end_row).skip(first_row) {
            let end = data.len() + stride;
            data.resize(data.len() + 3 * black_columns, 0);
            data.extend_from_slice(&row[3 * first_column..3 * end_column]);
            data.resize(end, 0);
        }
        data.resize(height as usize * stride, 0);
    }))
}
