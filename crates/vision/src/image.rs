//! The one pixel type of this crate's public face, so that no decoder's version shows through it.

use crate::geometry::Size;

/// An image of `C` samples of 8 bits a pixel, interleaved, row by row, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Image8<const C: usize> {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

/// Red, green and blue.
pub type RgbImage8 = Image8<3>;

/// Gray levels.
pub type GrayImage8 = Image8<1>;

impl<const C: usize> Image8<C> {
    /// Takes `data` as `height` rows of `width` pixels of `C` bytes. `None` where a side is zero or the
    /// length of `data` is not `C * width * height`.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Option<Self> {
        let fits = width > 0 && height > 0 && Self::byte_len(width, height) == Some(data.len());
        fits.then_some(Self { width, height, data })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    pub(crate) fn size(&self) -> Size {
        Size { height: self.height, width: self.width }
    }

    /// The samples: `C * width * height` bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The samples, moved out.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The rows from top to bottom, each `C * width` bytes.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.data.chunks_exact(C * self.width as usize)
    }

    /// An image whose pixels come from `fill`, which appends the `height` rows in order. For callers in
    /// this crate that know the length comes out right.
    pub(crate) fn build(width: u32, height: u32, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let bytes = C * width as usize * height as usize;
        let mut data = Vec::with_capacity(bytes);
        fill(&mut data);
        assert_eq!(data.len(), bytes, "an image of {width}x{height} pixels was filled wrongly");
        Self { width, height, data }
    }

    /// Bytes of an image of this size, if that number fits in memory's address space.
    fn byte_len(width: u32, height: u32) -> Option<usize> {
        (width as usize).checked_mul(height as usize)?.checked_mul(C)
    }
}

impl RgbImage8 {
    /// The gray levels of Pillow's `convert("L")`: the luma of ITU-R 601-2, in 16 fraction bits, rounded. An
    /// image whose three channels are equal keeps its levels.
    pub(crate) fn to_gray(&self) -> GrayImage8 {
        Image8::build(self.width, self.height, |data| {
            data.extend(self.data.chunks_exact(3).map(|pixel| {
                let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
                let luma = (19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16;
                u8::try_from(luma).unwrap_or(u8::MAX)
            }));
        })
    }
}

impl GrayImage8 {
    /// The same picture with each level three times.
    pub(crate) fn to_rgb(&self) -> RgbImage8 {
        Image8::build(self.width, self.height, |data| {
            data.extend(self.data.iter().flat_map(|level| [*level; 3]));
        })
    }
}

impl<const C: usize> std::fmt::Debug for Image8<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The samples would drown whatever is being debugged.
        write!(f, "Image8<{C}>({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::{GrayImage8, RgbImage8};

    #[test]
    fn refuses_a_length_that_is_not_the_size() {
        assert!(RgbImage8::new(2, 2, vec![0; 12]).is_some());
        assert!(RgbImage8::new(2, 2, vec![0; 11]).is_none());
        assert!(RgbImage8::new(0, 2, vec![]).is_none());
        assert!(RgbImage8::new(u32::MAX, u32::MAX, vec![]).is_none());
        assert!(GrayImage8::new(2, 2, vec![0; 4]).is_some());
    }

    #[test]
    fn gray_keeps_its_levels_on_the_way_to_rgb_and_back() {
        let gray = GrayImage8::new(256, 1, (0..=255).collect()).unwrap();
        assert_eq!(gray.to_rgb().to_gray(), gray);
    }
}
