//! Strips and tiles: where they lie in the file, and where their samples belong in the image.

use std::ops::Range;

use ::tiff::decoder::{ChunkType, DecodingResult};
use ::tiff::tags::Tag;

use super::super::{DecodeError, DecodeLimits, Format};
use super::{Reader, convert_error, jpeg};
use crate::Size;

/// An image that is put together from its chunks, with 8 bits a sample.
#[derive(Debug)]
pub(super) struct Mosaic {
    width: usize,
    height: usize,
    /// Size of a chunk.
    wide: usize,
    high: usize,
    /// Samples of a pixel in the image.
    channels: usize,
    /// Whether every chunk has samples of one channel only.
    planar: bool,
    data: Vec<u8>,
}

impl Mosaic {
    /// An image of `channels` samples a pixel, without samples yet.
    pub(super) fn new(decoder: &Reader, size: Size, channels: usize, planar: bool) -> Self {
        let (wide, high) = decoder.chunk_dimensions();
        let (width, height) = (size.width as usize, size.height as usize);
        let data = vec![0; width * height * channels];
        let (wide, high) = ((wide as usize).max(1), (high as usize).max(1));
        Self { width, height, wide, high, channels, planar, data }
    }

    /// Reads the planes, of which the decoder alone would put only some together.
    pub(super) fn read(mut self, decoder: &mut Reader) -> Result<Vec<u8>, DecodeError> {
        for index in 0..self.chunks() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            // Beyond the last strip the decoder would panic.
            let samples = match decoder.get_chunk_type() {
                ChunkType::Strip => decoder.strip_count(),
                ChunkType::Tile => decoder.tile_count(),
            };
            if samples.map_err(convert_error)? <= number {
                return Err(DecodeError::corrupt(Format::Tiff, "planes are missing"));
            }
            let stride = decoder.chunk_data_dimensions(number).0 as usize;
            match decoder.read_chunk(number).map_err(convert_error)? {
                DecodingResult::U8(samples) => self.put(index, &samples, stride)?,
                _ => return Err(DecodeError::unsupported(Format::Tiff, "planes of wide samples")),
            }
        }
        Ok(self.data)
    }

    /// Decodes chunks that are each a JPEG.
    pub(super) fn read_jpegs(
        mut self,
        decoder: &mut Reader,
        bytes: &[u8],
        to_rgb: bool,
        limits: &DecodeLimits,
    ) -> Result<Vec<u8>, DecodeError> {
        let tables = decoder.find_tag(Tag::JPEGTables).map_err(convert_error)?;
        let tables = tables.map(::tiff::decoder::ifd::Value::into_u8_vec).transpose();
        let tables = tables.map_err(convert_error)?.unwrap_or_default();
        let ranges = ranges(decoder)?;
        if ranges.len() < self.chunks() {
            return Err(DecodeError::corrupt(Format::Tiff, "strips or tiles are missing"));
        }
        let channels = if self.planar { 1 } else { self.channels };
        for (index, range) in ranges.into_iter().enumerate().take(self.chunks()) {
            let chunk = bytes
                .get(range)
                .ok_or_else(|| DecodeError::truncated(Format::Tiff, "a strip beyond the end"))?;
            let file = jpeg::file(&tables, chunk, channels)?;
            let (samples, stride) = super::super::jpeg::samples(&file, channels, to_rgb, limits)?;
            self.put(index, &samples, stride)?;
        }
        Ok(self.data)
    }

    fn chunks(&self) -> usize {
        let planes = if self.planar { self.channels } else { 1 };
        planes * self.width.div_ceil(self.wide) * self.height.div_ceil(self.high)
    }

    /// Puts the samples of a chunk, in rows of `stride` pixels, in their place.
    fn put(&mut self, index: usize, samples: &[u8], stride: usize) -> Result<(), DecodeError> {
        let (across, down) = (self.width.div_ceil(self.wide), self.height.div_ceil(self.high));
        let (plane, index) = (index / (across * down), index % (across * down));
        let (left, top) = (index % across * self.wide, index / across * self.high);
        let (columns, rows) = (self.wide.min(self.width - left), self.high.min(self.height - top));
        let each = if self.planar { 1 } else { self.channels };
        if stride < columns || samples.len() < rows * stride * each {
            return Err(DecodeError::corrupt(Format::Tiff, "a strip of too few samples"));
        }
        for (row, source) in samples.chunks_exact(stride * each).take(rows).enumerate() {
            let at = ((top + row) * self.width + left) * self.channels;
            let target = &mut self.data[at..at + columns * self.channels];
            if self.planar {
                let target = target.iter_mut().skip(plane).step_by(self.channels);
                target.zip(source).for_each(|(sample, value)| *sample = *value);
            } else {
                target.copy_from_slice(&source[..columns * each]);
            }
        }
        Ok(())
    }
}

/// Where the strips or tiles lie in the file.
pub(super) fn ranges(decoder: &mut Reader) -> Result<Vec<Range<usize>>, DecodeError> {
    let (offsets, lengths) = match decoder.get_chunk_type() {
        ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
        ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let offsets = decoder.get_tag_u64_vec(offsets).map_err(convert_error)?;
    let lengths = decoder.get_tag_u64_vec(lengths).map_err(convert_error)?;
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let ranges = offsets.into_iter().zip(lengths);
    Ok(ranges.map(|(at, length)| place(at)..place(at.saturating_add(length))).collect())
}
