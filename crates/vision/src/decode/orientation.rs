//! How a camera was held, and images turned by it: what Pillow's `ImageOps.exif_transpose` does.

use super::{DecodeError, Format, markers, png, tiff, webp};
use crate::{RgbImage8, Size};

/// What is made of the orientation that a camera wrote into a file's EXIF or XMP data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exif {
    /// Nothing, as Pillow's `Image.open`, FastAI and TorchServe do.
    #[default]
    Ignore,
    /// The image is turned upright, as Pillow's `ImageOps.exif_transpose` does.
    Apply,
}

/// One of the eight ways an image may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation {
    /// Columns become rows.
    swap: bool,
    /// The first column shown is the last stored, before columns become rows.
    from_right: bool,
    /// The first row shown is the last stored, before columns become rows.
    from_bottom: bool,
}

impl Orientation {
    pub(crate) const UPRIGHT: Self = Self::new(false, false, false);

    const fn new(swap: bool, from_right: bool, from_bottom: bool) -> Self {
        Self { swap, from_right, from_bottom }
    }

    /// The value of the tag (1 to 8); others change nothing.
    pub(super) fn of_tag(tag: u64) -> Self {
        match tag {
            2 => Self::new(false, true, false),
            3 => Self::new(false, true, true),
            4 => Self::new(false, false, true),
            5 => Self::new(true, false, false),
            6 => Self::new(true, false, true),
            7 => Self::new(true, true, true),
            8 => Self::new(true, true, false),
            _ => Self::UPRIGHT,
        }
    }

    /// The orientation that the file in `bytes` asks for. A TIFF's is not told here, for its pixels are turned
    /// whatever is asked for.
    pub(crate) fn of_file(format: Format, bytes: &[u8]) -> Result<Self, DecodeError> {
        let tag = match format {
            Format::Jpeg => {
                let markers = markers::walk(bytes)?;
                let exif = markers.exif.concat();
                tag_in(Some(&exif), markers.xmp)
            }
            Format::Png => tag_in(png::exif(bytes), png::xmp(bytes)),
            Format::WebP => tag_in(webp::chunk(bytes, *b"EXIF"), webp::chunk(bytes, *b"XMP ")),
            Format::Bmp | Format::Gif | Format::Tiff => None,
        };
        Ok(tag.map_or(Self::UPRIGHT, Self::of_tag))
    }

    /// The size of an image of size `stored` once it is turned.
    pub(crate) fn turned_size(self, stored: Size) -> Size {
        if self.swap { Size { height: stored.width, width: stored.height } } else { stored }
    }

    /// The image, turned.
    pub(crate) fn turn(self, image: RgbImage8) -> RgbImage8 {
        if self == Self::UPRIGHT {
            return image;
        }
        let stored = Size { height: image.height(), width: image.width() };
        let Size { height, width } = self.turned_size(stored);
        let (columns, rows) = (stored.width as usize, stored.height as usize);
        let column = |x: usize| if self.from_right { columns - 1 - x } else { x };
        let row = |y: usize| columns * if self.from_bottom { rows - 1 - y } else { y };
        let pixels = image.data().as_chunks::<3>().0;
        RgbImage8::build(width, height, |data| {
            for y in 0..height as usize {
                if self.swap {
                    let column = column(y);
                    data.extend((0..rows).flat_map(|x| pixels[row(x) + column]));
                } else {
                    let row = &pixels[row(y)..][..columns];
                    data.extend((0..columns).flat_map(|x| row[column(x)]));
                }
            }
        })
    }
}

/// The value of the tag in EXIF data, or else in XMP data.
pub(super) fn tag_in(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Option<u64> {
    exif.and_then(tiff::orientation_tag).or_else(|| xmp.and_then(xmp_tag))
}

/// The digit that Pillow's regular expression finds: after `tiff:Orientation="` or `tiff:Orientation>`.
fn xmp_tag(xmp: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    xmp.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).find_map(|(at, _)| {
        let rest = &xmp[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        value.first().filter(|digit| digit.is_ascii_digit()).map(|digit| u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Orientation, xmp_tag};
    use crate::RgbImage8;

    #[test]
    fn turns_as_the_names_of_the_tags_say() {
        // Rows 0 1 2 and 3 4 5.
        let data = (0..6).flat_map(|v| [v; 3]).collect();
        let image = RgbImage8::new(3, 2, data).unwrap();
        let cases = [
            (1, 3, [0, 1, 2, 3, 4, 5]),
            (2, 3, [2, 1, 0, 5, 4, 3]),
            (3, 3, [5, 4, 3, 2, 1, 0]),
            (4, 3, [3, 4, 5, 0, 1, 2]),
            (5, 2, [0, 3, 1, 4, 2, 5]),
            (6, 2, [3, 0, 4, 1, 5, 2]),
            (7, 2, [5, 2, 4, 1, 3, 0]),
            (8, 2, [2, 5, 1, 4, 0, 3]),
            (9, 3, [0, 1, 2, 3, 4, 5]),
        ];
        for (tag, width, pixels) in cases {
            let turned = Orientation::of_tag(tag).turn(image.clone());
            let found: Vec<u8> = turned.data().iter().step_by(3).copied().collect();
            assert_eq!((turned.width(), &found[..]), (width, &pixels[..]), "tag {tag}");
        }
    }

    #[test]
    fn finds_both_forms_in_xmp() {
        assert_eq!(xmp_tag(b"<x tiff:Orientation=\"6\"/>"), Some(6));
        assert_eq!(xmp_tag(b"<tiff:Orientation>8</tiff:Orientation>"), Some(8));
        assert_eq!(xmp_tag(b"tiff:Orientation tiff:Orientation=\"x tiff:Orientation>3"), Some(3));
        assert_eq!(xmp_tag(b"tiff:Orientation"), None);
    }
}
