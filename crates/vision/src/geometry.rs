//! Where the pixels that a network sees come from: sizes and boxes, without touching a pixel.
//!
//! Each rule follows the code of the library it is named after, its truncations included.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sides are below 2^32, and cutting fractions is the rule that is being followed"
)]

use serde::Deserialize;

/// How many times the declared area a scaled image may have.
const SCALED_AREAS: u64 = 16;

/// Height and width in pixels, in the order of arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// A part of an image, in pixels from its top left corner. The corner may lie outside, for a crop larger
/// than the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns from the image's left edge to the window's.
    pub left: i64,
    /// Rows from the image's top edge to the window's.
    pub top: i64,
    /// How large the part is.
    pub size: Size,
}

/// What is done to images of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Nothing: the network takes images as they come.
    Native,
    /// To this size, whatever that does to the aspect (`FastAI` `Squish`, torchvision `Resize([h, w])`).
    Squish(Size),
    /// The largest centred part of this aspect, then to this size (`FastAI` `Crop` at validation).
    Crop(Size),
    /// The smallest frame of this aspect around the image, then to this size (`FastAI` `Pad` at validation).
    Pad(Size),
    /// The shorter side to `side`, the aspect kept; the longer one at most `max` (torchvision `Resize(int)`).
    Shorter {
        /// The length of the shorter side.
        side: u32,
        /// The most that the longer side may have.
        max: Option<u32>,
    },
}

/// Whose centre a centre crop keeps, where the odd pixel does not divide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropRounding {
    /// torchvision's `CenterCrop`: half a pixel goes to the even neighbour.
    #[default]
    Torchvision,
    /// `FastAI`'s `CropPad`, also within `RandomResizedCrop` at validation: half a pixel is rounded down.
    Fastai,
}

/// The part that is kept from the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CenterCrop {
    pub(crate) size: Size,
    pub(crate) rounding: CropRounding,
}

/// What is done to an image of one size, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The part of the source that is scaled.
    pub(crate) source: Window,
    /// The size it is scaled to.
    pub(crate) scaled: Size,
    /// The part of the scaled image that is kept.
    pub(crate) window: Window,
}

/// How one image became what a network sees, and how what the network gives comes back to its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The image, decoded.
    pub original: Size,
    /// The part of it that was scaled. It may reach beyond the image, where that was padded.
    pub source: Window,
    /// The size that part was scaled to.
    pub scaled: Size,
    /// The part of the scaled image that the network sees. It may reach beyond it, too.
    pub window: Window,
}

impl Geometry {
    /// The size that the network sees.
    pub fn size(&self) -> Size {
        self.window.size
    }

    /// Brings a plane of the size that the network sees back to the original image: each pixel gets the
    /// value whose area its centre lies in, and `fill` where the network did not look.
    ///
    /// # Panics
    /// Where `plane` has not one value a pixel of [`Self::size`].
    pub fn restore<T: Copy>(&self, plane: &[T], fill: T) -> Vec<T> {
        assert_eq!(plane.len() as u64, self.size().pixels(), "one value a pixel");
        let stride = self.size().width as usize;
        let columns: Vec<Option<usize>> =
            (0..self.original.width).map(|x| self.across().seen(x)).collect();
        let mut restored = Vec::with_capacity(columns.len() * self.original.height as usize);
        for y in 0..self.original.height {
            match self.down().seen(y) {
                None => restored.extend(std::iter::repeat_n(fill, columns.len())),
                Some(row) => {
                    let row = &plane[row * stride..][..stride];
                    restored.extend(columns.iter().map(|column| column.map_or(fill, |x| row[x])));
                }
            }
        }
        restored
    }

    /// Where a point that the network names, in pixels from the top left corner of what it sees, lies in the
    /// original image. It may lie outside, where the image was padded.
    pub fn original_point(&self, x: f64, y: f64) -> (f64, f64) {
        (self.across().original(x), self.down().original(y))
    }

    fn across(&self) -> Side {
        Side {
            start: self.source.left,
            source: self.source.size.width,
            scaled: self.scaled.width,
            cut: self.window.left,
            length: self.window.size.width,
        }
    }

