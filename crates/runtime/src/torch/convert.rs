//! Tensors in and out of libtorch, without a copy where the memory is the host's.

use bytes::Bytes;
use mar_handler::{DType, Device, Error, ErrorCode, Result, Tensor};
use tch::Kind;

use super::error::prediction;

pub(crate) fn device(device: Device) -> tch::Device {
    match device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda(index) => tch::Device::Cuda(index),
    }
}

fn kind(dtype: DType) -> Result<Kind> {
    Ok(match dtype {
        DType::Bool => Kind::Bool,
        DType::U8 => Kind::Uint8,
        DType::I8 => Kind::Int8,
        DType::I16 => Kind::Int16,
        DType::I32 => Kind::Int,
        DType::I64 => Kind::Int64,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::U16 | DType::U32 | DType::U64 | DType::Bytes => {
            return Err(Error::invalid_input(format!(
                "a TorchScript network takes no {} tensor; send a signed or a floating type",
                dtype.name()
            )));
        }
    })
}

fn dtype(kind: Kind) -> Result<DType> {
    Ok(match kind {
        Kind::Bool => DType::Bool,
        Kind::Uint8 => DType::U8,
        Kind::Int8 => DType::I8,
        Kind::Int16 => DType::I16,
        Kind::Int => DType::I32,
        Kind::Int64 => DType::I64,
        Kind::Half => DType::F16,
        Kind::BFloat16 => DType::BF16,
        Kind::Float => DType::F32,
        Kind::Double => DType::F64,
        other => {
            return Err(Error::new(
                ErrorCode::PredictionFailed,
                format!(
                    "the model gives {other:?} numbers; supported are floats, integers and bool"
                ),
            ));
        }
    })
}

/// Runs `work` on libtorch's view of a host tensor, which borrows the bytes.
pub(crate) fn borrowed<T>(
    tensors: &[Tensor],
    work: impl FnOnce(Vec<tch::Tensor>) -> Result<T>,
) -> Result<T> {
    let views = tensors.iter().map(view).collect::<Result<Vec<_>>>()?;
    work(views)
}

fn view(tensor: &Tensor) -> Result<tch::Tensor> {
    let kind = kind(tensor.dtype())?;
    let shape: Vec<i64> = tensor.shape().iter().map(|side| *side as i64).collect();
    let mut strides = vec![1_i64; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    #[expect(unsafe_code, reason = "libtorch borrows host memory through a pointer")]
    // SAFETY: the bytes are as many as shape and type say and aligned for them (`Tensor` checks both),
    // and they outlive the view: `borrowed` keeps the tensors until `work` has taken and dropped it,
    // and outputs that share the memory are copied out by `own`.
    let view = unsafe {
        tch::Tensor::f_from_blob(tensor.bytes().as_ptr(), &shape, &strides, kind, tch::Device::Cpu)
    };
    view.map_err(prediction)
}

/// A result of libtorch's as a host tensor. One copy from another device; none from the host's own
/// memory, except where the result is a view of `inputs`.
pub(crate) fn own(result: &tch::Tensor, inputs: &[Tensor]) -> Result<Tensor> {
    let host = result
        .f_to_device(tch::Device::Cpu)
        .and_then(|tensor| tensor.f_contiguous())
        .map_err(prediction)?;
    let dtype = dtype(host.f_kind().map_err(prediction)?)?;
    let shape: Vec<usize> = host.size().iter().map(|side| *side as usize).collect();
    let len = dtype.bytes_of(&shape).unwrap_or_default();
    let owned = HostMemory { tensor: host, len };
    let start = owned.as_ref().as_ptr();
    let shared = inputs.iter().any(|input| input.bytes().as_ptr_range().contains(&start));
    let bytes =
        if shared { Bytes::copy_from_slice(owned.as_ref()) } else { Bytes::from_owner(owned) };
    Tensor::from_bytes(dtype, &shape, bytes)
}

/// A contiguous libtorch tensor in host memory, as the owner of its bytes.
struct HostMemory {
    tensor: tch::Tensor,
    len: usize,
}

impl AsRef<[u8]> for HostMemory {
    fn as_ref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        #[expect(unsafe_code, reason = "libtorch hands out memory as a pointer")]
        // SAFETY: the tensor is contiguous, on the host, holds `len` bytes, is not written to by anyone
        // else (`own` is its only user), and lives as long as `self`.
        unsafe {
            std::slice::from_raw_parts(self.tensor.data_ptr().cast(), self.len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(tensor: Tensor) -> Tensor {
        let inputs = vec![tensor];
        borrowed(&inputs, |views| own(&views[0], &inputs)).unwrap()
    }

    #[test]
    fn every_type_comes_back_as_it_went_in() {
        for (dtype, shape) in [
            (DType::Bool, vec![8]),
            (DType::U8, vec![2, 4]),
            (DType::I8, vec![8]),
            (DType::I16, vec![2, 2]),
            (DType::I32, vec![2]),
            (DType::I64, vec![1]),
            (DType::F16, vec![4]),
            (DType::BF16, vec![4]),
            (DType::F32, vec![1, 2]),
            (DType::F64, vec![]),
        ] {
            let bytes = Bytes::from_static(&[1, 0, 1, 1, 0, 0, 1, 0]);
            let tensor = Tensor::from_bytes(dtype, &shape, bytes).unwrap();
            assert_eq!(round_trip(tensor.clone()), tensor, "{dtype:?}");
        }
    }

    #[test]
    fn an_output_that_is_a_view_of_the_input_is_copied() {
        let input = Tensor::from_vec(&[2, 2], vec![1_f32, 2.0, 3.0, 4.0]).unwrap();
        let inputs = vec![input];
        let output =
            borrowed(&inputs, |views| own(&views[0].f_select(0, 1).map_err(prediction)?, &inputs))
                .unwrap();
        let range = inputs[0].bytes().as_ptr_range();
        assert!(!range.contains(&output.bytes().as_ptr()));
        drop(inputs);
        assert_eq!(output.as_slice::<f32>().unwrap(), [3.0, 4.0]);
    }

    #[test]
    fn strides_are_undone_and_an_empty_tensor_is_one() {
        let input = Tensor::from_vec(&[2, 3], vec![1_i64, 2, 3, 4, 5, 6]).unwrap();
        let inputs = vec![input];
        let output = borrowed(&inputs, |views| {
            own(&views[0].f_transpose(0, 1).map_err(prediction)?, &inputs)
        })
        .unwrap();
        assert_eq!(output.shape(), [3, 2]);
        assert_eq!(output.as_slice::<i64>().unwrap(), [1, 4, 2, 5, 3, 6]);
        let empty = Tensor::from_vec::<f32>(&[0, 4], Vec::new()).unwrap();
        assert_eq!(round_trip(empty.clone()), empty);
    }
}
