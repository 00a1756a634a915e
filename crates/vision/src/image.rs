//! The one pixel type of this crate's public face, so that no decoder's version shows through it.

use crate::Size;

/// An image of 8-bit red, green and blue samples, interleaved, row by row, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage8 {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl RgbImage8 {
    /// Takes `data` as `height` rows of `width` pixels of 3 bytes. `None` where a side is zero or the
    /// length of `data` is not `3 * width * height`.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Option<Self> {
        let fits = width > 0 && height > 0 && byte_len(width, height) == Some(data.len());
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

    /// The samples: `3 * width * height` bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The samples, moved out.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The rows from top to bottom, each `3 * width` bytes.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.data.chunks_exact(3 * self.width as usize)
    }

    /// An image whose pixels come from `fill`, which appends the `height` rows in order. For callers in
    /// this crate that know the length comes out right.
    pub(crate) fn build(width: u32, height: u32, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let bytes = 3 * width as usize * height as usize;
        let mut data = Vec::with_capacity(bytes);
        fill(&mut data);
        assert_eq!(data.len(), bytes, "an image of {width}x{height} pixels was filled wrongly");
        Self { width, height, data }
    }
}

impl std::fmt::Debug for RgbImage8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The samples would drown whatever is being debugged.
        write!(f, "RgbImage8({}x{})", self.width, self.height)
    }
}

/// Bytes of an RGB image of this size, if that number fits in memory's address space.
fn byte_len(width: u32, height: u32) -> Option<usize> {
    (width as usize).checked_mul(height as usize)?.checked_mul(3)
}

#[cfg(test)]
mod tests {
    use super::RgbImage8;

    #[test]
    fn refuses_a_length_that_is_not_the_size() {
        assert!(RgbImage8::new(2, 2, vec![0; 12]).is_some());
        assert!(RgbImage8::new(2, 2, vec![0; 11]).is_none());
        assert!(RgbImage8::new(0, 2, vec![]).is_none());
        assert!(RgbImage8::new(u32::MAX, u32::MAX, vec![]).is_none());
    }
}
