//! From the samples of a TIFF to RGB, by Pillow's rules.

use ::tiff::ColorType;
use ::tiff::decoder::DecodingResult;

use super::super::{DecodeError, Format, convert};

/// What the samples mean: tags that the decoder does not look at.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) width: usize,
    /// Whether gray counts from white.
    pub(super) white_is_zero: bool,
    /// Whether colours are multiplied with an alpha that follows them.
    pub(super) premultiplied: bool,
    /// The palette, whose indices the samples are.
    pub(super) palette: Option<Box<[[u8; 3]; 256]>>,
}

impl Meaning {
    /// Appends RGB for all rows.
    pub(super) fn append_rgb(
        &self,
        colour: ColorType,
        samples: &DecodingResult,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        // Integers of more than 8 bits are clamped to 0..255, as Pillow's modes `I;16`, `I` and `F` are.
        match (colour, samples) {
            (ColorType::Gray(bits @ (1 | 2 | 4 | 8)), DecodingResult::U8(bytes)) => {
                for row in bytes.chunks_exact((self.width * usize::from(bits)).div_ceil(8)) {
                    self.append_gray(convert::unpack(row, bits, self.width), bits, out);
                }
            }
            (ColorType::Gray(8), DecodingResult::I8(values)) if !self.white_is_zero => {
                convert::gray(values.iter().map(|value| value.cast_unsigned()), out);
            }
            (ColorType::Multiband { bit_depth: 8, num_samples: 2 }, DecodingResult::U8(bytes))
                if !self.premultiplied =>
            {
                self.append_gray(bytes.iter().step_by(2).copied(), 8, out);
            }
            (ColorType::Gray(16), DecodingResult::U16(values)) => {
                convert::gray(values.iter().map(|v| convert::clamp_gray16(*v)), out);
            }
            (ColorType::Gray(16), DecodingResult::I16(values)) => {
                convert::gray(values.iter().map(|v| convert::clamp(i32::from(*v))), out);
            }
            (ColorType::Gray(32), DecodingResult::U32(values)) => {
                convert::gray(values.iter().map(|v| convert::clamp(v.cast_signed())), out);
            }
            (ColorType::Gray(32), DecodingResult::I32(values)) => {
                convert::gray(values.iter().map(|v| convert::clamp(*v)), out);
            }
            (ColorType::Gray(32), DecodingResult::F32(values)) => {
                convert::gray(values.iter().map(|v| convert::clamp_float(*v)), out);
            }
            (ColorType::RGB(8), DecodingResult::U8(bytes)) => out.extend_from_slice(bytes),
            (ColorType::RGBA(8), DecodingResult::U8(bytes)) if self.premultiplied => {
                convert::unpremultiply(bytes, out);
            }
            (ColorType::RGBA(8), DecodingResult::U8(bytes)) => {
                convert::first_three(bytes, 4, out);
            }
            (ColorType::CMYK(8), DecodingResult::U8(bytes)) => convert::cmyk(bytes, out),
            (ColorType::CMYK(16), DecodingResult::U16(values)) => {
                convert::cmyk(&high_bytes(values), out);
            }
            (ColorType::RGB(16), DecodingResult::U16(values)) => out.extend(high_bytes(values)),
            (ColorType::RGBA(16), DecodingResult::U16(values)) if !self.premultiplied => {
                convert::first_three(&high_bytes(values), 4, out);
            }
            (other, _) => {
                let what = format_args!("{other:?} samples");
                return Err(DecodeError::unsupported(Format::Tiff, what));
            }
        }
        Ok(())
    }

    fn append_gray(&self, values: impl Iterator<Item = u8>, bits: u8, out: &mut Vec<u8>) {
        let scale = convert::gray_scale(bits);
        match &self.palette {
            Some(palette) => convert::palette(values, palette, out),
            None if self.white_is_zero => convert::gray(values.map(|v| !(v * scale)), out),
            None => convert::gray(values.map(|v| v * scale), out),
        }
    }
}

fn high_bytes(values: &[u16]) -> Vec<u8> {
    values.iter().map(|value| value.to_be_bytes()[0]).collect()
}
