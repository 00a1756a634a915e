//! Elements of tensors as numbers, and numbers as people read them.

use half::{bf16, f16};
use mar_handler::{DType, Tensor};

/// The elements of a tensor as numbers, row-major. They are read one by one: all of a photograph's pixels as
/// `f64` would take eight times its memory.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    dtype: DType,
    bytes: &'a [u8],
}

impl<'a> Numbers<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Self {
        Self { dtype: tensor.dtype(), bytes: tensor.bytes() }
    }

    pub(super) fn len(self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// The element at this place, which there must be.
    #[expect(
        clippy::cast_precision_loss,
        reason = "tolerances are wider than what is lost above 2^53"
    )]
    pub(super) fn at(self, place: usize) -> f64 {
        fn element<const SIZE: usize>(bytes: &[u8], place: usize) -> [u8; SIZE] {
            bytes.as_chunks().0[place]
        }
        let Self { dtype, bytes } = self;
        match dtype {
            DType::Bool | DType::U8 => bytes[place].into(),
            DType::I8 => i8::from_ne_bytes([bytes[place]]).into(),
            DType::I16 => i16::from_ne_bytes(element(bytes, place)).into(),
            DType::I32 => i32::from_ne_bytes(element(bytes, place)).into(),
            DType::I64 => i64::from_ne_bytes(element(bytes, place)) as f64,
            DType::F16 => f16::from_ne_bytes(element(bytes, place)).into(),
            DType::BF16 => bf16::from_ne_bytes(element(bytes, place)).into(),
            DType::F32 => f32::from_ne_bytes(element(bytes, place)).into(),
            DType::F64 => f64::from_ne_bytes(element(bytes, place)),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = f64> + Clone + use<'a> {
        (0..self.len()).map(move |place| self.at(place))
    }
}

/// Whether elements of this type are of floating point.
pub(super) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
}

#[expect(clippy::cast_precision_loss, reason = "counts of elements in memory")]
pub(super) fn count(of: usize) -> f64 {
    of as f64
}

/// Four digits, and a power of ten where that is shorter.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e5).contains(&size) {
        let text = format!("{number:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{number:.2e}")
    }
}

/// Several numbers in a row.
pub(super) fn row(numbers: &[f64]) -> String {
    numbers.iter().copied().map(short).collect::<Vec<_>>().join(", ")
}

/// A share of 1 in percent; never 0 % or 100 % of what is neither.
pub(super) fn percent(part: usize, whole: usize) -> String {
    let share = 100.0 * count(part) / count(whole.max(1));
    if part > 0 && share < 0.01 {
        "less than 0.01 %".into()
    } else if part < whole && share > 99.99 {
        "more than 99.99 %".into()
    } else {
        format!("{} %", short((share * 100.0).round() / 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_shares_never_round_to_nothing() {
        let shown = [0.0, 1.0, -0.25, 123.456_78, 1e-7, 2.5e6, f64::NAN].map(short);
        assert_eq!(shown, ["0", "1", "-0.25", "123.4568", "1.00e-7", "2.50e6", "NaN"]);
        assert_eq!(percent(0, 9), "0 %");
        assert_eq!(percent(9, 9), "100 %");
        assert_eq!(percent(1, 3), "33.33 %");
        assert_eq!(percent(1, 1_000_000), "less than 0.01 %");
        assert_eq!(percent(999_999, 1_000_000), "more than 99.99 %");
    }

    #[test]
    fn every_type_has_its_numbers() {
        let of = |tensor: mar_handler::Result<Tensor>| {
            Numbers::of(&tensor.unwrap()).iter().collect::<Vec<_>>()
        };
        assert_eq!(of(Tensor::from_vec(&[2], vec![255_u8, 0])), [255.0, 0.0]);
        assert_eq!(of(Tensor::from_vec(&[2], vec![-3_i8, 7])), [-3.0, 7.0]);
        assert_eq!(of(Tensor::from_vec(&[2], vec![-300_i16, 7])), [-300.0, 7.0]);
        assert_eq!(of(Tensor::from_vec(&[2], vec![-70_000_i32, 7])), [-70_000.0, 7.0]);
        assert_eq!(of(Tensor::from_vec(&[2], vec![-3_i64, 1 << 40])), [-3.0, 2_f64.powi(40)]);
        assert_eq!(of(Tensor::from_vec(&[1], vec![f16::from_f32(0.5)])), [0.5]);
        assert_eq!(of(Tensor::from_vec(&[1], vec![bf16::from_f32(-2.0)])), [-2.0]);
        assert_eq!(of(Tensor::from_vec(&[2], vec![0.5_f32, -1.5])), [0.5, -1.5]);
        assert_eq!(of(Tensor::from_vec(&[1], vec![0.25_f64])), [0.25]);
        assert_eq!(of(Tensor::from_bytes(DType::Bool, &[2], vec![1, 0].into())), [1.0, 0.0]);
    }
}
