//! Tensors in and out of ONNX Runtime, without a copy where the elements are numbers.

use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};
use mar_handler::{DType, Error, ErrorCode, Result, Tensor};
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::SharedSessionInner;
use ort::sys::OrtValue;
use ort::value::{
    DynSequenceValueType, DynTensor, DynTensorValueType, DynValue, DynValueRefMut,
    PrimitiveTensorElementType, Shape, TensorElementType, TensorRefMut,
};

use super::error::prediction;
use super::maps;

/// ONNX Runtime's view of an input.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// Numbers, where they lie.
    Borrowed(DynValueRefMut<'a>),
    /// Texts, copied: ONNX Runtime wants each in a string of its own.
    Owned(DynTensor),
    /// What another network gave, where it lies.
    Given(&'a DynValue),
}

impl<'a> Input<'a> {
    /// The view of a tensor whose type is that of the input `name`.
    pub(super) fn of(tensor: &'a Tensor, name: &str) -> Result<Self> {
        match tensor.dtype() {
            DType::Bool => {
                if tensor.bytes().iter().any(|byte| *byte > 1) {
                    return Err(Error::invalid_input(format!(
                        "input \"{name}\" holds a bool that is neither 0 nor 1"
                    )));
                }
                borrowed::<bool>(tensor)
            }
            DType::U8 => borrowed::<u8>(tensor),
            DType::U16 => borrowed::<u16>(tensor),
            DType::U32 => borrowed::<u32>(tensor),
            DType::U64 => borrowed::<u64>(tensor),
            DType::I8 => borrowed::<i8>(tensor),
            DType::I16 => borrowed::<i16>(tensor),
            DType::I32 => borrowed::<i32>(tensor),
            DType::I64 => borrowed::<i64>(tensor),
            DType::F16 => borrowed::<f16>(tensor),
            DType::BF16 => borrowed::<bf16>(tensor),
            DType::F32 => borrowed::<f32>(tensor),
            DType::F64 => borrowed::<f64>(tensor),
            DType::Bytes => texts(tensor, name).map(Self::Owned),
        }
    }

    pub(super) fn as_ptr(&self) -> *const OrtValue {
        match self {
            Self::Borrowed(value) => value.ptr(),
            Self::Owned(value) => value.ptr(),
            Self::Given(value) => value.ptr(),
        }
    }
}

fn shape(tensor: &Tensor) -> Shape {
    tensor.shape().iter().copied().collect()
}

fn borrowed<T>(tensor: &Tensor) -> Result<Input<'_>>
where
    T: PrimitiveTensorElementType + std::fmt::Debug,
{
    let data = tensor.bytes().as_ptr().cast_mut().cast();
    #[expect(unsafe_code, reason = "ONNX Runtime borrows host memory through a pointer")]
    // SAFETY: the bytes are as many as shape and type say and aligned for them (`Tensor` checks both), and the view
    // borrows the tensor. ONNX Runtime does not write to the inputs of a run.
    let view = unsafe { TensorRefMut::<T>::from_raw(MemoryInfo::default(), data, shape(tensor)) };
    Ok(Input::Borrowed(view.map_err(prediction)?.into_dyn()))
}

fn texts(tensor: &Tensor, name: &str) -> Result<DynTensor> {
    let made = DynTensor::new(&Allocator::default(), TensorElementType::String, shape(tensor));
    let mut made = made.map_err(prediction)?;
    for (index, text) in tensor.strings().enumerate() {
        if str::from_utf8(&text).is_err() {
            return Err(Error::invalid_input(format!(
                "input \"{name}\": element {index} is no UTF-8, which texts of ONNX are"
            )));
        }
        let mut place = ptr::null_mut();
        #[expect(unsafe_code, reason = "the one way to hand over texts that hold a zero")]
        // SAFETY: the tensor holds texts and has more than `index` of them; the place it gives has room for as many
        // bytes as it was asked for, and nobody else knows of it.
        unsafe {
            let resize = ort::api().GetResizedStringTensorElementBuffer;
            let status = resize(made.ptr_mut(), index, text.len(), &raw mut place);
            ort::Error::result_from_status(status).map_err(prediction)?;
            ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), text.len());
        }
    }
    Ok(made)
}

/// An output that the host can read as a tensor; `name` is for errors. Numbers stay where they are, unless that is
/// within an input.
pub(super) fn own(
    value: DynValue,
    name: &str,
    memory: Arc<SharedSessionInner>,
    inputs: &[Tensor],
) -> Result<Tensor> {
    let kind = value.dtype().clone();
    if maps::are_rows(&kind) {
        return maps::rows(&value.downcast::<DynSequenceValueType>().map_err(prediction)?, name);
    }
    let Ok(value) = value.downcast::<DynTensorValueType>() else {
        return Err(unsupported(name, &kind.to_string()));
    };
    let Some(dtype) = dtype(*value.data_type()) else {
        return Err(unsupported(name, &kind.to_string()));
    };
    let side = |side: &i64| usize::try_from(*side).unwrap_or_default();
    let shape: Vec<usize> = value.shape().iter().map(side).collect();
    let Some(len) = dtype.bytes_of(&shape) else {
        let (_, texts) = value.try_extract_strings().map_err(prediction)?;
        return Tensor::from_strings(&shape, texts);
    };
    if !value.memory_info().is_cpu_accessible() {
        let words = format!("output \"{name}\" is left on the device");
        return Err(Error::new(ErrorCode::Internal, words));
    }
    let owned = HostMemory { value, len, _memory: memory };
    let start = owned.as_ref().as_ptr();
    let shared = inputs.iter().any(|input| input.bytes().as_ptr_range().contains(&start));
    let bytes =
        if shared { Bytes::copy_from_slice(owned.as_ref()) } else { Bytes::from_owner(owned) };
    Tensor::from_bytes(dtype, &shape, bytes)
}

fn unsupported(name: &str, kind: &str) -> Error {
    Error::new(
        ErrorCode::PredictionFailed,
        format!(
            "output \"{name}\" is a {kind}, not a tensor that can be sent; leave it out when exporting, or export a tensor in its place"
        ),
    )
}

/// The type of elements as the handlers know it; none where they do not.
pub(super) fn dtype(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::String => DType::Bytes,
        _ => return None,
    })
}

/// A tensor of numbers in host memory, as the owner of its bytes.
struct HostMemory {
    value: DynTensor,
    len: usize,
    /// A constant of the network lies in the session's memory.
    _memory: Arc<SharedSessionInner>,
}

impl AsRef<[u8]> for HostMemory {
    fn as_ref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        #[expect(unsafe_code, reason = "ONNX Runtime hands out memory as a pointer")]
        // SAFETY: tensors are contiguous, and this one is where the host can read it (`own` looked); it holds `len` bytes, nobody writes to
        // it after the run that made it, and it lives as long as `self`.
        unsafe {
            std::slice::from_raw_parts(self.value.data_ptr().cast(), self.len)
        }
    }
}
