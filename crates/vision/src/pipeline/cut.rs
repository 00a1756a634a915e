//! The part of an image that a window shows, and what stands where the window reaches beyond it.

use serde::Deserialize;

use crate::geometry::{Size, Window};
use crate::image::Image8;

/// What stands around an image that is smaller than it has to be, by `FastAI`'s names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PadMode {
    /// The image in the mirror, again and again; the pixel at the edge is not repeated (NumPy's `reflect`).
    #[default]
    Reflection,
    /// The pixel at the edge (NumPy's `edge`).
    Border,
    /// Black.
    Zeros,
}

impl PadMode {
    /// The pixel of a side of `length` pixels that stands at `at`; none for black.
    fn pixel(self, at: i64, length: u32) -> Option<usize> {
        let length = i64::from(length);
        let at = match self {
            _ if (0..length).contains(&at) => at,
            Self::Zeros => return None,
            Self::Border => at.clamp(0, length - 1),
            // A mirror image of one pixel is that pixel.
            Self::Reflection if length == 1 => 0,
            Self::Reflection => {
                let at = at.rem_euclid(2 * (length - 1));
                at.min(2 * (length - 1) - at)
            }
        };
        usize::try_from(at).ok()
    }
}

/// The part of `image` that `window` shows.
pub(super) fn cut<const C: usize>(image: Image8<C>, window: Window, pad: PadMode) -> Image8<C> {
    let Size { height, width } = window.size;
    if window == image.size().whole() {
        return image;
    }
    let columns: Vec<_> =
        (window.left..).take(width as usize).map(|x| pad.pixel(x, image.width())).collect();
    let stride = C * image.width() as usize;
    let inside = usize::try_from(window.left).ok().map(|left| C * left..C * (left + columns.len()));
    let inside = inside.filter(|columns| columns.end <= stride);
    Image8::build(width, height, |data| {
        for y in (window.top..).take(height as usize) {
            let Some(row) = pad.pixel(y, image.height()) else {
                data.resize(data.len() + C * columns.len(), 0);
                continue;
            };
            let row = &image.data()[row * stride..][..stride];
            if let Some(inside) = &inside {
                data.extend_from_slice(&row[inside.clone()]);
                continue;
            }
            for column in &columns {
                match column {
                    None => data.extend([0; C]),
                    Some(x) => data.extend_from_slice(&row[C * x..C * (x + 1)]),
                }
            }
        }
    })
}
