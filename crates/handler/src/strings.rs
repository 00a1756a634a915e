//! Strings in a tensor: one after the other, each behind its length in four bytes, the least first.
//!
//! That is how the Open Inference Protocol carries them, so that a tensor of strings goes from a client to a
//! network as it came.

use std::ops::Range;

use bytes::Bytes;

use crate::{Error, ErrorCode, Result};

/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// Checks that the bytes are exactly the strings that a shape holds.
pub(crate) fn check(shape: &[usize], data: &[u8]) -> Result<()> {
    let wanted = shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side));
    let mut rest = data;
    let mut found = 0_usize;
    while !rest.is_empty() {
        let Some(next) = after_first(rest) else {
            return Err(Error::new(
                ErrorCode::Internal,
                format!("string {found} of a bytes tensor of shape {shape:?} is cut off"),
            ));
        };
        rest = next;
        found += 1;
    }
    if wanted == Some(found) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Internal,
        format!("a bytes tensor of shape {shape:?} does not hold {found} strings"),
    ))
}

/// What follows the first string.
fn after_first(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first_chunk::<LENGTH>()?;
    rest.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

/// Strings behind their lengths.
pub(crate) fn joined<S: AsRef<[u8]>>(elements: impl IntoIterator<Item = S>) -> Result<Bytes> {
    let mut data = Vec::new();
    for element in elements {
        let element = element.as_ref();
        let length = u32::try_from(element.len()).map_err(|_| {
            let message = format!("a string of {} bytes does not fit a tensor", element.len());
            Error::new(ErrorCode::Internal, message)
        })?;
        data.extend_from_slice(&length.to_le_bytes());
        data.extend_from_slice(element);
    }
    Ok(data.into())
}

/// The strings of bytes that were checked.
pub(crate) fn each(mut data: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let after = after_first(&data)?.len();
        let mut string = data.split_to(data.len() - after);
        Some(string.split_off(LENGTH))
    })
}

/// Some of the strings of bytes that were checked, with their lengths.
pub(crate) fn range(data: &Bytes, strings: Range<usize>) -> Bytes {
    let place = |count: usize| {
        let after = (0..count).fold(&data[..], |rest, _| after_first(rest).unwrap_or_default());
        data.len() - after.len()
    };
    data.slice(place(strings.start)..place(strings.end))
}

#[cfg(test)]
mod tests {
    use crate::{Batch, DType, Tensor};

    fn tensor(shape: &[usize], strings: &[&str]) -> Tensor {
        Tensor::from_strings(shape, strings).unwrap()
    }

    #[test]
    fn strings_come_back_as_they_went_in() {
        let strings = ["", "a", "\u{e4}\0b"];
        let it = tensor(&[3], &strings);
        assert_eq!(it.dtype(), DType::Bytes);
        assert_eq!(&it.bytes()[..4], [0, 0, 0, 0]);
        assert_eq!(&it.bytes()[4..9], [1, 0, 0, 0, b'a']);
        let back: Vec<_> = it.strings().collect();
        assert_eq!(back, strings);
        assert!(it.numbers().is_empty());
    }

    #[test]
    fn shape_and_strings_must_agree() {
        let of = |shape: &[usize], data: &'static [u8]| {
            Tensor::from_bytes(DType::Bytes, shape, data.into())
                .map(drop)
                .map_err(|e| e.to_string())
        };
        assert_eq!(of(&[1], &[2, 0, 0, 0, 7, 7]), Ok(()));
        assert_eq!(of(&[0], &[]), Ok(()));
        assert!(of(&[1], &[3, 0, 0, 0, 7, 7]).unwrap_err().contains("string 0"));
        assert!(of(&[1], &[3, 0, 0]).unwrap_err().contains("cut off"));
        assert!(of(&[1], &[255, 255, 255, 255, 1]).unwrap_err().contains("cut off"));
        assert!(of(&[2], &[0, 0, 0, 0]).unwrap_err().contains("does not hold 1 strings"));
        assert!(of(&[usize::MAX, 2], &[]).unwrap_err().contains("does not hold 0 strings"));
    }

    #[test]
    fn a_batch_of_strings_is_split_where_they_end() {
        let requests = [vec![tensor(&[2], &["a", "bcd"])], vec![tensor(&[2], &["", "e"])]];
        let batch = Batch::stack(requests.to_vec()).unwrap();
        assert_eq!(batch.tensors()[0].shape(), [2, 2]);
        assert_eq!(batch.split().unwrap(), requests);
    }
}
