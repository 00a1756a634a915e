//! Pixels: from an encoded image to the numbers a network takes, and from a mask back to an image.
//!
//! The promise is measured equality with the Python stack: lossless formats decode to the bytes of
//! Pillow's `Image.open(f).convert("RGB")`, [`resize`] gives the bytes of `Image.resize`, and the crops
//! round as FastAI and torchvision round. What cannot be equal is written down in the module `decode`.
//!
//! ```
//! use mar_vision::{Pipeline, PipelineConfig, RgbImage8, Sides, rgb_png};
//!
//! let config = PipelineConfig { size: Some(Sides::Both { height: 96, width: 128 }), ..Default::default() };
//! let pipeline = Pipeline::new(config)?;
//! let gray = RgbImage8::new(640, 480, vec![128; 3 * 640 * 480]).expect("the length is that of the size");
//! let prepared = pipeline.run(&rgb_png(&gray)?)?;
//! assert_eq!(prepared.shape, [3, 96, 128]);
//! assert_eq!(prepared.geometry.original.width, 640);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows no HTTP, no archive and no tensor library: bytes in, plain vectors out.

#![warn(missing_docs)]

mod decode;
mod fast;
mod geometry;
mod image;
mod mask;
mod pipeline;
mod resample;

pub use decode::{
    DEFAULT_MAX_PIXELS, DecodeError, DecodeLimits, Exif, Format, decode, decode_oriented,
    png_classes,
};
pub use fast::decode_resized;
pub use geometry::{CropRounding, Geometry, Size, Window};
pub use image::{GrayImage8, Image8, RgbImage8};
pub use mask::{
    ClassArea, MaskError, Polygon, Rle, class_areas, class_shares, npy, npy_f32, npy_u8, overlay,
    palette_png, polygons, rgb_png, rle, rles, voc_palette,
};
pub use pipeline::{
    ChannelOrder, ColorMode, ConfigError, Factor, IMAGENET_MEAN, IMAGENET_STD, Layout, MAX_SIDE,
    PadMode, Parity, PerChannel, Pipeline, PipelineConfig, Pixels, Prepared, ResizeMethod,
    SampleType, Samples, Sides, Steps,
};
pub use resample::{Filter, resize};
