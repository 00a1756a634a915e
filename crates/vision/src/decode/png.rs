//! PNG of every colour type and depth, read as stored and made RGB by Pillow's rules.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodingError, Limits, Transformations};

use super::{DecodeError, DecodeLimits, Format, convert};
use crate::RgbImage8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: limits.alloc_bytes() });
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(convert_error)?;
    limits.check(Format::Png, header.width, header.height)?;

    let mut reader = decoder.read_info().map_err(convert_error)?;
    let info = reader.info();
    let (width, height) = info.size();
    let layout = Layout { colour: info.color_type, depth: info.bit_depth, width: width as usize };
    let palette = info.palette.as_deref().unwrap_or_default();
    if layout.colour == ColorType::Indexed && palette.is_empty() {
        return Err(DecodeError::corrupt(Format::Png, "no palette"));
    }
    let palette = convert::colours(palette);

    let mut data = Vec::with_capacity(3 * width as usize * height as usize);
    if info.interlaced {
        // The rows of an interlaced file are complete only after its last pass.
        let stride = reader.output_line_size(width).ok_or_else(too_large)?;
        let mut whole = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
        reader.next_frame(&mut whole).map_err(convert_error)?;
        for row in whole.chunks_exact(stride) {
            layout.append_rgb(row, &palette, &mut data);
        }
    } else {
        for _ in 0..height {
            let row = reader.next_row().map_err(convert_error)?;
            let row = row.ok_or_else(|| DecodeError::truncated(Format::Png, "rows are missing"))?;
            layout.append_rgb(row.data(), &palette, &mut data);
        }
    }
    RgbImage8::new(width, height, data).ok_or_else(|| {
        DecodeError::corrupt(Format::Png, "rows of another length than the header says")
    })
}

/// How samples lie in a row.
struct Layout {
    colour: ColorType,
    depth: BitDepth,
    width: usize,
}

impl Layout {
    fn append_rgb(&self, row: &[u8], palette: &[[u8; 3]; 256], out: &mut Vec<u8>) {
        let wide = self.depth == BitDepth::Sixteen;
        let bits = self.depth as u8;
        // Samples of 16 bits are big endian: the high byte is the first of two.
        let high_bytes = |row: &[u8]| row.iter().step_by(2).copied().collect::<Vec<_>>();
        match self.colour {
            ColorType::Indexed => {
                convert::palette(convert::unpack(row, bits, self.width), palette, out);
            }
            ColorType::Grayscale if wide => convert::gray(
                row.chunks_exact(2)
                    .map(|v| convert::clamp_gray16(u16::from_be_bytes([v[0], v[1]]))),
                out,
            ),
            ColorType::Grayscale => {
                let scale = convert::gray_scale(bits);
                convert::gray(convert::unpack(row, bits, self.width).map(|v| v * scale), out);
            }
            ColorType::GrayscaleAlpha => {
                convert::gray(row.iter().step_by(if wide { 4 } else { 2 }).copied(), out);
            }
            ColorType::Rgb if wide => out.extend(high_bytes(row)),
            ColorType::Rgb => out.extend_from_slice(row),
            ColorType::Rgba if wide => convert::first_three(&high_bytes(row), 4, out),
            ColorType::Rgba => convert::first_three(row, 4, out),
        }
    }
}

fn too_large() -> DecodeError {
    DecodeError::unsupported(Format::Png, "rows longer than memory")
}

fn convert_error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::LimitsExceeded => {
            DecodeError::unsupported(Format::Png, "it needs too much memory")
        }
        // The PNG error hides the I/O error it wraps from `source`.
        DecodingError::IoError(error) => DecodeError::from_decoder(Format::Png, error),
        error => DecodeError::from_decoder(Format::Png, error),
    }
}
