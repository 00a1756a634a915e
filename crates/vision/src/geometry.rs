//! Where the pixels that a network sees come from: sizes and boxes, without touching a pixel.
//!
//! Each rule follows the code of the library it is named after, its truncations included.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are below 2^32, and cutting fractions is the rule that is being followed"
)]

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
    /// The shorter side to this length, the aspect kept (torchvision `Resize(int)`).
    Shorter(u32),
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
        let Size { height, width } = self.size();
        assert_eq!(plane.len() as u64, self.size().pixels(), "one value a pixel");
        let columns: Vec<Option<usize>> = (0..self.original.width)
            .map(|x| {
                seen(
                    x,
                    self.source.left,
                    self.source.size.width,
                    self.scaled.width,
                    self.window.left,
                    width,
                )
            })
            .collect();
        let mut restored =
            Vec::with_capacity(self.original.width as usize * self.original.height as usize);
        for y in 0..self.original.height {
            let row = seen(
                y,
                self.source.top,
                self.source.size.height,
                self.scaled.height,
                self.window.top,
                height,
            );
            match row {
                None => restored.extend(std::iter::repeat_n(fill, columns.len())),
                Some(row) => {
                    let row = &plane[row * width as usize..][..width as usize];
                    restored.extend(columns.iter().map(|column| column.map_or(fill, |x| row[x])));
                }
            }
        }
        restored
    }
}

/// Where a network sees the pixel `at` of the original, along one side.
fn seen(at: u32, start: i64, source: u32, scaled: u32, cut: i64, length: u32) -> Option<usize> {
    let at = u64::try_from(i64::from(at) - start).ok().filter(|at| *at < u64::from(source))?;
    let scaled_at = (2 * at + 1) * u64::from(scaled) / (2 * u64::from(source));
    let at = usize::try_from(i64::try_from(scaled_at).ok()? - cut).ok()?;
    (at < length as usize).then_some(at)
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
    pub(crate) fn new(source: Size, scale: Scale, center_crop: Option<Size>) -> Self {
        let part = match scale {
            Scale::Crop(target) => fastai_crop(source, target),
            _ => source.whole(),
        };
        let scaled = match scale {
            Scale::Native => source,
            Scale::Squish(target) | Scale::Crop(target) => target,
            Scale::Shorter(side) => shorter(source, side),
        };
        let window = center_crop.map_or(scaled.whole(), |crop| center(scaled, crop));
        Self { source: part, scaled, window }
    }

    /// The limit that the scaled image is larger than, if it is: `max_pixels` or 16 times `declared`, whichever
    /// is more. With the aspect kept, a source within the pixel limit could otherwise ask for any
    /// amount of memory by having very unequal sides.
    pub(crate) fn excess(&self, declared: Option<Size>, max_pixels: u64) -> Option<u64> {
        let declared = declared.map_or(0, Size::pixels);
        let limit = max_pixels.max(declared.saturating_mul(SCALED_AREAS));
        (self.scaled.pixels() > limit).then_some(limit)
    }
}

/// `FastAI`'s `Resize(method=Crop)` on a validation item (`vision/augment.py`): the ratio of the tighter side,
/// both sides and the corner cut to integers. Where `FastAI` would make a part of no pixels and fail, one
/// pixel is kept.
fn fastai_crop(source: Size, target: Size) -> Window {
    let across = f64::from(source.width) / f64::from(target.width);
    let down = f64::from(source.height) / f64::from(target.height);
    let ratio = if across < down { across } else { down };
    let side = |target: u32, source: u32| ((ratio * f64::from(target)) as u32).clamp(1, source);
    let size = Size {
        height: side(target.height, source.height),
        width: side(target.width, source.width),
    };
    let corner = |source: u32, part: u32| i64::from((source - part) / 2);
    Window { left: corner(source.width, size.width), top: corner(source.height, size.height), size }
}

/// torchvision's `Resize(int)`: the longer side is cut to an integer.
fn shorter(source: Size, side: u32) -> Size {
    let short = source.width.min(source.height);
    let long = source.width.max(source.height);
    // The quotient of two integers, cut: floating point would agree for every product below 2^53.
    let long = u64::from(side) * u64::from(long) / u64::from(short);
    let long = u32::try_from(long).unwrap_or(u32::MAX);
    if source.width <= source.height {
        Size { height: long, width: side }
    } else {
        Size { height: side, width: long }
    }
}

/// torchvision's `CenterCrop`: half a pixel goes to the even neighbour; a crop larger than the image has the
/// image in its middle, the odd pixel of black to the right and below.
fn center(image: Size, crop: Size) -> Window {
    let corner = |image: u32, crop: u32| {
        if crop > image {
            -i64::from((crop - image) / 2)
        } else {
            (f64::from(image - crop) / 2.0).round_ties_even() as i64
        }
    };
    Window {
        left: corner(image.width, crop.width),
        top: corner(image.height, crop.height),
        size: crop,
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, Scale, Size, Window, center, fastai_crop, shorter};

    fn size(height: u32, width: u32) -> Size {
        Size { height, width }
    }

    #[test]
    fn crops_to_the_aspect_from_the_centre() {
        let part = fastai_crop(size(720, 960), size(224, 224));
        assert_eq!(part, Window { left: 120, top: 0, size: size(720, 720) });
    }

    #[test]
    fn a_crop_never_has_zero_pixels() {
        assert_eq!(fastai_crop(size(1000, 1), size(3, 224)).size, size(1, 1));
    }

    #[test]
    fn the_longer_side_is_cut() {
        assert_eq!(shorter(size(480, 641), 256), size(256, 341));
        assert_eq!(shorter(size(641, 480), 256), size(341, 256));
        assert_eq!(shorter(size(5, 5), 7), size(7, 7));
    }

    #[test]
    fn half_a_pixel_goes_to_the_even_side() {
        assert_eq!(center(size(10, 10), size(7, 5)), Window { left: 2, top: 2, size: size(7, 5) });
        assert_eq!(
            center(size(10, 10), size(5, 13)),
            Window { left: -1, top: 2, size: size(5, 13) }
        );
    }

    #[test]
    fn unequal_sides_do_not_buy_memory() {
        let declared = Some(size(224, 224));
        let long = Plan::new(size(1, 60_000), Scale::Shorter(224), None);
        assert_eq!(long.scaled, size(224, 13_440_000));
        assert_eq!(long.excess(declared, 1_000_000), Some(1_000_000));
        let usual = Plan::new(size(1000, 1000), Scale::Squish(size(2000, 2000)), None);
        assert_eq!(usual.excess(Some(size(2000, 2000)), 1_000_000), None);
    }
}
