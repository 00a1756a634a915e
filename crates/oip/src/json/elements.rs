//! The elements of a tensor as JSON writes them, flat or nested, straight into the bytes of their type.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use mar_engine::{DType, Element, Error, Result, Tensor};

use super::reader::Reader;
use crate::quoted::Quoted;

/// Characters of an element that an error repeats at most.
const SHOWN: usize = 32;

/// How strings of any bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strings {
    /// As they are.
    Plain,
    /// In base64.
    Base64,
    /// As they are, or in base64 as `{"b64": "..."}`.
    OrBase64,
}

/// The bytes of as many elements as a shape has, of an array that stands alone in `text`.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) naming the element that the type does not
/// hold, or both numbers where there are more or fewer.
pub(super) fn bytes(text: &[u8], dtype: DType, count: usize, written: Strings) -> Result<Bytes> {
    match dtype {
        DType::U8 => whole::<u8>(text, count),
        DType::U16 => whole::<u16>(text, count),
        DType::U32 => whole::<u32>(text, count),
        DType::U64 => whole::<u64>(text, count),
        DType::I8 => whole::<i8>(text, count),
        DType::I16 => whole::<i16>(text, count),
        DType::I32 => whole::<i32>(text, count),
        DType::I64 => whole::<i64>(text, count),
        DType::F32 => numbers(text, count, real(f32::is_infinite, f32::NAN, f32::INFINITY)),
        DType::F64 => numbers(text, count, real(f64::is_infinite, f64::NAN, f64::INFINITY)),
        DType::Bool => truths(text, count),
        DType::Bytes => strings(text, count, written),
        DType::F16 | DType::BF16 => Err(Error::invalid_input(format!(
            "{} has no form in JSON; send it as binary data",
            dtype.datatype()
        ))),
    }
}

fn whole<T: Element + std::str::FromStr>(text: &[u8], count: usize) -> Result<Bytes> {
    numbers(text, count, |number: &str| number.parse::<T>().ok())
}

/// What a token is as a number of floating point; none where it is beyond the type's range.
fn real<T: Copy + std::str::FromStr + std::ops::Neg<Output = T>>(
    is_infinite: fn(T) -> bool,
    nan: T,
    infinity: T,
) -> impl Fn(&str) -> Option<T> {
    move |number| match number {
        "NaN" => Some(nan),
        "Infinity" => Some(infinity),
        "-Infinity" => Some(-infinity),
        _ => number.parse().ok().filter(|value| !is_infinite(*value)),
    }
}

fn numbers<T: Element>(text: &[u8], count: usize, of: impl Fn(&str) -> Option<T>) -> Result<Bytes> {
    let mut values = Vec::with_capacity(count.min(text.len() / 2));
    each(text, count, |reader, index| {
        if reader.peek() == Some(b'"') {
            let text = reader.string()?;
            return Err(held_not::<T>(index, &format!("\"{text}\"")));
        }
        if let Some(word) = reader.word() {
            return Err(held_not::<T>(index, word));
        }
        let number = reader.number()?;
        values.push(of(number).ok_or_else(|| held_not::<T>(index, number))?);
        Ok(())
    })?;
    Ok(Tensor::from_vec(&[values.len()], values)?.bytes().clone())
}

fn held_not<T: Element>(index: usize, element: &str) -> Error {
    let shown: String = element.chars().take(SHOWN).collect();
    let message =
        format!("element {index} is {shown}, which {} does not hold", T::DTYPE.datatype());
    Error::invalid_input(message)
}

fn truths(text: &[u8], count: usize) -> Result<Bytes> {
    let mut values = Vec::with_capacity(count.min(text.len() / 2));
    each(text, count, |reader, index| match reader.word() {
        Some("true") => {
            values.push(1_u8);
            Ok(())
        }
        Some("false") => {
            values.push(0);
            Ok(())
        }
        _ => Err(Error::invalid_input(format!("element {index} is not true or false"))),
    })?;
    Ok(values.into())
}

