//! The first frame of a GIF.

use ::gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::{DecodeError, DecodeLimits, Format, convert};
use crate::RgbImage8;

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage8, DecodeError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    if let Some(bytes) = std::num::NonZeroU64::new(limits.max_alloc) {
        options.set_memory_limit(MemoryLimit::Bytes(bytes));
    }
    let mut decoder = options.read_info(bytes).map_err(convert_error)?;
    let screen = (decoder.width(), decoder.height());
    limits.check(Format::Gif, u32::from(screen.0), u32::from(screen.1))?;

    let frame = decoder
        .next_frame_info()
        .map_err(convert_error)?
        .ok_or_else(|| DecodeError::truncated(Format::Gif, "no frame"))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (frame_width, frame_height) = (usize::from(frame.width), usize::from(frame.height));
    // Pillow lets a frame that reaches beyond the screen widen it, and fills what the frame leaves free with
    // the transparent colour, or else with the palette's first.
    let width = usize::from(screen.0).max(left + frame_width);
    let height = usize::from(screen.1).max(top + frame_height);
    let background = frame.transparent.unwrap_or(0);
    let side = |value| u32::try_from(value).unwrap_or(u32::MAX);
    limits.check(Format::Gif, side(width), side(height))?;
    limits.check(Format::Gif, side(frame_width), side(frame_height))?;

    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(convert_error)?;
    let palette = convert::colours(decoder.palette().map_err(convert_error)?);

    let free = |count| std::iter::repeat_n(background, count);
    let mut data = Vec::with_capacity(3 * width * height);
    convert::palette(free(top * width), &palette, &mut data);
    for row in indices.chunks_exact(frame_width) {
        let right = width - left - frame_width;
        let cells = free(left).chain(row.iter().copied()).chain(free(right));
        convert::palette(cells, &palette, &mut data);
    }
    convert::palette(free((height - top - frame_height) * width), &palette, &mut data);
    RgbImage8::new(side(width), side(height), data)
        .ok_or_else(|| DecodeError::corrupt(Format::Gif, "a frame of another size than it says"))
}

fn convert_error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::UnexpectedEof => DecodeError::truncated(Format::Gif, error),
        error => DecodeError::from_decoder(Format::Gif, error),
    }
}
