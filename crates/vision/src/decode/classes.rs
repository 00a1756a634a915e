//! PNG files whose samples are classes: what a program saved that wrote a mask.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use super::png::{convert_error, too_large};
use super::{DecodeError, DecodeLimits, Format, convert, format_of};
use crate::Size;

/// The samples of a PNG with a palette, or of a gray one of 8 bits at most, as they are stored: the mask that
/// [`palette_png`](crate::palette_png) was given.
///
/// # Errors
/// [`DecodeError::Unsupported`] for colours and other formats, and those of [`decode`](crate::decode).
pub fn png_classes(bytes: &[u8], limits: &DecodeLimits) -> Result<(Size, Vec<u8>), DecodeError> {
    let format = format_of(bytes)?;
    if format != Format::Png {
        return Err(DecodeError::unsupported(format, "a mask as an image is a PNG"));
    }
    let mut decoder =
        Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: limits.alloc_bytes() });
    decoder.set_transformations(Transformations::IDENTITY);
    let header = decoder.read_header_info().map_err(convert_error)?;
    let size = Size { height: header.height, width: header.width };
    limits.check(Format::Png, size.width, size.height)?;
    let (colour, bits) = (header.color_type, header.bit_depth as u8);
    if !matches!(colour, ColorType::Indexed | ColorType::Grayscale) || bits > 8 {
        let what = "a mask as PNG has a palette, or is gray with 8 bits at most";
        return Err(DecodeError::unsupported(Format::Png, what));
    }
    let mut reader = decoder.read_info().map_err(convert_error)?;
    let width = size.width as usize;
    let stride = reader.output_line_size(size.width).ok_or_else(too_large)?;
    let mut packed = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    reader.next_frame(&mut packed).map_err(convert_error)?;
    let rows = packed.chunks_exact(stride);
    Ok((size, rows.flat_map(|row| convert::unpack(row, bits, width)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RgbImage8, palette_png, rgb_png, voc_palette};

    fn read(file: &[u8]) -> Result<(Size, Vec<u8>), DecodeError> {
        png_classes(file, &DecodeLimits::default())
    }

    #[test]
    fn a_mask_comes_back_as_it_was() {
        let mask: Vec<u8> = (0..35).map(|i| i % 5).collect();
        let file = palette_png(&mask, 7, 5, &voc_palette(5)).unwrap();
        assert_eq!(read(&file).unwrap(), (Size { height: 5, width: 7 }, mask));
    }

    #[test]
    fn samples_of_few_bits_and_gray_ones_are_classes_too() {
        for (colour, depth, data, expected) in [
            (ColorType::Grayscale, png::BitDepth::Eight, &[0, 9, 255][..], [0, 9, 255]),
            (ColorType::Grayscale, png::BitDepth::One, &[0b1010_0000], [1, 0, 1]),
            (ColorType::Indexed, png::BitDepth::Four, &[0x12, 0x30], [1, 2, 3]),
        ] {
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, 3, 1);
            encoder.set_color(colour);
            encoder.set_depth(depth);
            encoder.set_palette(&[7; 48]);
            encoder.write_header().unwrap().write_image_data(data).unwrap();
            assert_eq!(read(&file).unwrap().1, expected);
        }
    }

    #[test]
    fn colours_other_formats_and_half_a_file_are_refused() {
        let colours = rgb_png(&RgbImage8::new(1, 1, vec![1, 2, 3]).unwrap()).unwrap();
        assert!(read(&colours).unwrap_err().to_string().contains("has a palette, or is gray"));
        assert!(read(b"GIF89a").unwrap_err().to_string().contains("a PNG"));
        let whole = palette_png(&[0; 4], 2, 2, &voc_palette(1)).unwrap();
        assert!(read(&whole[..whole.len() - 20]).is_err());
        let few = DecodeLimits::for_pixels(3);
        assert!(matches!(png_classes(&whole, &few), Err(DecodeError::TooManyPixels { .. })));
    }
}
