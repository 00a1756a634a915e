//! How messages are read: as prost reads them, but for those that have more fields than any request means.

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{self, BufferSettings, DecodeBuf};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Fields of a message at most, an entry of a list each: an empty one takes two bytes, and in memory hundreds.
pub const MOST_FIELDS: usize = 65_536;

/// Messages that go out as `T` and come in as `U`.
#[derive(Debug)]
pub struct Codec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::new())
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(self.0.decoder())
    }
}

/// What reads messages that come in.
#[derive(Debug)]
pub struct Decoder<U>(ProstDecoder<U>);

impl<U: Message + Default> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // It came in one piece.
        if has_too_many(message.chunk()) {
            return Err(Status::invalid_argument(format!(
                "the message has more than {MOST_FIELDS} fields; send tensors of several elements"
            )));
        }
        self.0.decode(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Whether a message has more fields than are taken. One that is malformed has not: whoever reads it says why.
fn has_too_many(mut message: &[u8]) -> bool {
    for _ in 0..MOST_FIELDS {
        if message.is_empty() {
            return false;
        }
        let skipped = decode_key(&mut message).and_then(|(tag, wire_type)| {
            skip_field(wire_type, tag, &mut message, DecodeContext::default())
        });
        if skipped.is_err() {
            return false;
        }
    }
    !message.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_whatever_is_in_them() {
        let tensors = |count: usize| b"\x2a\0".repeat(count);
        assert!(!has_too_many(&tensors(MOST_FIELDS)));
        assert!(has_too_many(&tensors(MOST_FIELDS + 1)));
        let large = [&b"\x3a\x80\x80\x10"[..], &tensors(1 << 17)].concat();
        assert!(!has_too_many(&large), "one field of many bytes");
        for malformed in [&b"\x2a\x05"[..], b"\xff", b"\0\0"] {
            assert!(!has_too_many(&malformed.repeat(MOST_FIELDS)), "{malformed:?}");
        }
    }
}
