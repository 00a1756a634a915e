//! Colours of classes, on their own and over the image they were found in.

use super::{MaskError, check};
use crate::RgbImage8;
use crate::resample::nearest_indices;

/// The colours of the first `classes` classes by the PASCAL VOC rule (the function `VOClabelcolormap` of the
/// VOC development kit): the bits of the class number are dealt to red, green and blue in turn, filling each
/// from its highest bit down. Class 0 is black.
pub fn voc_palette(classes: usize) -> Vec<[u8; 3]> {
    (0..classes)
        .map(|class| {
            let mut colour = [0_u8; 3];
            for bit in 0..8 {
                for (channel, value) in colour.iter_mut().enumerate() {
                    let set = class >> (3 * bit + channel) & 1 == 1;
                    *value |= u8::from(set) << (7 - bit);
                }
            }
            colour
        })
        .collect()
}

/// `image` with each pixel moved towards its class's colour by `opacity` (0: the image, 1: the colours). A
/// mask of another size is scaled to the image by nearest neighbour. Where a colour is `None`, the image stays
/// as it is.
///
/// # Errors
/// Where the mask's length is not its size, or a class has no colour.
pub fn overlay<C: Copy + Into<Option<[u8; 3]>>>(
    image: &RgbImage8,
    mask: &[u8],
    mask_width: u32,
    mask_height: u32,
    palette: &[C],
    opacity: f32,
) -> Result<RgbImage8, MaskError> {
    check(mask, mask_width, mask_height, palette.len())?;
    let opacity = opacity.clamp(0.0, 1.0);
    let columns: Vec<usize> = nearest_indices(mask_width, image.width()).collect();
    let rows = nearest_indices(mask_height, image.height());
    Ok(RgbImage8::build(image.width(), image.height(), |data| {
        for (pixels, row) in image.rows().zip(rows) {
            let classes = &mask[row * mask_width as usize..][..mask_width as usize];
            for (pixel, column) in pixels.chunks_exact(3).zip(&columns) {
                let below = [pixel[0], pixel[1], pixel[2]];
                let colour = palette[usize::from(classes[*column])].into().unwrap_or(below);
                data.extend(
                    [0, 1, 2].map(|channel| blend(below[channel], colour[channel], opacity)),
                );
            }
        }
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of two samples is a sample"
)]
fn blend(below: u8, above: u8, opacity: f32) -> u8 {
    let (below, above) = (f32::from(below), f32::from(above));
    // Cut after adding a half, because rounding is a call of a function on many processors.
    (below + (above - below) * opacity + 0.5) as u8
}

/// The share of the mask's pixels that each of `classes` classes has, from 0 to 1. Pixels of a higher
/// class count towards the whole alone, so the shares then sum to less than 1.
pub fn class_shares(mask: &[u8], classes: usize) -> Vec<f64> {
    let mut counts = [0_u32; 256];
    for class in mask {
        counts[usize::from(*class)] += 1;
    }
    // As doubles, because a mask of 2^32 pixels does not exist and an empty one has shares of 0.
    let whole: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    let share =
        |class: usize| counts.get(class).map_or(0.0, |count| f64::from(*count) / whole.max(1.0));
    (0..classes).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::{class_shares, overlay, voc_palette};
    use crate::RgbImage8;

    #[test]
    fn the_voc_palette_is_the_published_one() {
        let palette = voc_palette(256);
        assert_eq!(palette[..4], [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]);
        assert_eq!(palette[7], [128, 128, 128], "car");
        assert_eq!(palette[15], [192, 128, 128], "person");
        assert_eq!(palette[20], [0, 64, 128], "television");
        assert_eq!(palette[255], [224, 224, 192], "void");
    }

    #[test]
    fn an_overlay_moves_towards_the_colours() {
        let image = RgbImage8::new(2, 1, vec![10, 20, 30, 110, 120, 130]).unwrap();
        let palette = [[0, 0, 0], [210, 20, 30]];
        let over = |opacity| overlay(&image, &[0, 1], 2, 1, &palette, opacity).unwrap();
        assert_eq!(over(0.0), image);
        assert_eq!(over(1.0).data(), [0, 0, 0, 210, 20, 30]);
        assert_eq!(over(0.5).data(), [5, 10, 15, 160, 70, 80]);
        let left_alone = overlay(&image, &[0, 1], 2, 1, &[None, Some(palette[1])], 1.0).unwrap();
        assert_eq!(left_alone.data(), [10, 20, 30, 210, 20, 30]);
    }

    #[test]
    fn a_small_mask_is_scaled_to_the_image() {
        let image = RgbImage8::new(4, 4, vec![0; 48]).unwrap();
        let over = overlay(&image, &[0, 1, 2, 3], 2, 2, &voc_palette(4), 1.0).unwrap();
        let corner = |x: usize, y: usize| &over.data()[3 * (y * 4 + x)..][..3];
        assert_eq!(corner(1, 1), [0, 0, 0]);
        assert_eq!(corner(2, 1), [128, 0, 0]);
        assert_eq!(corner(1, 2), [0, 128, 0]);
        assert_eq!(corner(3, 3), [128, 128, 0]);
    }

    #[test]
    fn shares_are_of_the_whole_mask() {
        assert_eq!(class_shares(&[0, 1, 1, 9], 3), [0.25, 0.5, 0.0]);
        assert_eq!(class_shares(&[], 2), [0.0, 0.0]);
        assert_eq!(class_shares(&[255], 300)[255..257], [1.0, 0.0]);
    }
}
