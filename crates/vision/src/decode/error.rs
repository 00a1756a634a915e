//! Why an image could not be read: what a client is told in a 400.

use std::error::Error;
use std::io;

use super::Format;

type Source = Box<dyn Error + Send + Sync>;

/// Why bytes did not become an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There were no bytes.
    #[error("the image is empty: send the bytes of an image file")]
    Empty,
    /// The bytes begin like none of the known formats.
    #[error("not an image; known formats: {}", Format::ALL.map(Format::name).join(", "))]
    NotAnImage,
    /// The header declares more pixels than the limit allows; nothing was decoded.
    #[error(
        "the image has {width}x{height} pixels, more than the limit of {limit}; send a smaller one \
         or raise max_image_pixels"
    )]
    TooManyPixels {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// The limit on width times height.
        limit: u64,
    },
    /// The header declares a side of more pixels than any image has; nothing was decoded.
    #[error(
        "the image has {width}x{height} pixels, and no side may be longer than {limit}; cut it into several"
    )]
    SideTooLong {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// The limit on each side.
        limit: u32,
    },
    /// The image itself is within the limit, but scaled with its aspect kept it would not be.
    #[error(
        "the image would be padded or scaled to {width}x{height} pixels, more than the limit of {limit}; its \
         sides are too unequal"
    )]
    ResizeTooLarge {
        /// Width of the scaled image in pixels.
        width: u32,
        /// Height of the scaled image in pixels.
        height: u32,
        /// The limit on width times height.
        limit: u64,
    },
    /// The file ends before its last pixel.
    #[error("the {format} image is truncated")]
    Truncated {
        /// The format the file begins like.
        format: Format,
        /// What the decoder said.
        source: Source,
    },
    /// The file breaks its format's rules.
    #[error("the {format} image is damaged: {source}")]
    Corrupt {
        /// The format the file begins like.
        format: Format,
        /// What the decoder said.
        source: Source,
    },
    /// The file may be in order, but uses a part of its format that is not read here.
    #[error("this kind of {format} image is not supported: {what}")]
    Unsupported {
        /// The format the file begins like.
        format: Format,
        /// The part that is not supported.
        what: String,
    },
}

impl DecodeError {
    pub(super) fn corrupt(format: Format, source: impl Into<Source>) -> Self {
        Self::Corrupt { format, source: source.into() }
    }

    pub(super) fn truncated(format: Format, source: impl Into<Source>) -> Self {
        Self::Truncated { format, source: source.into() }
    }

    pub(super) fn unsupported(format: Format, what: impl std::fmt::Display) -> Self {
        Self::Unsupported { format, what: what.to_string() }
    }

    /// Truncated where an end of file lies at the bottom of `error`, else corrupt.
    pub(super) fn from_decoder(format: Format, error: impl Error + Send + Sync + 'static) -> Self {
        if ends_early(&error) {
            Self::truncated(format, error)
        } else {
            Self::corrupt(format, error)
        }
    }
}

/// Whether some cause of `error` is an unexpected end of file.
fn ends_early(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // An I/O error hides the error it wraps from `source`.
            return io.kind() == io::ErrorKind::UnexpectedEof
                || io.get_ref().is_some_and(|inner| ends_early(inner));
        }
        cause = error.source();
    }
    false
}
