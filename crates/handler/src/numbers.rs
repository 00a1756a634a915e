//! A tensor's elements as numbers, whatever their type.

use half::{bf16, f16};

use crate::{DType, Tensor};

/// The elements of a tensor as numbers, row-major. They are read one by one: all of a photograph's pixels as
/// `f64` would take eight times its memory.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    dtype: DType,
    bytes: &'a [u8],
}

impl<'a> Numbers<'a> {
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        Self { dtype: tensor.dtype(), bytes: tensor.bytes() }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.dtype.size().map_or(0, |size| self.bytes.len() / size)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The element at this place.
    ///
    /// # Panics
    /// Where there is none.
    #[expect(
        clippy::cast_precision_loss,
        reason = "tolerances are wider than what is lost above 2^53"
    )]
    pub fn at(self, place: usize) -> f64 {
        fn element<const SIZE: usize>(bytes: &[u8], place: usize) -> [u8; SIZE] {
            bytes.as_chunks().0[place]
        }
        let Self { dtype, bytes } = self;
        match dtype {
            DType::Bool | DType::U8 => bytes[place].into(),
            DType::I8 => i8::from_ne_bytes([bytes[place]]).into(),
            DType::U16 => u16::from_ne_bytes(element(bytes, place)).into(),
            DType::U32 => u32::from_ne_bytes(element(bytes, place)).into(),
            DType::U64 => u64::from_ne_bytes(element(bytes, place)) as f64,
            DType::I16 => i16::from_ne_bytes(element(bytes, place)).into(),
            DType::I32 => i32::from_ne_bytes(element(bytes, place)).into(),
            DType::I64 => i64::from_ne_bytes(element(bytes, place)) as f64,
            DType::F16 => f16::from_ne_bytes(element(bytes, place)).into(),
            DType::BF16 => bf16::from_ne_bytes(element(bytes, place)).into(),
            DType::F32 => f32::from_ne_bytes(element(bytes, place)).into(),
            DType::F64 => f64::from_ne_bytes(element(bytes, place)),
            DType::Bytes => unreachable!("strings hold no number"),
        }
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = f64> + Clone + use<'a> {
        (0..self.len()).map(move |place| self.at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;

    #[test]
    fn every_type_has_its_numbers() {
        let of = |tensor: Result<Tensor>| tensor.unwrap().numbers().iter().collect::<Vec<_>>();
        assert_eq!(of(Tensor::from_vec(&[2], vec![255_u8, 0])), [255.0, 0.0]);
        assert_eq!(of(Tensor::from_vec(&[1], vec![65_535_u16])), [65_535.0]);
        assert_eq!(of(Tensor::from_vec(&[1], vec![u32::MAX])), [4_294_967_295.0]);
        assert_eq!(of(Tensor::from_vec(&[1], vec![1_u64 << 40])), [2_f64.powi(40)]);
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