    fn down(&self) -> Side {
        Side {
            start: self.source.top,
            source: self.source.size.height,
            scaled: self.scaled.height,
            cut: self.window.top,
            length: self.window.size.height,
        }
    }
}

/// A geometry along one side: from `start`, `source` pixels became `scaled`, of which `length` from `cut` on
/// are seen.
struct Side {
    start: i64,
    source: u32,
    scaled: u32,
    cut: i64,
    length: u32,
}

impl Side {
    /// Where the network sees the pixel `at` of the original.
    fn seen(&self, at: u32) -> Option<usize> {
        let at = i64::from(at) - self.start;
        let at = u32::try_from(at).ok().filter(|at| *at < self.source)?;
        let scaled =
            (2 * u128::from(at) + 1) * u128::from(self.scaled) / (2 * u128::from(self.source));
        let at = u32::try_from(i64::try_from(scaled).ok()? - self.cut).ok()?;
        (at < self.length).then_some(at as usize)
    }

    fn original(&self, at: f64) -> f64 {
        let scaled = at + self.cut as f64;
        scaled * f64::from(self.source) / f64::from(self.scaled) + self.start as f64
    }
}

impl Size {
    pub(crate) fn whole(self) -> Window {
        Window { left: 0, top: 0, size: self }
    }

    fn pixels(self) -> u64 {
        u64::from(self.height) * u64::from(self.width)
    }
}

impl Plan {
    /// The plan for a source of size `source`.
    pub(crate) fn new(source: Size, scale: Scale, center_crop: Option<CenterCrop>) -> Self {
        let part = match scale {
            Scale::Crop(target) => fastai_part(source, target, f64::min),
            Scale::Pad(target) => fastai_part(source, target, f64::max),
            Scale::Native | Scale::Squish(_) | Scale::Shorter { .. } => source.whole(),
        };
        let scaled = match scale {
            Scale::Native => source,
            Scale::Squish(target) | Scale::Crop(target) | Scale::Pad(target) => target,
            Scale::Shorter { side, max } => shorter(source, side, max),
        };
        let window = center_crop.map_or(scaled.whole(), |crop| center(scaled, crop));
        Self { source: part, scaled, window }
    }

    /// The size between source and result that is larger than it may be, and the limit, which is `max_pixels` or 16
    /// times `declared`, whichever is more. With the aspect kept, a source within the pixel limit could
    /// otherwise ask for any amount of memory by having very unequal sides.
    pub(crate) fn excess(&self, declared: Option<Size>, max_pixels: u64) -> Option<(Size, u64)> {
        let declared = declared.map_or(0, Size::pixels);
        let limit = max_pixels.max(declared.saturating_mul(SCALED_AREAS));
        let larger = [self.source.size, self.scaled].into_iter().find(|size| size.pixels() > limit);
        larger.map(|size| (size, limit))
    }
}

/// What `FastAI`'s `Resize` cuts from a validation item, or puts around it, before it scales
/// (`vision/augment.py`): the ratio of one of the sides, both sides and the corner cut to integers. `choose` takes
/// the lesser ratio for `Crop` and the greater for `Pad`. Where `FastAI` would make a part of no pixels
/// and fail, one pixel is kept.
fn fastai_part(source: Size, target: Size, choose: fn(f64, f64) -> f64) -> Window {
    let across = f64::from(source.width) / f64::from(target.width);
    let down = f64::from(source.height) / f64::from(target.height);
    let ratio = choose(across, down);
    let side = |target: u32| ((ratio * f64::from(target)) as u32).max(1);
    let size = Size { height: side(target.height), width: side(target.width) };
    // Cut towards zero, as Python's `int` does it: a frame's odd pixel is at its right and bottom.
    let corner = |source: u32, part: u32| (i64::from(source) - i64::from(part)) / 2;
    Window { left: corner(source.width, size.width), top: corner(source.height, size.height), size }
}

