//! Whether a form of a network answers as the network itself does.

use mar_handler::{Error, Result};
use tch::{Kind, Tensor};

use super::answer::Named;
use super::error::prediction;

/// Numbers agree up to this share of the largest in their tensor, or of themselves: what another order of
/// additions makes of 32 bits, with room for deep networks.
const SINGLE: f64 = 1e-4;
/// Numbers of 16 bits hold three digits.
const HALF: f64 = 1e-2;

/// Fails where an answer is another than the network's own, and says how. Where numbers agree, another class is
/// the likeliest only where the network itself takes two for equally likely, as far as that is told apart here.
pub(crate) fn agree(own: &[Named], other: &[Named]) -> Result<()> {
    if own.len() != other.len() {
        return Err(differs(&format!("{} tensors, and not {}", other.len(), own.len())));
    }
    own.iter().zip(other).enumerate().try_for_each(|(index, (own, other))| {
        if own.name != other.name {
            return Err(differs(&format!("output {index} has another name")));
        }
        match difference(&own.tensor, &other.tensor).map_err(prediction)? {
            None => Ok(()),
            Some(how) => Err(differs(&format!("output {index} {how}"))),
        }
    })
}

fn differs(how: &str) -> Error {
    Error::invalid_model(format!("its answers differ: {how}"))
}

fn difference(own: &Tensor, other: &Tensor) -> Result<Option<String>, tch::TchError> {
    let (kind, shape) = (own.f_kind()?, own.size());
    if other.f_kind()? != kind || other.size() != shape {
        let (kind_now, shape_now) = (other.f_kind()?, other.size());
        return Ok(Some(format!("is {kind_now:?} {shape_now:?}, and not {kind:?} {shape:?}")));
    }
    let tolerance = match kind {
        Kind::Float | Kind::Double => SINGLE,
        Kind::Half | Kind::BFloat16 => HALF,
        _ if own.f_equal(other)? => return Ok(None),
        _ => return Ok(Some("has other values".to_owned())),
    };
    if own.numel() == 0 {
        return Ok(None);
    }
    let [own, other] = [own, other].map(|tensor| tensor.f_to_kind(Kind::Double));
    let (own, other) = (own?, other?);
    let finite = own.f_nan_to_num(0.0, 0.0, 0.0)?;
    let largest = finite.f_abs()?.f_max()?.f_double_value(&[])?;
    let close = other.f_isclose(&own, tolerance, tolerance * largest, true)?;
    if close.f_all()?.f_int64_value(&[])? != 0 {
        return Ok(None);
    }
    let most = other.f_sub(&own)?.f_nan_to_num(0.0, None, None)?.f_abs()?.f_max()?;
    let most = most.f_double_value(&[])?;
    Ok(Some(format!("by up to {most:.2e}, where the largest number is {largest:.2e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: &[f32]) -> Vec<Named> {
        vec![Named { name: None, tensor: Tensor::from_slice(values) }]
    }

    #[test]
    fn numbers_agree_within_a_share_of_the_largest() {
        let own = answer(&[100.0, 0.001, f32::NAN, f32::INFINITY]);
        agree(&own, &answer(&[100.005, 0.009, f32::NAN, f32::INFINITY])).unwrap();
        for (other, words) in [
            ([100.1, 0.001, f32::NAN, f32::INFINITY], "output 0 by up to 1.00e-1"),
            ([100.0, 0.1, f32::NAN, f32::INFINITY], "where the largest number is 1.00e2"),
            ([100.0, 0.001, 0.0, f32::INFINITY], "output 0 by"),
            ([100.0, 0.001, f32::NAN, 1.0], "output 0 by"),
        ] {
            let error = agree(&own, &answer(&other)).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn everything_else_has_to_be_the_same() {
        let named = |name: &str, tensor: Tensor| Named { name: Some(name.into()), tensor };
        let own = vec![named("out", Tensor::from_slice(&[1_i64, 2]))];
        agree(&own, &[named("out", Tensor::from_slice(&[1_i64, 2]))]).unwrap();
        for (other, words) in [
            (vec![], "0 tensors, and not 1"),
            (vec![named("aux", Tensor::from_slice(&[1_i64, 2]))], "another name"),
            (vec![named("out", Tensor::from_slice(&[1_i64, 3]))], "output 0 has other values"),
            (vec![named("out", Tensor::from_slice(&[1_i64]))], "is Int64 [1], and not Int64 [2]"),
            (vec![named("out", Tensor::from_slice(&[1_f32, 2.0]))], "is Float [2]"),
        ] {
            let error = agree(&own, &other).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }
}
