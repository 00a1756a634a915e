//! The fast tier: pixels near Pillow's, for less time. How near and how much less stands in `docs/pixels.md`.
//!
//! A JPEG that will be shrunk anyway is decoded small, from the coefficients that matter; all formats are
//! resized by `fast_image_resize`, which weighs as Pillow does and rounds more coarsely.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};

use crate::decode::{Orientation, decode, decode_scaled, format_of};
use crate::geometry::{Plan, Size};
use crate::resample::{resize, vertical_first};
use crate::{DecodeError, DecodeLimits, Exif, Filter, Format, RgbImage8};

/// Eighths of a side that a JPEG is decoded to. For most of the others the decoder needs longer than for all eight.
const EIGHTHS: [u32; 3] = [1, 3, 8];
/// How many times as large as the result a JPEG is at least decoded. On five photographs this left 0.4 to 2 levels
/// of difference in the mean, 4 to 24 at most; with 1 it would be 1 to 4 and up to 53.
const MARGIN: f64 = 1.75;

/// What came of an image.
#[derive(Debug)]
pub(crate) struct Resized {
    /// The planned part of the image, scaled; the plan's window is not cut from it yet.
    pub(crate) image: RgbImage8,
    /// The size of the whole image, upright if it was turned.
    pub(crate) original: Size,
    /// What `plan` answered.
    pub(crate) plan: Plan,
}

/// Decodes an image and scales the part of it that `plan` names, which is told the size of the image.
///
/// # Panics
/// Where the plan's source reaches beyond the image.
pub(crate) fn resized(
    encoded: &[u8],
    limits: &DecodeLimits,
    exif: Exif,
    filter: Filter,
    plan: impl FnOnce(Size) -> Result<Plan, DecodeError>,
) -> Result<Resized, DecodeError> {
    let format = format_of(encoded)?;
    let orientation = match exif {
        Exif::Ignore => Orientation::UPRIGHT,
        Exif::Apply => Orientation::of_file(format, encoded)?,
    };
    // A JPEG's size is known before it is decoded, and how much of it is wanted with that.
    let (stored, (original, plan, eighths)) = if format == Format::Jpeg {
        decode_scaled(encoded, limits, |stored| {
            let original = orientation.turned_size(stored);
            let plan = plan(original)?;
            let eighths = eighths(&plan, filter);
            Ok((eighths, (original, plan, eighths)))
        })?
    } else {
        let stored = decode(encoded, limits)?;
        let original = orientation.turned_size(stored.size());
        let plan = plan(original)?;
        (stored, (original, plan, 8))
    };
    let image = scaled(orientation.turn(stored), &plan, f64::from(eighths) / 8.0, filter);
    Ok(Resized { image, original, plan })
}

/// Decodes an image in the fast tier and scales it to a size, whatever that does to its aspect: near what
/// [`decode_oriented`](crate::decode_oriented) and [`resize`](crate::resize) give, in less time.
///
/// # Errors
/// As [`decode`](crate::decode).
///
/// # Panics
/// When a side of `size` is zero.
pub fn decode_resized(
    bytes: &[u8],
    limits: &DecodeLimits,
    exif: Exif,
    filter: Filter,
    size: Size,
) -> Result<RgbImage8, DecodeError> {
    assert!(size.width > 0 && size.height > 0, "an image cannot be resized to {size:?}");
    let squish =
        |original: Size| Ok(Plan { source: original.whole(), scaled: size, window: size.whole() });
    Ok(resized(bytes, limits, exif, filter, squish)?.image)
}

/// How many eighths of a JPEG's sides are decoded: the fewest that leave the planned part larger than what it
/// is scaled to.
fn eighths(plan: &Plan, filter: Filter) -> u32 {
    if whole_pixels(filter) {
        return 8;
    }
    let ratio = |scaled: u32, source: u32| f64::from(scaled) / f64::from(source);
    let across = ratio(plan.scaled.width, plan.source.size.width);
    let down = ratio(plan.scaled.height, plan.source.size.height);
    let least = 8.0 * MARGIN * across.max(down);
    EIGHTHS.into_iter().find(|eighths| f64::from(*eighths) >= least).unwrap_or(8)
}