fn strings(text: &[u8], count: usize, written: Strings) -> Result<Bytes> {
    let mut data = Vec::with_capacity(text.len());
    each(text, count, |reader, index| {
        let (string, encoded) = match (reader.peek(), written) {
            (Some(b'"'), _) => (reader.string()?, written == Strings::Base64),
            (Some(b'{'), Strings::OrBase64) => (b64(reader, index)?, true),
            _ => return Err(Error::invalid_input(format!("element {index} is not a string"))),
        };
        let start = data.len();
        data.extend_from_slice(&[0; 4]);
        if encoded {
            BASE64_STANDARD.decode_vec(string.as_bytes(), &mut data).map_err(|reason| {
                Error::invalid_input(format!("element {index} is not base64: {reason}"))
            })?;
        } else {
            data.extend_from_slice(string.as_bytes());
        }
        let length = u32::try_from(data.len() - start - 4).map_err(|_| {
            Error::invalid_input(format!("element {index} is longer than a string can be"))
        })?;
        data[start..start + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    })?;
    Ok(data.into())
}

/// What stands in `{"b64": "..."}`.
fn b64<'a>(reader: &mut Reader<'a>, index: usize) -> Result<Cow<'a, str>> {
    let mut found = None;
    reader.object(|reader, name| {
        if name != "b64" {
            return Err(Error::invalid_input(format!(
                "element {index} is not {{\"b64\": \"...\"}}"
            )));
        }
        found = Some(reader.string()?);
        Ok(())
    })?;
    found
        .ok_or_else(|| Error::invalid_input(format!("element {index} is not {{\"b64\": \"...\"}}")))
}

/// A string behind its length, as a tensor has it.
pub(super) fn one_string(string: &[u8]) -> Result<Bytes> {
    Ok(Tensor::from_strings(&[1], [string])?.bytes().clone())
}

