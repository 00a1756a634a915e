//! PNG files. Fast compression: the slow kinds cost more time than the network took.

use png::{BitDepth, ColorType, Compression, Encoder, Filter};

use super::{MaskError, check};
use crate::RgbImage8;

/// `mask` (`width * height` bytes, row by row) as an 8-bit palette PNG: read back without applying the
/// palette, the pixels are the mask.
///
/// # Errors
/// Where the length is not the size, or a class has no colour.
pub fn palette_png(
    mask: &[u8],
    width: u32,
    height: u32,
    palette: &[[u8; 3]],
) -> Result<Vec<u8>, MaskError> {
    check(mask, width, height, palette.len())?;
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Indexed);
    encoder.set_palette(palette.as_flattened());
    // The fast encoder looks for zeros alone, and a row less the one above it is hardly anything else: a tenth
    // of the bytes in a fifth of the time.
    write(encoder, Filter::Up, mask)?;
    Ok(file)
}

/// `image` as an 8-bit RGB PNG.
///
/// # Errors
/// Where the encoder refuses, which a valid image gives it no cause for.
pub fn rgb_png(image: &RgbImage8) -> Result<Vec<u8>, MaskError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, image.width(), image.height());
    encoder.set_color(ColorType::Rgb);
    write(encoder, Filter::Adaptive, image.data())?;
    Ok(file)
}

fn write(
    mut encoder: Encoder<'_, &mut Vec<u8>>,
    filter: Filter,
    data: &[u8],
) -> Result<(), MaskError> {
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(filter);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(data).map_err(failed)?;
    writer.finish().map_err(failed)
}

fn failed(error: png::EncodingError) -> MaskError {
    MaskError::Encode(error.into())
}

#[cfg(test)]
mod tests {
    use super::{palette_png, rgb_png};
    use crate::{DecodeLimits, MaskError, RgbImage8, decode, voc_palette};

    #[test]
    fn a_palette_png_holds_the_mask_itself() {
        let mask: Vec<u8> = (0..35).map(|i| i % 5).collect();
        let file = palette_png(&mask, 7, 5, &voc_palette(5)).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        let mut indices = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut indices).unwrap();
        assert_eq!(info.color_type, png::ColorType::Indexed);
        assert_eq!(indices, mask);
        let colours: Vec<u8> = mask.iter().flat_map(|c| voc_palette(5)[usize::from(*c)]).collect();
        assert_eq!(decode(&file, &DecodeLimits::default()).unwrap().data(), colours);
    }

    #[test]
    fn a_mask_of_patches_is_small_whatever_its_classes() {
        let class = |i: u32| u8::try_from(3 + (i / 80 + i / 400 / 60) % 5).unwrap();
        let patches: Vec<u8> = (0..400 * 300).map(class).collect();
        let file = palette_png(&patches, 400, 300, &voc_palette(8)).unwrap();
        assert!(20 * file.len() < patches.len(), "{} bytes for {}", file.len(), patches.len());
    }

    #[test]
    fn refuses_what_would_not_show() {
        let palette = voc_palette(3);
        let refused =
            |mask: &[u8], w, h| palette_png(mask, w, h, &palette).unwrap_err().to_string();
        assert_eq!(
            refused(&[0; 5], 2, 3),
            "the mask has 5 bytes, which is not 2x3 pixels of one byte"
        );
        assert_eq!(refused(&[3], 1, 1), "class 3 has no colour: the palette has 3");
        assert!(matches!(palette_png(&[0], 1, 1, &[]), Err(MaskError::Palette(0))));
        assert!(palette_png(&[], 0, 0, &palette).is_err());
    }

    #[test]
    fn an_rgb_png_reads_back_equal() {
        let image = RgbImage8::new(3, 2, (0..18).collect()).unwrap();
        assert_eq!(decode(&rgb_png(&image).unwrap(), &DecodeLimits::default()).unwrap(), image);
    }
}
