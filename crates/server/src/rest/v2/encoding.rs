//! Bodies that are compressed on their way: gzip, and deflate, which is a stream of zlib's.

use std::io::{self, Read, Write};

use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use mar_oip::AlignedBuffer;

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    fn of(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Its name in a header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// What `Content-Encoding` says of a body: `None` where it is as it is, an error where nobody here reads it.
    pub(super) fn of_request<'a>(
        values: impl Iterator<Item = &'a HeaderValue>,
    ) -> Result<Option<Self>, ()> {
        let mut found = None;
        for value in values {
            for name in value.to_str().map_err(drop)?.split(',').map(str::trim) {
                if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                    continue;
                }
                // One after the other is nobody's.
                if found.is_some() {
                    return Err(());
                }
                found = Some(Self::of(name).ok_or(())?);
            }
        }
        Ok(found)
    }

    /// What a client likes best of what `Accept-Encoding` names, the first of equals; `None` where it names
    /// none.
    pub(super) fn for_response<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for value in values.filter_map(|value| value.to_str().ok()) {
            for choice in value.split(',') {
                let mut parts = choice.split(';');
                let Some(encoding) = parts.next().and_then(Self::of) else { continue };
                let quality = parts.find_map(|part| part.trim().strip_prefix("q="));
                let quality = quality.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
                if quality > best.map_or(0.0, |(quality, _)| quality) {
                    best = Some((quality, encoding));
                }
            }
        }
        best.map(|(_, encoding)| encoding)
    }
}

/// A body as it was before it was compressed; `None` where that is more than `limit` bytes.
pub(super) fn inflated(
    encoding: Encoding,
    body: &[u8],
    limit: usize,
    aligned: usize,
) -> io::Result<Option<Bytes>> {
    let decoder: Box<dyn Read + '_> = match encoding {
        Encoding::Gzip => Box::new(MultiGzDecoder::new(body)),
        Encoding::Deflate => Box::new(ZlibDecoder::new(body)),
    };
    let mut inflated = AlignedBuffer::new(aligned, body.len());
    io::copy(&mut decoder.take(limit as u64 + 1), &mut inflated)?;
    Ok((inflated.len() <= limit).then(|| inflated.freeze()))
}

/// The pieces of a body, compressed into one.
pub(super) fn deflated(encoding: Encoding, pieces: &[Bytes]) -> io::Result<Vec<u8>> {
    fn all<W: Write>(mut encoder: W, pieces: &[Bytes]) -> io::Result<W> {
        pieces.iter().try_for_each(|piece| encoder.write_all(piece))?;
        Ok(encoder)
    }
    // Tensors hardly get smaller, and clients wait.
    let level = Compression::fast();
    match encoding {
        Encoding::Gzip => all(GzEncoder::new(Vec::new(), level), pieces)?.finish(),
        Encoding::Deflate => all(ZlibEncoder::new(Vec::new(), level), pieces)?.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(header: &'static str) -> Option<Encoding> {
        Encoding::for_response([HeaderValue::from_static(header)].iter())
    }

    #[test]
    fn the_client_chooses_by_weight_and_the_first_of_equals() {
        assert_eq!(accepted("gzip"), Some(Encoding::Gzip));
        assert_eq!(accepted("deflate, gzip"), Some(Encoding::Deflate));
        assert_eq!(accepted("gzip;q=0.5, deflate;q=0.9"), Some(Encoding::Deflate));
        assert_eq!(accepted("br, GZIP ; q=0.1"), Some(Encoding::Gzip));
        for none in ["", "*", "identity", "br", "gzip;q=0", "gzip;q=x"] {
            assert_eq!(accepted(none), None, "{none}");
        }
    }

    #[test]
    fn a_body_is_in_one_encoding_or_none() {
        let of =
            |header: &'static str| Encoding::of_request([HeaderValue::from_static(header)].iter());
        assert_eq!(of("gzip"), Ok(Some(Encoding::Gzip)));
        assert_eq!(of("Deflate"), Ok(Some(Encoding::Deflate)));
        assert_eq!(of("identity"), Ok(None));
        for unknown in ["br", "gzip, gzip", "deflate, zstd"] {
            assert_eq!(of(unknown), Err(()), "{unknown}");
        }
        assert_eq!(Encoding::of_request(std::iter::empty()), Ok(None));
    }

    #[test]
    fn what_is_compressed_comes_back_up_to_the_limit() {
        let pieces = [Bytes::from_static(b"abc"), vec![7; 10_000].into()];
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let body = deflated(encoding, &pieces).unwrap();
            assert!(body.len() < 200);
            let back = inflated(encoding, &body, 10_003, 3).unwrap().unwrap();
            assert_eq!(back, pieces.concat());
            assert!(back[3..].as_ptr().addr().is_multiple_of(64));
            assert_eq!(inflated(encoding, &body, 10_002, 0).unwrap(), None);
            assert!(inflated(encoding, &body[..body.len() - 1], 10_003, 0).is_err());
            assert!(inflated(encoding, b"no such stream", 10_003, 0).is_err());
        }
    }
}