/// The planned part of an image that was decoded to `ratio` of its sides.
fn scaled(image: RgbImage8, plan: &Plan, ratio: f64, filter: Filter) -> RgbImage8 {
    let Plan { source, scaled, .. } = *plan;
    let across = Part::new(source.left, source.size.width, ratio);
    let down = Part::new(source.top, source.size.height, ratio);
    if image.size() == scaled && source == scaled.whole() {
        return image;
    }
    if whole_pixels(filter) {
        // Which pixels lie at an edge of what is weighed is settled exactly: the other library settles it otherwise.
        return resize(&cut(&image, across, down), scaled.width, scaled.height, filter);
    }
    let whole = view(&image);
    let part =
        TypedCroppedImage::from_ref(&whole, across.first, down.first, across.count, down.count)
            .expect("the planned part lies in the image");
    // One pass after the other, with whole bytes between them and in Pillow's order: in one call the passes come
    // vertical first, and sharp filters then differ by far more.
    let Size { height, width } = scaled;
    if vertical_first(source.size, scaled) {
        let between = pass(&part, across.all(), down, Size { height, width: across.count }, filter);
        pass(&view(&between), across, Part::whole(height), scaled, filter)
    } else {
        let between = pass(&part, across, down.all(), Size { height: down.count, width }, filter);
        pass(&view(&between), Part::whole(width), down, scaled, filter)
    }
}

/// The image to the resizer. Its type is spoken of by name, or the compiler would make the resizer for every
/// type there is, which takes minutes.
fn view(image: &RgbImage8) -> TypedImageRef<'_, U8x3> {
    TypedImageRef::from_buffer(image.width(), image.height(), image.data())
        .expect("three bytes a pixel")
}

/// Whether a filter takes pixels or leaves them, and so finds very different ones a hair's breadth aside.
fn whole_pixels(filter: Filter) -> bool {
    matches!(filter, Filter::Nearest | Filter::Box)
}

/// The whole pixels of a part.
fn cut(image: &RgbImage8, across: Part, down: Part) -> RgbImage8 {
    let (first, columns) = (3 * across.first as usize, 3 * across.count as usize);
    RgbImage8::build(across.count, down.count, |data| {
        for row in image.rows().skip(down.first as usize).take(down.count as usize) {
            data.extend_from_slice(&row[first..first + columns]);
        }
    })
}

/// One of the two passes, in which one of the sides keeps its length.
fn pass(
    source: &impl ImageView<Pixel = U8x3>,
    across: Part,
    down: Part,
    target: Size,
    filter: Filter,
) -> RgbImage8 {
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Box => ResizeAlg::Convolution(FilterType::Box),
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Hamming => ResizeAlg::Convolution(FilterType::Hamming),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    let options = ResizeOptions::new()
        .resize_alg(algorithm)
        .crop(across.start, down.start, across.length, down.length)
        .use_alpha(false);
    RgbImage8::build(target.width, target.height, |data| {
        data.resize(3 * target.width as usize * target.height as usize, 0);
        let mut image = TypedImage::<U8x3>::from_buffer(target.width, target.height, data)
            .expect("three bytes a pixel");
        Resizer::new()
            .resize_typed(source, &mut image, &options)
            .expect("the part lies in the source");
    })
}

/// A part of a side: whole pixels, and of these what need not be whole.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: u32,
    count: u32,
    start: f64,
    length: f64,
}

impl Part {
    /// The part of `length` pixels from `start` of a side that was decoded to `ratio` of its length. Eighths of
    /// 16-bit lengths are exact in floating point.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "sides are below 2^32, and the part lies in the image"
    )]
    fn new(start: i64, length: u32, ratio: f64) -> Self {
        assert!(start >= 0, "the planned part lies in the image");
        let start = start as f64 * ratio;
        let length = f64::from(length) * ratio;
        let first = start.floor();
        let count = ((start + length).ceil() - first).max(1.0);
        Self { first: first as u32, count: count as u32, start: start - first, length }
    }

    fn whole(count: u32) -> Self {
        Self { first: 0, count, start: 0.0, length: f64::from(count) }
    }

    /// The whole pixels, for the pass that leaves this side as it is.
    fn all(self) -> Self {
        Self::whole(self.count)
    }
}
