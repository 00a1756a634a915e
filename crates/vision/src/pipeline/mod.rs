//! The declared preprocessing of a model: from an encoded image to the numbers its network takes.

mod config;
mod cut;
mod describe;
mod levels;
mod settings;
mod steps;
mod value;

pub use config::{
    ChannelOrder, ColorMode, Layout, Parity, PipelineConfig, ResizeMethod, SampleType,
};
pub use cut::PadMode;
pub use settings::{ConfigError, IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE};
pub use steps::{Pixels, Steps};
pub use value::{Factor, PerChannel, Sides};

use half::f16;

use cut::cut;
use levels::Levels;
use settings::{Resampling, Settings, Values};

use crate::decode::{DecodeError, decode_oriented};
use crate::fast;
use crate::geometry::{Geometry, Plan, Scale, Size};
use crate::image::{GrayImage8, Image8, RgbImage8};
use crate::resample::{Filter, resize, resize_tensor};

/// A checked configuration, ready to run. One value serves any number of threads.
#[derive(Clone)]
pub struct Pipeline {
    settings: Settings,
    levels: Levels,
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
    /// Half precision.
    F16(Vec<f16>),
    /// Single precision.
    F32(Vec<f32>),
}

/// An image in the colours that are declared.
#[derive(Clone)]
enum View {
    Rgb(RgbImage8),
    Gray(GrayImage8),
}

impl View {
    fn size(&self) -> Size {
        match self {
            Self::Rgb(image) => image.size(),
            Self::Gray(image) => image.size(),
        }
    }
}

impl Pipeline {
    /// Checks `config`.
    ///
    /// # Errors
    /// Names the key whose value cannot be used.
    pub fn new(config: PipelineConfig) -> Result<Self, ConfigError> {
        let settings = Settings::try_from(config)?;
        let levels = Levels::new(settings.values)?;
        Ok(Self { settings, levels })
    }

    /// Decodes, resizes, crops, scales and normalises.
    ///
    /// # Errors
    /// As [`decode`](crate::decode), and [`DecodeError::ResizeTooLarge`] for images of very unequal sides.
    pub fn run(&self, encoded: &[u8]) -> Result<Prepared, DecodeError> {
        let (view, geometry) = self.view(encoded)?;
        let Settings { channel_order, layout, .. } = self.settings;
        let (samples, shape) = match view {
            View::Rgb(image) => self.levels.samples(&image, channel_order, layout),
            View::Gray(image) => self.levels.samples(&image, channel_order, layout),
        };
        Ok(Prepared { samples, shape, geometry })
    }