/// Each element of an array, whatever arrays it stands in.
fn each(
    text: &[u8],
    count: usize,
    mut element: impl FnMut(&mut Reader<'_>, usize) -> Result<()>,
) -> Result<()> {
    fn level(
        reader: &mut Reader<'_>,
        found: &mut usize,
        count: usize,
        element: &mut dyn FnMut(&mut Reader<'_>, usize) -> Result<()>,
    ) -> Result<()> {
        reader.array(|reader| {
            if reader.peek() == Some(b'[') {
                return level(reader, found, count, element);
            }
            if *found == count {
                let message = format!("more than the {count} elements of its shape");
                return Err(Error::invalid_input(message));
            }
            element(reader, *found)?;
            *found += 1;
            Ok(())
        })
    }
    let mut found = 0;
    let mut reader = Reader::new(text);
    level(&mut reader, &mut found, count, &mut element)?;
    if found == count {
        return Ok(());
    }
    Err(Error::invalid_input(format!("{found} elements, and its shape has {count}")))
}

/// A shape's number of elements.
///
/// # Errors
/// Where no memory holds so many.
pub(super) fn count(name: &str, shape: &[usize]) -> Result<usize> {
    let sides = shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side));
    sides.ok_or_else(|| {
        let message = format!("input {}: shape is of no tensor in any memory", Quoted(name));
        Error::invalid_input(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, dtype: DType, count: usize) -> Result<Tensor, String> {
        let bytes = bytes(text.as_bytes(), dtype, count, Strings::Plain);
        let bytes = bytes.map_err(|error| error.message().to_owned())?;
        Ok(Tensor::from_bytes(dtype, &[count], bytes).unwrap())
    }

    #[test]
    fn numbers_are_read_flat_or_nested() {
        for text in ["[1,2,3,4]", "[[1, 2], [3, 4]]", " [ [[1],[2]], [[3],[ 4 ]] ]"] {
            let tensor = read(text, DType::I32, 4).unwrap();
            assert_eq!(tensor.as_slice::<i32>().unwrap(), [1, 2, 3, 4]);
        }
        assert!(read("[[], []]", DType::F32, 0).unwrap().bytes().is_empty());
    }

    #[test]
    fn each_type_holds_its_range_and_no_more() {
        let limits = [
            (DType::I8, "-128", "128"),
            (DType::U8, "255", "-1"),
            (DType::I16, "32767", "32768"),
            (DType::U16, "65535", "65536"),
            (DType::I32, "-2147483648", "3000000000"),
            (DType::U32, "4294967295", "4294967296"),
            (DType::I64, "9223372036854775807", "9223372036854775808"),
            (DType::U64, "18446744073709551615", "18446744073709551616"),
            (DType::F32, "3.4e38", "3.5e38"),
            (DType::F64, "1.7e308", "1.8e308"),
        ];
        for (dtype, held, beyond) in limits {
            let wanted: f64 = held.parse().unwrap();
            let got = read(&format!("[{held}]"), dtype, 1).unwrap().numbers().at(0);
            assert!((got - wanted).abs() <= wanted.abs() * 1e-7, "{held}: {got}");
            let error = read(&format!("[0, {beyond}]"), dtype, 2).unwrap_err();
            let word = dtype.datatype();
            assert_eq!(error, format!("element 1 is {beyond}, which {word} does not hold"));
        }
    }

    #[test]
    fn no_other_kind_of_value_is_made_a_number() {
        for other in ["1.5", "1.0", "1e2", "true", "null", "\"1\"", "NaN"] {
            let error = read(&format!("[{other}]"), DType::I64, 1).unwrap_err();
            assert_eq!(error, format!("element 0 is {other}, which INT64 does not hold"));
        }
        assert!(read("[{}]", DType::I64, 1).unwrap_err().contains("not JSON"));
        assert!(read("[1", DType::I64, 1).unwrap_err().contains("not JSON"));
        assert!(read("[1,]", DType::I64, 1).is_err());
        for half in [DType::F16, DType::BF16] {
            assert!(read("[1]", half, 1).unwrap_err().contains("binary data"));
        }
    }

    #[test]
    fn floats_are_the_nearest_to_what_is_written_or_none() {
        let tensor =
            read("[0.1, -0.0, 16777217, NaN, Infinity, -Infinity]", DType::F32, 6).unwrap();
        let values = tensor.as_slice::<f32>().unwrap();
        assert_eq!(values[0].to_bits(), 0x3dcc_cccd);
        assert!(values[1].is_sign_negative() && values[3].is_nan());
        assert_eq!(values[2].to_bits(), 16_777_216_f32.to_bits());
        assert_eq!((values[4], values[5]), (f32::INFINITY, f32::NEG_INFINITY));
    }

    #[test]
    fn truth_and_strings() {
        assert_eq!(read("[true, [false]]", DType::Bool, 2).unwrap().bytes()[..], [1, 0]);
        assert_eq!(read("[1]", DType::Bool, 1).unwrap_err(), "element 0 is not true or false");
        let tensor = read(r#"["", "a\n", "\u00e4"]"#, DType::Bytes, 3).unwrap();
        assert_eq!(tensor.strings().collect::<Vec<_>>(), ["", "a\n", "\u{e4}"]);
        assert_eq!(read("[5]", DType::Bytes, 1).unwrap_err(), "element 0 is not a string");
        let encoded = bytes(br#"["/wD+"]"#, DType::Bytes, 1, Strings::Base64).unwrap();
        assert_eq!(encoded[..], [3, 0, 0, 0, 0xff, 0, 0xfe]);
        let broken = bytes(br#"["*"]"#, DType::Bytes, 1, Strings::Base64).unwrap_err();
        assert!(broken.message().starts_with("element 0 is not base64: "), "{broken}");
    }

    #[test]
    fn shape_and_elements_must_agree() {
        assert_eq!(read("[1]", DType::U8, 2).unwrap_err(), "1 elements, and its shape has 2");
        assert_eq!(
            read("[1,2]", DType::U8, 1).unwrap_err(),
            "more than the 1 elements of its shape"
        );
    }
}
