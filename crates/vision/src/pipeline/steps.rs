//! What a pipeline has on the way from an encoded image to a network's numbers, for those who look for the
//! step at which two servers part. What is served does not come here.

use super::{Pipeline, View};
use crate::decode::DecodeError;
use crate::image::Image8;

/// An image on its way: its pixels before they become the network's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The whole image in the declared colours, turned where that is declared. `None` in the fast tier, which
    /// decodes and resizes in one step and never has it.
    pub decoded: Option<Pixels>,
    /// What the network sees, red first whatever the order of its channels.
    pub resized: Pixels,
}

/// Levels of 8 bits, row by row and pixel by pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// As many as `shape` says.
    pub levels: Vec<u8>,
    /// Height, width and channels: three, or one of gray.
    pub shape: [usize; 3],
}

impl Pipeline {
    /// The pixels that [`Self::run`] has on the way to its numbers.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn steps(&self, encoded: &[u8]) -> Result<Steps, DecodeError> {
        if self.fast_filter().is_some() {
            return Ok(Steps { decoded: None, resized: self.view(encoded)?.0.into() });
        }
        let whole = self.decoded(encoded)?;
        let plan = self.plan(whole.size())?;
        let decoded = Some(whole.clone().into());
        Ok(Steps { decoded, resized: self.shaped_view(whole, &plan).into() })
    }
}

impl From<View> for Pixels {
    fn from(view: View) -> Self {
        match view {
            View::Rgb(image) => image.into(),
            View::Gray(image) => image.into(),
        }
    }
}

impl<const C: usize> From<Image8<C>> for Pixels {
    fn from(image: Image8<C>) -> Self {
        let shape = [image.height() as usize, image.width() as usize, C];
        Self { levels: image.into_data(), shape }
    }
}
