//! The best classes of an output instead of all its numbers, as Triton writes them: `value:index[:label]`.

use std::cmp::Ordering;
use std::fmt::Display;

use half::{bf16, f16};
use mar_engine::{DType, Element, Error, Result, Tensor};

use crate::quoted::sides;

/// Elements that are sorted at most.
const MOST_ELEMENTS: usize = 1_000_000;

/// The `most` highest values of each row, the highest first; of all there is, where there are no rows.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where the tensor is not of numbers, or has
/// more of them than are sorted.
pub(super) fn best(
    tensor: &Tensor,
    most: usize,
    batched: bool,
    labels: Option<&[String]>,
) -> Result<Tensor> {
    match tensor.dtype() {
        DType::Bool | DType::Bytes => Err(Error::invalid_input(format!(
            "classification is of numbers, and this is {}",
            tensor.dtype().datatype()
        ))),
        DType::U8 => of::<u8>(tensor, most, batched, labels),
        DType::U16 => of::<u16>(tensor, most, batched, labels),
        DType::U32 => of::<u32>(tensor, most, batched, labels),
        DType::U64 => of::<u64>(tensor, most, batched, labels),
        DType::I8 => of::<i8>(tensor, most, batched, labels),
        DType::I16 => of::<i16>(tensor, most, batched, labels),
        DType::I32 => of::<i32>(tensor, most, batched, labels),
        DType::I64 => of::<i64>(tensor, most, batched, labels),
        DType::F16 => of::<f16>(tensor, most, batched, labels),
        DType::BF16 => of::<bf16>(tensor, most, batched, labels),
        DType::F32 => of::<f32>(tensor, most, batched, labels),
        DType::F64 => of::<f64>(tensor, most, batched, labels),
    }
}

fn of<T: Element + PartialOrd + Display>(
    tensor: &Tensor,
    most: usize,
    batched: bool,
    labels: Option<&[String]>,
) -> Result<Tensor> {
    let values = tensor.as_slice::<T>()?;
    if values.len() > MOST_ELEMENTS {
        return Err(Error::invalid_input(format!(
            "classification sorts {MOST_ELEMENTS} elements at most, and shape {} has {}",
            sides(tensor.shape()),
            values.len()
        )));
    }
    let rows = if batched { tensor.shape().first().copied().unwrap_or(1) } else { 1 };
    let classes = values.len() / rows.max(1);
    let kept = most.min(classes);
    let mut elements = Vec::with_capacity(rows * kept);
    for row in values.chunks(classes.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| descending(&row[*a], &row[*b]));
        for index in order.into_iter().take(kept) {
            let value = row[index];
            let label = labels.and_then(|labels| labels.get(index));
            let label = label.map_or_else(String::new, |label| format!(":{label}"));
            elements.push(if tensor.dtype().is_float() {
                format!("{value:.6}:{index}{label}")
            } else {
                format!("{value}:{index}{label}")
            });
        }
    }
    let shape = if batched { vec![rows, kept] } else { vec![kept] };
    Tensor::from_strings(&shape, elements)
}

/// The highest first, what is no number last, equals as they stand.
fn descending<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    let is_number = |value: &T| value.partial_cmp(value).is_some();
    b.partial_cmp(a).unwrap_or_else(|| is_number(b).cmp(&is_number(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(tensor: &Tensor) -> Vec<String> {
        tensor.strings().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn each_row_has_its_best_classes_with_six_decimals() {
        let values = vec![0.5_f32, 3.0, -1.0, 0.1, 0.2, 0.15];
        let tensor = Tensor::from_vec(&[2, 3], values).unwrap();
        let best = best(&tensor, 2, true, None).unwrap();
        assert_eq!(best.shape(), [2, 2]);
        assert_eq!(texts(&best), ["3.000000:1", "0.500000:0", "0.200000:1", "0.150000:2"]);
    }

    #[test]
    fn labels_follow_the_index_and_there_are_no_more_than_classes() {
        let labels = ["cat".to_owned(), "dog: big".to_owned()];
        let tensor = Tensor::from_vec(&[3], vec![7_i64, i64::MAX, 9]).unwrap();
        let best = best(&tensor, 9, false, Some(&labels)).unwrap();
        assert_eq!(best.shape(), [3]);
        assert_eq!(texts(&best), ["9223372036854775807:1:dog: big", "9:2", "7:0:cat"]);
    }

    #[test]
    fn what_is_no_number_comes_last() {
        let tensor = Tensor::from_vec(&[4], vec![f64::NAN, 1.0, f64::INFINITY, -2.0]).unwrap();
        let best = best(&tensor, 4, false, None).unwrap();
        assert_eq!(texts(&best), ["inf:2", "1.000000:1", "-2.000000:3", "NaN:0"]);
    }

    #[test]
    fn strings_and_truth_have_no_classes() {
        let strings = Tensor::from_strings(&[1], ["a"]).unwrap();
        let error = best(&strings, 1, false, None).unwrap_err();
        assert_eq!(error.message(), "classification is of numbers, and this is BYTES");
        let empty = Tensor::from_vec::<f32>(&[2, 0], vec![]).unwrap();
        assert_eq!(best(&empty, 5, true, None).unwrap().shape(), [2, 0]);
        let large = Tensor::from_vec(&[1_000_001], vec![0_u8; 1_000_001]).unwrap();
        assert!(best(&large, 1, false, None).unwrap_err().message().contains("1000000 elements"));
    }
}
