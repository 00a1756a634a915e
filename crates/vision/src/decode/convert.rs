//! Pillow's rules for making RGB of other sample layouts (`src/libImaging/Convert.c` and `Unpack.c`).

/// Repeats a gray sample for the three channels.
pub(super) fn gray(row: impl IntoIterator<Item = u8>, out: &mut Vec<u8>) {
    out.extend(row.into_iter().flat_map(|value| [value; 3]));
}

/// Keeps the first three bytes of every `channels`.
pub(super) fn first_three(row: &[u8], channels: usize, out: &mut Vec<u8>) {
    out.extend(row.chunks_exact(channels).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]));
}

/// 16-bit gray is Pillow's mode `I;16`, whose way to RGB clamps: all but the darkest 256 levels turn white.
pub(super) fn clamp_gray16(value: u16) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

/// An integer as a sample: what is outside of 0..255 becomes the nearest end.
pub(super) fn clamp(value: i32) -> u8 {
    u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX)
}

/// A floating point number as a sample: cut, not rounded.
pub(super) fn clamp_float(value: f32) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and cutting the fraction is the rule that is followed"
    )]
    let sample = value as u8;
    sample
}

/// The samples of a row of `width` samples of 1, 2, 4 or 8 bits, most significant bits first.
pub(super) fn unpack(row: &[u8], bits: u8, width: usize) -> impl Iterator<Item = u8> + '_ {
    let per_byte = usize::from(8 / bits);
    let mask = u8::MAX >> (8 - bits);
    (0..width).map(move |x| {
        let place = u8::try_from(per_byte - 1 - x % per_byte).unwrap_or(0);
        row[x / per_byte] >> (place * bits) & mask
    })
}

/// What a gray sample of `bits` bits is multiplied with to fill 0..255.
pub(super) fn gray_scale(bits: u8) -> u8 {
    u8::MAX / (u8::MAX >> (8 - bits))
}

/// A palette of all 256 indices from the triples of a file; an index past their end is black.
pub(super) fn colours(palette: &[u8]) -> [[u8; 3]; 256] {
    let mut colours = [[0; 3]; 256];
    for (colour, entry) in colours.iter_mut().zip(palette.chunks_exact(3)) {
        colour.copy_from_slice(entry);
    }
    colours
}

/// Looks indices up in a palette.
pub(super) fn palette(
    indices: impl IntoIterator<Item = u8>,
    colours: &[[u8; 3]; 256],
    out: &mut Vec<u8>,
) {
    out.extend(indices.into_iter().flat_map(|index| colours[usize::from(index)]));
}

/// Inks to light: each ink is weighed by what black leaves over.
pub(super) fn cmyk(row: &[u8], out: &mut Vec<u8>) {
    for pixel in row.chunks_exact(4) {
        let light = u8::MAX - pixel[3];
        let channel = |ink: u8| light - multiply_255(ink, light);
        out.extend([channel(pixel[0]), channel(pixel[1]), channel(pixel[2])]);
    }
}

/// Undoes premultiplied alpha, then drops the alpha.
pub(super) fn unpremultiply(row: &[u8], out: &mut Vec<u8>) {
    for pixel in row.chunks_exact(4) {
        let alpha = u32::from(pixel[3]);
        let channel = |value: u8| match alpha {
            0 | 255 => value,
            _ => u8::try_from(255 * u32::from(value) / alpha).unwrap_or(u8::MAX),
        };
        out.extend([channel(pixel[0]), channel(pixel[1]), channel(pixel[2])]);
    }
}

/// `a * b / 255`, rounded as Pillow rounds it; at most `b`.
fn multiply_255(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    u8::try_from(((product >> 8) + product) >> 8).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::{clamp_gray16, gray_scale, multiply_255, unpack};

    #[test]
    fn unpacks_from_the_high_bits() {
        assert_eq!(
            unpack(&[0b1010_0000, 0b1000_0000], 1, 9).collect::<Vec<_>>(),
            [1, 0, 1, 0, 0, 0, 0, 0, 1]
        );
        assert_eq!(unpack(&[0b1101_1000], 2, 3).collect::<Vec<_>>(), [3, 1, 2]);
        assert_eq!(unpack(&[0xab], 4, 2).collect::<Vec<_>>(), [0xa, 0xb]);
        assert_eq!(unpack(&[0xab], 8, 1).collect::<Vec<_>>(), [0xab]);
        assert_eq!([1, 2, 4, 8].map(gray_scale), [255, 85, 17, 1]);
    }

    #[test]
    fn clamps_and_multiplies_like_pillow() {
        assert_eq!([0, 255, 256, u16::MAX].map(clamp_gray16), [0, 255, 255, 255]);
        for a in 0..=255 {
            for b in 0..=255 {
                assert!(multiply_255(a, b) <= b, "an ink must not outweigh the light it takes");
            }
        }
    }
}