/// torchvision's `Resize(int, max_size)`: the longer side is cut to an integer, and where it is above `max` it
/// becomes that and the shorter one is cut. Where torchvision would make a side of no pixels and fail,
/// one pixel is kept.
fn shorter(source: Size, side: u32, max: Option<u32>) -> Size {
    let short = source.width.min(source.height);
    let long = source.width.max(source.height);
    // The quotient of two integers, cut: floating point would agree for every product below 2^53.
    let long = u64::from(side) * u64::from(long) / u64::from(short);
    let long = u32::try_from(long).unwrap_or(u32::MAX);
    let (short, long) = match max {
        Some(max) if long > max => {
            let short = u64::from(max) * u64::from(side) / u64::from(long);
            (u32::try_from(short).unwrap_or(side).max(1), max)
        }
        _ => (side, long),
    };
    if source.width <= source.height {
        Size { height: long, width: short }
    } else {
        Size { height: short, width: long }
    }
}

/// A crop larger than the image has the image in its middle.
fn center(image: Size, CenterCrop { size, rounding }: CenterCrop) -> Window {
    let corner = match rounding {
        CropRounding::Torchvision => torchvision_corner,
        CropRounding::Fastai => |image, crop| (i64::from(image) - i64::from(crop)).div_euclid(2),
    };
    Window { left: corner(image.width, size.width), top: corner(image.height, size.height), size }
}

/// Half a pixel goes to the even neighbour; around a smaller image the odd pixel is to the right and below.
fn torchvision_corner(image: u32, crop: u32) -> i64 {
    if crop > image {
        -i64::from((crop - image) / 2)
    } else {
        let (half, odd) = ((image - crop) / 2, (image - crop) % 2);
        i64::from(half + (odd & half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: u32, width: u32) -> Size {
        Size { height, width }
    }

    fn corner(image: u32, crop: u32, rounding: CropRounding) -> i64 {
        center(size(image, 1), CenterCrop { size: size(crop, 1), rounding }).top
    }

    #[test]
    fn crops_to_the_aspect_from_the_centre() {
        let part = fastai_part(size(720, 960), size(224, 224), f64::min);
        assert_eq!(part, Window { left: 120, top: 0, size: size(720, 720) });
    }

    #[test]
    fn a_crop_never_has_zero_pixels() {
        assert_eq!(fastai_part(size(1000, 1), size(3, 224), f64::min).size, size(1, 1));
    }

    #[test]
    fn a_frame_has_its_odd_pixel_to_the_right_and_below() {
        let frame = fastai_part(size(5, 8), size(10, 10), f64::max);
        assert_eq!(frame, Window { left: 0, top: -1, size: size(8, 8) });
    }

    #[test]
    fn the_longer_side_is_cut() {
        assert_eq!(shorter(size(480, 641), 256, None), size(256, 341));
        assert_eq!(shorter(size(641, 480), 256, None), size(341, 256));
        assert_eq!(shorter(size(5, 5), 7, None), size(7, 7));
        assert_eq!(shorter(size(480, 641), 256, Some(300)), size(225, 300));
        assert_eq!(
            shorter(size(1, 9000), 8, Some(9)),
            size(1, 9),
            "torchvision fails at no pixels"
        );
    }

    #[test]
    fn half_a_pixel_goes_where_the_library_puts_it() {
        let torchvision = |image, crop| corner(image, crop, CropRounding::Torchvision);
        assert_eq!((torchvision(10, 7), torchvision(10, 5), torchvision(5, 8)), (2, 2, -1));
        let fastai = |image, crop| corner(image, crop, CropRounding::Fastai);
        assert_eq!((fastai(10, 7), fastai(10, 5), fastai(5, 8)), (1, 2, -2));
    }

    #[test]
    fn unequal_sides_do_not_buy_memory() {
        let declared = Some(size(224, 224));
        let shorter = Scale::Shorter { side: 224, max: None };
        let long = Plan::new(size(1, 56_000), shorter, None);
        assert_eq!(long.excess(declared, 1_000_000), Some((size(224, 12_544_000), 1_000_000)));
        let framed = Plan::new(size(1, 56_000), Scale::Pad(size(224, 224)), None);
        assert_eq!(framed.excess(declared, 1_000_000), Some((size(56_000, 56_000), 1_000_000)));
        let usual = Plan::new(size(1000, 1000), Scale::Squish(size(2000, 2000)), None);
        assert_eq!(usual.excess(Some(size(2000, 2000)), 1_000_000), None);
    }
}
