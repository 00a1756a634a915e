//! Masks, one class a byte, as images, runs, polygons and figures that people and programs read.

mod areas;
mod colour;
mod encode;
mod npy;
mod polygons;
mod rle;

pub use areas::{ClassArea, class_areas};
pub use colour::{class_shares, overlay, voc_palette};
pub use encode::{palette_png, rgb_png};
pub use npy::{npy, npy_f32, npy_u8};
pub use polygons::{Polygon, polygons};
pub use rle::{Rle, rle, rles};

/// Why a mask could not be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// Not one byte a pixel.
    #[error("the mask has {bytes} bytes, which is not {width}x{height} pixels of one byte")]
    Size {
        /// Bytes given.
        bytes: usize,
        /// Width given.
        width: u32,
        /// Height given.
        height: u32,
    },
    /// A class without a colour.
    #[error("class {class} has no colour: the palette has {colours}")]
    NoColour {
        /// The class.
        class: u8,
        /// Colours in the palette.
        colours: usize,
    },
    /// No colour at all, or more than a byte can choose from.
    #[error("a palette has 1 to 256 colours, not {0}")]
    Palette(usize),
    /// Not one value of confidence a pixel.
    #[error("the confidence has {values} values for {pixels} pixels")]
    Confidence {
        /// Values given.
        values: usize,
        /// Pixels of the mask.
        pixels: usize,
    },
    /// Run lengths that are cut short or do not cover the mask.
    #[error("the run lengths are not those of a mask of this size")]
    Runs,
    /// The encoder refused.
    #[error("the PNG could not be written: {0}")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Refuses masks of another size and classes without a colour, before anything is made of them.
fn check(mask: &[u8], width: u32, height: u32, colours: usize) -> Result<(), MaskError> {
    check_size(mask, width, height)?;
    if !(1..=256).contains(&colours) {
        return Err(MaskError::Palette(colours));
    }
    match mask.iter().copied().max() {
        Some(class) if usize::from(class) >= colours => Err(MaskError::NoColour { class, colours }),
        _ => Ok(()),
    }
}

/// Refuses masks that have not one byte a pixel, or no pixel.
fn check_size(mask: &[u8], width: u32, height: u32) -> Result<(), MaskError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels != mask.len() as u64 {
        return Err(MaskError::Size { bytes: mask.len(), width, height });
    }
    Ok(())
}
