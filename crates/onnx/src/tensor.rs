//! A tensor of an ONNX file: what is said of it, and how many numbers there are. The numbers themselves are passed over.

use bytes::{Buf, BufMut};
use prost::encoding::{
    DecodeContext, WireType, decode_varint, int32, int64, message, skip_field, string,
};
use prost::{DecodeError, Message};

/// `TensorProto`. Decoded by hand, because a decoder that is derived keeps the numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dims: Vec<i64>,
    /// A number of `TensorProto.DataType`.
    pub(crate) data_type: i32,
    pub(crate) name: String,
    /// Where its data lie in another file: `location`, `offset`, `length`.
    pub(crate) external: Vec<Pair>,
    /// `DataLocation`: 1 is another file.
    pub(crate) location: i32,
    /// Bytes in `raw_data`, where it has that.
    pub(crate) raw: Option<u64>,
    pub(crate) listed: Listed,
}

/// How many values there are in the lists that a tensor may have instead of raw bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) floats: u64,
    pub(crate) int32s: u64,
    pub(crate) strings: u64,
    pub(crate) int64s: u64,
    pub(crate) doubles: u64,
    pub(crate) uint64s: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

impl Message for Tensor {
    /// Files are only read.
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => int64::merge_repeated(wire_type, &mut self.dims, buf, context),
            2 => int32::merge(wire_type, &mut self.data_type, buf, context),
            4 => fixed(wire_type, &mut self.listed.floats, 4, buf, context),
            5 => varints(wire_type, &mut self.listed.int32s, buf, context),
            6 => {
                self.listed.strings += 1;
                skip_field(wire_type, tag, buf, context)
            }
            7 => varints(wire_type, &mut self.listed.int64s, buf, context),
            8 => string::merge(wire_type, &mut self.name, buf, context),
            9 if wire_type == WireType::LengthDelimited => {
                let length = length(buf, context)?;
                buf.advance(length);
                self.raw = Some(length as u64);
                Ok(())
            }
            10 => fixed(wire_type, &mut self.listed.doubles, 8, buf, context),
            11 => varints(wire_type, &mut self.listed.uint64s, buf, context),
            13 => message::merge_repeated(wire_type, &mut self.external, buf, context),
            14 => int32::merge(wire_type, &mut self.location, buf, context),
            _ => skip_field(wire_type, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The length that a field says it has, where there is as much.
fn length(buf: &mut impl Buf, context: DecodeContext) -> Result<usize, DecodeError> {
    let length = decode_varint(buf)?;
    match usize::try_from(length) {
        Ok(length) if length <= buf.remaining() => Ok(length),
        // A field of one byte in a buffer that ends before it: the decoder's own error for that.
        _ => skip_field(WireType::LengthDelimited, 1, &mut [1_u8].as_slice(), context).map(|()| 0),
    }
}

/// Counts numbers of fixed width, packed or one by one.
fn fixed(
    wire_type: WireType,
    count: &mut u64,
    width: usize,
    buf: &mut impl Buf,
    context: DecodeContext,
) -> Result<(), DecodeError> {
    if wire_type != WireType::LengthDelimited {
        *count += 1;
        return skip_field(wire_type, 1, buf, context);
    }
    let length = length(buf, context)?;
    buf.advance(length);
    *count += (length / width) as u64;
    Ok(())
}

/// Counts numbers of variable width, packed or one by one: each ends with a byte below 128.
fn varints(
    wire_type: WireType,
    count: &mut u64,
    buf: &mut impl Buf,
    context: DecodeContext,
) -> Result<(), DecodeError> {
    if wire_type != WireType::LengthDelimited {
        *count += 1;
        return skip_field(wire_type, 1, buf, context);
    }
    let mut left = length(buf, context)?;
    while left > 0 {
        let chunk = buf.chunk();
        let chunk = &chunk[..chunk.len().min(left)];
        let taken = chunk.len();
        *count += chunk.iter().filter(|byte| **byte < 128).count() as u64;
        buf.advance(taken);
        left -= taken;
    }
    Ok(())
}
