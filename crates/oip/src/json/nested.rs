//! Tensors whose shape is that of the arrays which their elements stand in, as TensorFlow Serving's clients
//! write them.

use bytes::Bytes;
use mar_engine::{DType, Element, Error, Result, Tensor};

use super::elements::{self, Strings};
use super::reader::Reader;

/// The tensor that a value is, which stands alone in `text`.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where arrays beside each other have not the
/// same length, or an element is not of the type.
pub(super) fn tensor(text: &[u8], dtype: DType) -> Result<(Vec<usize>, Bytes)> {
    let shape = shape(&mut Reader::new(text))?;
    let count = shape.iter().product();
    let read_as = match dtype {
        // JSON has no narrower ones; the nearest is taken.
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    };
    let bytes = if shape.is_empty() {
        let alone = [b"[", text, b"]"].concat();
        elements::bytes(&alone, read_as, count, Strings::OrBase64)?
    } else {
        elements::bytes(text, read_as, count, Strings::OrBase64)?
    };
    Ok((shape, if read_as == dtype { bytes } else { narrowed(bytes, count, dtype)? }))
}

/// Singles as halves.
fn narrowed(bytes: Bytes, count: usize, dtype: DType) -> Result<Bytes> {
    let wide = Tensor::from_bytes(DType::F32, &[count], bytes)?;
    let values = wide.as_slice::<f32>()?;
    let narrow = if dtype == DType::F16 {
        halves(values, half::f16::from_f32, half::f16::is_infinite)?
    } else {
        halves(values, half::bf16::from_f32, half::bf16::is_infinite)?
    };
    Ok(narrow.bytes().clone())
}

/// The nearest half of each; an error where a number has none, because it is beyond the range.
fn halves<T: Element>(values: &[f32], of: fn(f32) -> T, infinite: fn(T) -> bool) -> Result<Tensor> {
    let half = |(index, value): (usize, &f32)| {
        let half = of(*value);
        if infinite(half) && value.is_finite() {
            let word = T::DTYPE.datatype();
            let message = format!("element {index} is {value:e}, which {word} does not hold");
            return Err(Error::invalid_input(message));
        }
        Ok(half)
    };
    let halves = values.iter().enumerate().map(half).collect::<Result<Vec<T>>>()?;
    Tensor::from_vec(&[halves.len()], halves)
}

/// The lengths of arrays within each other, of which those beside each other are the same.
fn shape(reader: &mut Reader<'_>) -> Result<Vec<usize>> {
    if reader.peek() != Some(b'[') {
        reader.skip()?;
        return Ok(Vec::new());
    }
    let mut length = 0;
    let mut within: Option<Vec<usize>> = None;
    reader.array(|reader| {
        let this = shape(reader)?;
        length += 1;
        match &within {
            Some(first) if *first != this => {
                Err(Error::invalid_input("arrays beside each other have not the same lengths"))
            }
            Some(_) => Ok(()),
            None => {
                within = Some(this);
                Ok(())
            }
        }
    })?;
    let mut shape = vec![length];
    shape.extend(within.unwrap_or_default());
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, dtype: DType) -> Result<Tensor, String> {
        let (shape, bytes) = tensor(text.as_bytes(), dtype).map_err(|e| e.message().to_owned())?;
        Ok(Tensor::from_bytes(dtype, &shape, bytes).unwrap())
    }

    #[test]
    fn arrays_give_the_shape() {
        let tensor = read("[[1, 2, 3], [4, 5, 6]]", DType::I32).unwrap();
        assert_eq!(
            (tensor.shape(), tensor.as_slice::<i32>().unwrap()),
            (&[2, 3][..], &[1, 2, 3, 4, 5, 6][..])
        );
        assert_eq!(read("7", DType::I64).unwrap().shape(), [0_usize; 0]);
        assert_eq!(read("[]", DType::F32).unwrap().shape(), [0]);
        assert_eq!(read("[[], []]", DType::F32).unwrap().shape(), [2, 0]);
        for ragged in ["[[1], [2, 3]]", "[1, [2]]", "[[1], 2]"] {
            assert!(read(ragged, DType::F32).unwrap_err().contains("same lengths"), "{ragged}");
        }
        let halves = read("[0.5, 65504]", DType::F16).unwrap();
        assert_eq!(halves.numbers().iter().collect::<Vec<_>>(), [0.5, 65504.0]);
        assert_eq!(
            read("[1, 65520]", DType::F16).unwrap_err(),
            "element 1 is 6.552e4, which FP16 does not hold"
        );
        assert!(read("[3.4e38]", DType::BF16).unwrap_err().contains("BF16 does not hold"));
        let infinite = read("[-Infinity]", DType::F16).unwrap();
        assert!(infinite.numbers().at(0) < f64::MIN, "it is written as such");
    }

    #[test]
    fn strings_may_be_base64_by_name() {
        let tensor = read(r#"["a", {"b64": "/wD+"}]"#, DType::Bytes).unwrap();
        assert_eq!(tensor.strings().collect::<Vec<_>>(), [&b"a"[..], b"\xff\0\xfe"]);
        let scalar = read(r#"{"b64": "YQ=="}"#, DType::Bytes).unwrap();
        assert_eq!((scalar.shape().len(), scalar.strings().next().unwrap()), (0, "a".into()));
        assert!(read(r#"[{"b65": "YQ=="}]"#, DType::Bytes).unwrap_err().contains("element 0"));
        assert!(read(r#"[{"b64": "*"}]"#, DType::Bytes).unwrap_err().contains("not base64"));
    }
}
