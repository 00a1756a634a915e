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

/// The EXIF data of a PNG.
pub(super) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    chunks(bytes).find(|(kind, _)| kind == b"eXIf").map(|(_, data)| data)
}

/// The XMP data of a PNG, which is a text of this name; a compressed one is not looked into.
pub(super) fn xmp(bytes: &[u8]) -> Option<&[u8]> {
    let texts = chunks(bytes).filter(|(kind, _)| kind == b"iTXt");
    texts.filter_map(|(_, data)| data.strip_prefix(b"XML:com.adobe.xmp\0\0")).last()
}

/// Kinds and data of the chunks, as far as they are whole.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, after) = rest.split_first_chunk::<8>()?;
        let [l0, l1, l2, l3, kind @ ..] = *header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let data = after.get(..length)?;
        // A checksum of four bytes follows.
        rest = after.get(length + 4..).unwrap_or_default();
        Some((kind, data))
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

pub(super) fn too_large() -> DecodeError {
    DecodeError::unsupported(Format::Png, "rows longer than memory")
}

pub(super) fn convert_error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::LimitsExceeded => {
            DecodeError::unsupported(Format::Png, "it needs too much memory")
        }
        // The PNG error hides the I/O error it wraps from `source`.
        DecodingError::IoError(error) => DecodeError::from_decoder(Format::Png, error),
        error => DecodeError::from_decoder(Format::Png, error),
    }
}