    /// The pixels that [`Self::run`] makes numbers of: what the network sees, in red, green and blue whatever
    /// the order of its channels, gray three times.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn pixels(&self, encoded: &[u8]) -> Result<RgbImage8, DecodeError> {
        Ok(match self.view(encoded)?.0 {
            View::Rgb(image) => image,
            View::Gray(image) => image.to_rgb(),
        })
    }

    /// How near the pixels are to those of the Python stack.
    pub fn parity(&self) -> Parity {
        self.settings.parity
    }

    /// The sides of what [`Self::run`] gives, in its order; `None` for those that depend on the image.
    pub fn shape(&self) -> [Option<usize>; 3] {
        let Settings { color_mode, scale, center_crop, layout, .. } = &self.settings;
        let channels = match color_mode {
            ColorMode::Rgb => 3,
            ColorMode::L => 1,
        };
        let size = match (center_crop, scale) {
            (Some(crop), _) => Some(crop.size),
            (None, Scale::Squish(size) | Scale::Crop(size) | Scale::Pad(size)) => Some(*size),
            (None, Scale::Native | Scale::Shorter { .. }) => None,
        };
        let [height, width] =
            [size.map(|size| size.height as usize), size.map(|size| size.width as usize)];
        match layout {
            Layout::Chw => [Some(channels), height, width],
            Layout::Hwc => [height, width, Some(channels)],
        }
    }

    /// The type of what [`Self::run`] gives.
    pub fn sample_type(&self) -> SampleType {
        match self.settings.values {
            Values::Levels => SampleType::Uint8,
            Values::Normalised(moments) if moments.half => SampleType::Float16,
            Values::Normalised(_) => SampleType::Float32,
        }
    }

    /// What this pipeline does, in one sentence.
    pub fn describe(&self) -> String {
        describe::describe(&self.settings)
    }

    /// The image after resize and crop, and where it comes from in the one before.
    ///
    /// This tells the tiers apart, and so does [`Self::steps`].
    fn view(&self, encoded: &[u8]) -> Result<(View, Geometry), DecodeError> {
        let (view, original, plan) = match self.fast_filter() {
            Some(filter) => self.fast(encoded, filter)?,
            None => self.exact(encoded)?,
        };
        let Plan { source, scaled, window } = plan;
        Ok((view, Geometry { original, source, scaled, window }))
    }

    /// The filter of the fast tier, where that is declared. It goes with none that reaches beyond the image or
    /// takes it as a tensor, which the settings see to.
    fn fast_filter(&self) -> Option<Filter> {
        match (self.settings.parity, self.settings.resampling) {
            (Parity::Fast, Resampling::Image(filter)) => Some(filter),
            _ => None,
        }
    }

    fn fast(&self, encoded: &[u8], filter: Filter) -> Result<(View, Size, Plan), DecodeError> {
        let Settings { limits, exif, color_mode, margin, .. } = &self.settings;
        let resized = fast::resized(encoded, limits, *exif, filter, |size| self.plan(size))?;
        let image = cut(resized.image, resized.plan.window, *margin);
        let view = match color_mode {
            ColorMode::Rgb => View::Rgb(image),
            ColorMode::L => View::Gray(image.to_gray()),
        };
        Ok((view, resized.original, resized.plan))
    }

    fn exact(&self, encoded: &[u8]) -> Result<(View, Size, Plan), DecodeError> {
        let view = self.decoded(encoded)?;
        let original = view.size();
        let plan = self.plan(original)?;
        Ok((self.shaped_view(view, &plan), original, plan))
    }

    /// An image as the network sees it.
    fn shaped_view(&self, view: View, plan: &Plan) -> View {
        match view {
            View::Rgb(image) => View::Rgb(self.shaped(image, plan)),
            View::Gray(image) => View::Gray(self.shaped(image, plan)),
        }
    }

    /// The whole image in the declared colours, as the exact tier has it.
    fn decoded(&self, encoded: &[u8]) -> Result<View, DecodeError> {
        let Settings { limits, exif, color_mode, .. } = &self.settings;
        let image = decode_oriented(encoded, limits, *exif)?;
        Ok(match color_mode {
            ColorMode::Rgb => View::Rgb(image),
            ColorMode::L => View::Gray(image.to_gray()),
        })
    }

    /// The plan for an image of size `original`; refuses what would take too much memory on the way.
    fn plan(&self, original: Size) -> Result<Plan, DecodeError> {
        let Settings { scale, center_crop, declared, limits, .. } = &self.settings;
        let plan = Plan::new(original, *scale, *center_crop);
        match plan.excess(*declared, limits.max_pixels) {
            Some((Size { height, width }, limit)) => {
                Err(DecodeError::ResizeTooLarge { width, height, limit })
            }
            None => Ok(plan),
        }
    }

    fn shaped<const C: usize>(&self, image: Image8<C>, plan: &Plan) -> Image8<C> {
        let settings = &self.settings;
        let part = cut(image, plan.source, settings.frame);
        let Size { height, width } = plan.scaled;
        let scaled = if part.size() == plan.scaled {
            part
        } else {
            match settings.resampling {
                Resampling::Image(filter) => resize(&part, width, height, filter),
                Resampling::Tensor(how) => resize_tensor(&part, width, height, how),
            }
        };
        cut(scaled, plan.window, settings.margin)
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("settings", &self.settings).finish_non_exhaustive()
    }
}
