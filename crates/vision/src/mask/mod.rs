//! Masks, one class a byte, as images that people and programs read.

mod colour;
mod encode;

pub use colour::{class_shares, overlay, voc_palette};
pub use encode::{palette_png, rgb_png};

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
    /// The encoder refused.
    #[error("the PNG could not be written: {0}")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Refuses masks of another size and classes without a colour, before anything is made of them.
fn check(mask: &[u8], width: u32, height: u32, palette: &[[u8; 3]]) -> Result<(), MaskError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels != mask.len() as u64 {
        return Err(MaskError::Size { bytes: mask.len(), width, height });
    }
    let colours = palette.len();
    if !(1..=256).contains(&colours) {
        return Err(MaskError::Palette(colours));
    }
    match mask.iter().max() {
        Some(class) if usize::from(*class) >= colours => {
            Err(MaskError::NoColour { class: *class, colours })
        }
        _ => Ok(()),
    }
}
