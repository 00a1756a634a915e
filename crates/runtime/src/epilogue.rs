//! What is done with a model's output before it leaves the device.

use mar_handler::{Epilogue, Error, ErrorCode, Result};
use tch::{Kind, Tensor};

use crate::error::prediction;

/// Classes that fit a byte.
const BYTE_CLASSES: i64 = 256;

/// Applies the epilogue to the first of a model's outputs, of which there is one at least; the others are
/// dropped unless it is `None`.
pub(crate) fn apply(outputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
    let first = &outputs[0];
    match epilogue {
        Epilogue::None => return Ok(outputs),
        Epilogue::Softmax { dim } => {
            side(first, dim)?;
            first.f_softmax(dim as i64, None).map(|tensor| vec![tensor])
        }
        Epilogue::ArgMax { dim } => arg_max(first, dim, side(first, dim)?).map(|t| vec![t]),
        Epilogue::ArgMaxWithProbability { dim } => {
            let classes = side(first, dim)?;
            let probability = winners_probability(first, dim as i64, classes);
            arg_max(first, dim, classes).and_then(|winner| Ok(vec![winner, probability?]))
        }
        Epilogue::TopK { k } => {
            let last = first.dim().checked_sub(1).ok_or_else(|| scalar(first))?;
            let k = (k as i64).min(side(first, last)?);
            first.f_topk(k, last as i64, true, true).map(|(values, indices)| vec![values, indices])
        }
    }
    .map_err(prediction)
}

fn arg_max(scores: &Tensor, dim: usize, classes: i64) -> Result<Tensor, tch::TchError> {
    let dim = dim as i64;
    if classes == 1 {
        return scores.f_squeeze_dim(dim)?.f_gt(0.0)?.f_to_kind(Kind::Uint8);
    }
    let winners = scores.f_argmax(dim, false)?;
    if classes <= BYTE_CLASSES { winners.f_to_kind(Kind::Uint8) } else { Ok(winners) }
}

/// The softmax of the winner along `dim`; of a single logit, the sigmoid of its distance from 0.
fn winners_probability(scores: &Tensor, dim: i64, classes: i64) -> Result<Tensor, tch::TchError> {
    let scores = scores.f_to_kind(Kind::Float)?;
    if classes == 1 {
        return scores.f_squeeze_dim(dim)?.f_abs()?.f_sigmoid();
    }
    scores.f_softmax(dim, None)?.f_amax([dim], false)
}

/// How long a tensor is along a dimension, or an error that shows its shape.
fn side(tensor: &Tensor, dim: usize) -> Result<i64> {
    tensor.size().get(dim).copied().filter(|side| *side > 0).ok_or_else(|| {
        Error::new(
            ErrorCode::PredictionFailed,
            format!(
                "the model's output has shape {:?}, which has nothing along dimension {dim}",
                tensor.size()
            ),
        )
    })
}

fn scalar(tensor: &Tensor) -> Error {
    let message = format!("the model's output has shape {:?}; a top-k needs a list", tensor.size());
    Error::new(ErrorCode::PredictionFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f32], shape: &[i64]) -> Tensor {
        Tensor::from_slice(values).reshape(shape)
    }

    fn bytes(tensor: &Tensor) -> Vec<u8> {
        Vec::<u8>::try_from(tensor.reshape([-1])).unwrap()
    }

    #[test]
    fn arg_max_drops_the_dimension_and_gives_bytes() {
        let out =
            apply(vec![scores(&[1., 5., 9., 2., 3., 4.], &[1, 3, 2])], Epilogue::ArgMax { dim: 1 })
                .unwrap();
        assert_eq!(out[0].size(), [1, 2]);
        assert_eq!(out[0].kind(), Kind::Uint8);
        assert_eq!(bytes(&out[0]), [1, 0]);
    }

    #[test]
    fn more_than_256_classes_keep_whole_numbers() {
        let many = Tensor::arange(300, (Kind::Float, tch::Device::Cpu)).reshape([1, 300]);
        let out = apply(vec![many], Epilogue::ArgMax { dim: 1 }).unwrap();
        assert_eq!(out[0].kind(), Kind::Int64);
        assert_eq!(i64::try_from(&out[0]).unwrap(), 299);
    }

    #[test]
    fn a_single_logit_is_yes_above_zero() {
        let out = apply(vec![scores(&[-1., 0., 2.], &[1, 1, 3])], Epilogue::ArgMax { dim: 1 });
        let out = out.unwrap();
        assert_eq!(out[0].size(), [1, 3]);
        assert_eq!(bytes(&out[0]), [0, 0, 1]);
    }

    #[test]
    fn the_winners_probability_is_its_softmax_or_its_sigmoid() {
        let ln = |p: f32| p.ln();
        let of = |values: &[f32], shape: &[i64]| {
            let epilogue = Epilogue::ArgMaxWithProbability { dim: 1 };
            let out = apply(vec![scores(values, shape)], epilogue).unwrap();
            (bytes(&out[0]), Vec::<f32>::try_from(out[1].reshape([-1])).unwrap(), out[1].size())
        };
        let (winners, sure, shape) = of(&[ln(0.2), ln(0.9), ln(0.8), ln(0.1)], &[1, 2, 2]);
        assert_eq!((winners, shape), (vec![1, 0], vec![1, 2]));
        assert!((sure[0] - 0.8).abs() < 1e-6 && (sure[1] - 0.9).abs() < 1e-6, "{sure:?}");
        let (winners, sure, _) = of(&[ln(3.0), ln(0.25)], &[1, 1, 2]);
        assert_eq!(winners, [1, 0], "sigmoid of ln 3 is 3 in 4, that of ln 1/4 is 1 in 5");
        assert!((sure[0] - 0.75).abs() < 1e-6 && (sure[1] - 0.8).abs() < 1e-6, "{sure:?}");
    }

    #[test]
    fn top_k_is_descending_and_no_longer_than_the_list() {
        let out = apply(vec![scores(&[1., 3., 2.], &[1, 3])], Epilogue::TopK { k: 5 }).unwrap();
        assert_eq!(Vec::<i64>::try_from(out[1].reshape([-1])).unwrap(), [1, 2, 0]);
        let out = apply(vec![scores(&[1., 3., 2.], &[1, 3])], Epilogue::TopK { k: 1 }).unwrap();
        assert_eq!(out[0].size(), [1, 1]);
    }

    #[test]
    fn softmax_sums_to_one() {
        let out = apply(vec![scores(&[0., 0., 0., 0.], &[1, 4])], Epilogue::Softmax { dim: 1 });
        let values = Vec::<f32>::try_from(out.unwrap()[0].reshape([-1])).unwrap();
        assert!(values.iter().all(|p| (p - 0.25).abs() < 1e-7));
    }

    #[test]
    fn a_missing_dimension_is_an_error_that_shows_the_shape() {
        for epilogue in [Epilogue::ArgMax { dim: 1 }, Epilogue::Softmax { dim: 1 }] {
            let error = apply(vec![scores(&[1., 2.], &[2])], epilogue).unwrap_err();
            assert!(error.to_string().contains("[2]"), "{error}");
        }
        assert!(apply(vec![scores(&[], &[1, 0])], Epilogue::ArgMax { dim: 1 }).is_err());
        assert!(apply(vec![scores(&[1.], &[])], Epilogue::TopK { k: 1 }).is_err());
    }

    #[test]
    fn without_an_epilogue_every_output_is_kept() {
        let out = apply(vec![scores(&[1.], &[1]), scores(&[2.], &[1])], Epilogue::None).unwrap();
        assert_eq!(out.len(), 2);
    }
}
