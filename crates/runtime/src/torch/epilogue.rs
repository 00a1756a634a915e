//! What is done with a model's output before it leaves the device.

use mar_handler::{Epilogue, Error, ErrorCode, Result};
use tch::{Kind, Tensor};

use super::error::prediction;

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
    use super::super::convert::{borrowed, own};
    use super::{Result, Tensor, apply};

    /// The epilogue on tensors of the host.
    #[expect(clippy::needless_pass_by_value, reason = "as the other library has it")]
    fn on_host(
        outputs: Vec<mar_handler::Tensor>,
        epilogue: mar_handler::Epilogue,
    ) -> Result<Vec<mar_handler::Tensor>> {
        borrowed(&outputs, |views| {
            let results = apply(views, epilogue)?;
            results.iter().map(|result: &Tensor| own(result, &outputs)).collect()
        })
    }

    mod host {
        use super::on_host;

        crate::epilogue_tests::epilogue_tests!(on_host);
    }
}
