//! Outputs that have a map a row, such as the probabilities by class that scikit-learn's exporter makes: a tensor
//! whose last side has the keys as labels.

use std::hash::Hash;
use std::sync::Arc;

use mar_handler::{Error, Result, Tensor};
use ort::value::{
    DynMap, DynMapValueType, DynSequence, IntoTensorElementType, TensorElementType, ValueType,
};

use super::error::prediction;

/// Whether an output of this kind becomes a tensor here.
pub(super) fn are_rows(kind: &ValueType) -> bool {
    let ValueType::Sequence(each) = kind else { return false };
    matches!(
        **each,
        ValueType::Map {
            key: TensorElementType::Int64 | TensorElementType::String,
            value: TensorElementType::Float32,
        }
    )
}

/// The numbers of a map a row, `[rows, keys]`, with the keys as labels, in the order in which the maps have them,
/// which is their own.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`](mar_handler::ErrorCode::PredictionFailed) where not all rows have the same keys.
pub(super) fn rows(value: &DynSequence, name: &str) -> Result<Tensor> {
    let maps = value.try_extract_sequence::<DynMapValueType>().map_err(prediction)?;
    let has_numbers =
        |map: &DynMap| matches!(map.dtype(), ValueType::Map { key: TensorElementType::Int64, .. });
    if maps.first().is_some_and(has_numbers) {
        rows_of::<i64>(&maps, name, ToString::to_string)
    } else {
        rows_of::<String>(&maps, name, Clone::clone)
    }
}

fn rows_of<K>(maps: &[DynMap], name: &str, told: fn(&K) -> String) -> Result<Tensor>
where
    K: IntoTensorElementType + Clone + Hash + Eq,
{
    let mut keys: Vec<K> = Vec::new();
    let mut values: Vec<f32> = Vec::new();
    for (row, map) in maps.iter().enumerate() {
        let entries = map.try_extract_key_values::<K, f32>().map_err(prediction)?;
        if row == 0 {
            keys = entries.iter().map(|(key, _)| key.clone()).collect();
            values.reserve(keys.len() * maps.len());
        } else if !entries.iter().map(|(key, _)| key).eq(&keys) {
            return Err(Error::prediction_failed(format!(
                "output \"{name}\" has other keys in row {row} of its batch than in the first, so the rows make no tensor; set batchSize to 1, or export a tensor in its place"
            )));
        }
        values.extend(entries.into_iter().map(|(_, value)| value));
    }
    let labels: Arc<[String]> = keys.iter().map(told).collect();
    let tensor = Tensor::from_vec(&[maps.len(), labels.len()], values)?;
    Ok(tensor.with_labels(labels)?.named(name))
}

#[cfg(test)]
mod tests {
    use mar_handler::ErrorCode;
    use ort::value::{Map, Sequence};

    use super::*;
    use crate::Onnx;

    #[test]
    fn a_row_with_other_keys_is_told() {
        // The library has to be there before values can be made.
        let _library = Onnx::start();
        let map = |keys: [i64; 2]| Map::<i64, f32>::new(keys.map(|key| (key, 0.5))).unwrap();
        let sequence = Sequence::new([map([3, 8]), map([3, 8]), map([3, 9])]).unwrap();
        let error = rows(&sequence.upcast(), "p").unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.message().starts_with("output \"p\" has other keys in row 2 of "), "{error}");
    }
}
