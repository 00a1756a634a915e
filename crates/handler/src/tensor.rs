//! Tensors in host memory: a type, a shape, and aligned bytes in row-major order.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;
use half::{bf16, f16};
use ndarray::{ArrayViewD, IxDyn};

use crate::{Epilogue, Error, ErrorCode, Model, Numbers, Result, strings};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the type it names")]
pub enum DType {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
    /// Strings of any bytes, each of its own length; see [`Tensor::from_strings`].
    Bytes,
}

impl DType {
    /// Bytes one element takes; `None` where each element takes its own number of them.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::U8 | Self::I8 => Some(1),
            Self::U16 | Self::I16 | Self::F16 | Self::BF16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// Whether elements are of floating point.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The bytes that a tensor of this shape takes; `None` where its sides are of no tensor in any memory,
    /// or where the shape does not tell.
    ///
    /// Sides beside one of 0 count as well, because strides are their products.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        let of_sides = |size: usize, side: &usize| size.checked_mul((*side).max(1));
        let most = shape.iter().try_fold(self.size()?, of_sides)?;
        isize::try_from(most).ok()?;
        Some(if shape.contains(&0) { 0 } else { most })
    }

    /// Every type.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
        Self::Bytes,
    ];

    /// The name that the Open Inference Protocol gives this type.
    pub fn datatype(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "UINT8",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::I8 => "INT8",
            Self::I16 => "INT16",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
            Self::F16 => "FP16",
            Self::BF16 => "BF16",
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The type that the Open Inference Protocol gives this name.
    pub fn by_datatype(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.datatype() == name)
    }

    /// The name NumPy and PyTorch give this type, as clients see it in responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::Bytes => "bytes",
        }
    }
}

/// A Rust type that can be a tensor's element.
pub trait Element: NoUninit + AnyBitPattern + Send + Sync + 'static {
    /// The tensor type it stands for.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })*
    };
}
elements!(
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f16 => F16, bf16 => BF16, f32 => F32, f64 => F64,
);

/// An n-dimensional array in host memory.
///
/// Cloning shares the bytes. They are always aligned to the element's size, so a view of them as
/// numbers never fails for that reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
    name: Option<Arc<str>>,
    labels: Option<Arc<[String]>>,
}

impl Tensor {
    /// A tensor over `data`, row-major. Takes the vector over without copying it.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the shape does not hold exactly `data.len()` elements.
    pub fn from_vec<T: Element>(shape: &[usize], data: Vec<T>) -> Result<Self> {
        Self::from_bytes(T::DTYPE, shape, Bytes::from_owner(Elements(data)))
    }

    /// A tensor over raw bytes, row-major, native byte order. Copies them only where they are not
    /// aligned to the element's size, as can happen with a slice of a request's body. Strings stand one
    /// after the other, each behind its length in four bytes, the least first.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the shape and the number of bytes disagree.
    pub fn from_bytes(dtype: DType, shape: &[usize], data: Bytes) -> Result<Self> {
        let Some(size) = dtype.size() else {
            strings::check(shape, &data)?;
            return Ok(Self { dtype, shape: shape.to_vec(), data, name: None, labels: None });
        };
        if dtype.bytes_of(shape) != Some(data.len()) {
            return Err(Error::new(
                ErrorCode::Internal,
                format!(
                    "a {} tensor of shape {shape:?} does not hold {} bytes",
                    dtype.name(),
                    data.len()
                ),
            ));
        }
        let data = if data.as_ptr().addr().is_multiple_of(size) { data } else { align(&data) };
        Ok(Self { dtype, shape: shape.to_vec(), data, name: None, labels: None })
    }

    /// The same tensor under a name. Stacking, splitting and reshaping keep it.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name that the network or the client knows it by, where there is one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same tensor with a name for each place of its last side, such as that of a class. What keeps the last
    /// side keeps them: rows, stacking, splitting, most reshaping.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the last side has another length.
    pub fn with_labels(mut self, labels: Arc<[String]>) -> Result<Self> {
        if self.shape.last() != Some(&labels.len()) {
            let (count, shape) = (labels.len(), &self.shape);
            return Err(Error::new(
                ErrorCode::Internal,
                format!("{count} labels do not name the last side of shape {shape:?}"),
            ));
        }
        self.labels = Some(labels);
        Ok(self)
    }

    /// What the places of the last side are called, where somebody named them.
    pub fn labels(&self) -> Option<&Arc<[String]>> {
        self.labels.as_ref()
    }

    /// These elements of the same kind, under another shape: with the name, and with the labels where the last
    /// side has as many places as before.
    fn with(&self, shape: &[usize], data: Bytes) -> Result<Self> {
        let labels = self.labels.clone().filter(|labels| shape.last() == Some(&labels.len()));
        let name = self.name.clone();
        Ok(Self { name, labels, ..Self::from_bytes(self.dtype, shape, data)? })
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sides, outermost first; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements as bytes: row-major, native byte order, aligned to the element's size.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The elements as numbers, row-major.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the tensor is of another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if T::DTYPE != self.dtype {
            return Err(Error::new(
                ErrorCode::Internal,
                format!("expected a {} tensor, found {}", T::DTYPE.name(), self.dtype.name()),
            ));
        }
        bytemuck::try_cast_slice(&self.data)
            .map_err(|error| Error::new(ErrorCode::Internal, format!("tensor bytes: {error}")))
    }

    /// A tensor of strings, row-major.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the shape holds another number of them, or one is longer than four
    /// bytes can count.
    pub fn from_strings<S: AsRef<[u8]>>(
        shape: &[usize],
        elements: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        Self::from_bytes(DType::Bytes, shape, strings::joined(elements)?)
    }

    /// The strings of a tensor of [`DType::Bytes`], row-major, sharing its bytes; none of any other type.
    pub fn strings(&self) -> impl Iterator<Item = Bytes> + use<> {
        let data = if self.dtype == DType::Bytes { self.data.clone() } else { Bytes::new() };
        strings::each(data)
    }

    /// The elements as numbers, whatever their type. Strings are none.
    pub fn numbers(&self) -> Numbers<'_> {
        Numbers::of(self)
    }

    /// The tensor as an `ndarray` view.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the tensor is of another type.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>> {
        ArrayViewD::from_shape(IxDyn(&self.shape), self.as_slice::<T>()?)
            .map_err(|error| Error::new(ErrorCode::Internal, format!("tensor shape: {error}")))
    }

    /// Some entries of the first side, such as one request's of a batch. Shares the bytes.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where there are not so many, or no sides.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self> {
        let Some(&len) = self.shape.first().filter(|len| rows.end <= **len) else {
            return Err(Error::new(
                ErrorCode::Internal,
                format!("a tensor of shape {:?} has no rows {rows:?}", self.shape),
            ));
        };
        let taken = rows.len();
        let data = if self.dtype == DType::Bytes {
            let each = self.shape[1..].iter().product::<usize>();
            strings::range(&self.data, rows.start * each..rows.end * each)
        } else {
            let each = self.data.len() / len.max(1);
            self.data.slice(rows.start * each..rows.end * each)
        };
        let shape = [&[taken], &self.shape[1..]].concat();
        self.with(&shape, data)
    }

    /// Tensors one below the other: of the same type and the same sides but the first, which adds up. A
    /// single one is given back without a copy.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where there are none, or they differ.
    pub fn concat(mut tensors: Vec<Self>) -> Result<Self> {
        if tensors.len() == 1 {
            return Ok(tensors.remove(0));
        }
        let Some(first) = tensors.first().filter(|first| !first.shape.is_empty()) else {
            return Err(Error::new(ErrorCode::Internal, "no tensors with rows to put together"));
        };
        let sides = &first.shape[1..];
        let fits = |tensor: &Self| {
            tensor.dtype == first.dtype
                && tensor.shape.get(1..) == Some(sides)
                && tensor.labels == first.labels
        };
        if !tensors.iter().all(fits) {
            return Err(Error::new(
                ErrorCode::Internal,
                "tensors that differ in type, shape or labels cannot share a batch",
            ));
        }
        let rows = tensors.iter().map(|tensor| tensor.shape[0]).sum::<usize>();
        let mut data = Vec::with_capacity(tensors.iter().map(|tensor| tensor.data.len()).sum());
        for tensor in &tensors {
            data.extend_from_slice(&tensor.data);
        }
        let shape = [&[rows], sides].concat();
        first.with(&shape, data.into())
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the shapes hold different numbers of elements.
    pub fn reshape(self, shape: &[usize]) -> Result<Self> {
        self.with(shape, self.data.clone())
    }
}

/// Owns a vector of numbers on behalf of [`Bytes`].
struct Elements<T>(Vec<T>);

impl<T: NoUninit> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Copies bytes to a place where the widest element may start.
fn align(data: &[u8]) -> Bytes {
    let mut words = vec![0_u64; data.len().div_ceil(size_of::<u64>())];
    bytemuck::cast_slice_mut(&mut words)[..data.len()].copy_from_slice(data);
    Bytes::from_owner(Elements(words)).slice(..data.len())
}

/// The inputs or outputs of several requests, stacked: the first side of each tensor counts requests.
#[derive(Clone, Debug)]
pub struct Batch {
    tensors: Vec<Tensor>,
    len: usize,
}

impl Batch {
    /// A batch of `len` requests over tensors that are stacked already.
    ///
    /// # Errors
    /// [`ErrorCode::PredictionFailed`] where a tensor's first side is not `len`.
    pub fn new(tensors: Vec<Tensor>, len: usize) -> Result<Self> {
        for tensor in &tensors {
            if tensor.shape.first() != Some(&len) {
                let name = tensor.name().map(|name| format!(" of {name:?}")).unwrap_or_default();
                return Err(Error::new(
                    ErrorCode::PredictionFailed,
                    format!(
                        "a batch of {len} needs {len} as the first side of every tensor, found shape {:?}{name}",
                        tensor.shape
                    ),
                ));
            }
        }
        Ok(Self { tensors, len })
    }

    /// Stacks one list of tensors a request into a batch: tensor `i` of the batch holds tensor `i` of
    /// each request. A single request is taken over without a copy.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where the requests differ in number, type or shape of tensors.
    pub fn stack(mut requests: Vec<Vec<Tensor>>) -> Result<Self> {
        let len = requests.len();
        let Some(first) = requests.first() else {
            return Err(Error::new(ErrorCode::Internal, "a batch needs at least one request"));
        };
        let signature: Vec<_> = first.iter().map(|t| (t.dtype, t.shape.clone())).collect();
        let same = |request: &Vec<Tensor>| {
            request.len() == signature.len()
                && request.iter().zip(&signature).all(|(t, (d, s))| t.dtype == *d && t.shape == *s)
        };
        if !requests.iter().all(same) {
            return Err(Error::new(
                ErrorCode::Internal,
                "requests whose tensors differ in type or shape cannot share a batch",
            ));
        }
        let stacked = |shape: &[usize]| [&[len], shape].concat();
        let tensors = if len == 1 {
            requests
                .remove(0)
                .into_iter()
                .map(|tensor| {
                    let shape = stacked(&tensor.shape);
                    tensor.reshape(&shape)
                })
                .collect::<Result<_>>()?
        } else {
            signature
                .iter()
                .enumerate()
                .map(|(i, (_, shape))| {
                    let mut data = Vec::with_capacity(len * requests[0][i].data.len());
                    for request in &requests {
                        data.extend_from_slice(&request[i].data);
                    }
                    requests[0][i].with(&stacked(shape), data.into())
                })
                .collect::<Result<_>>()?
        };
        Ok(Self { tensors, len })
    }

    /// What the model answers to each request, after the epilogue.
    ///
    /// # Errors
    /// Those of [`Model::forward`], and of [`Self::new`] for what it gives.
    pub fn through(self, model: &dyn Model, epilogue: Epilogue) -> Result<Vec<Vec<Tensor>>> {
        Self::new(model.forward(self.tensors, epilogue)?, self.len)?.split()
    }

    /// The stacked tensors.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The stacked tensors, taken out.
    pub fn into_tensors(self) -> Vec<Tensor> {
        self.tensors
    }

    /// How many requests it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no request.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One list of tensors a request, each without the batch's side. Shares the bytes.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] where a shape overflows, which a checked batch cannot.
    pub fn split(self) -> Result<Vec<Vec<Tensor>>> {
        (0..self.len)
            .map(|i| {
                let item = |tensor: &Tensor| {
                    let row = tensor.rows(i..i + 1)?;
                    let sides = row.shape[1..].to_vec();
                    row.reshape(&sides)
                };
                self.tensors.iter().map(item).collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_view_has_the_shape_and_the_numbers() {
        let tensor = Tensor::from_vec(&[2, 3], vec![0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let view = tensor.view::<f32>().unwrap();
        assert_eq!(view.shape(), [2, 3]);
        assert_eq!(view[[1, 0]].to_bits(), 3_f32.to_bits());
    }

    #[test]
    fn shape_and_bytes_must_agree() {
        let error = Tensor::from_vec(&[2, 2], vec![1_u8; 5]).unwrap_err();
        assert_eq!(error.to_string(), "a uint8 tensor of shape [2, 2] does not hold 5 bytes");
        let huge = Tensor::from_bytes(DType::F32, &[usize::MAX, 4], Bytes::new());
        assert!(huge.is_err(), "a shape that overflows is refused, not wrapped");
        for sides in [[0, 1 << 62, 8], [0, usize::MAX, 1], [1 << 62, 8, 0]] {
            let empty = Tensor::from_bytes(DType::F32, &sides, Bytes::new());
            assert!(empty.is_err(), "{sides:?} has no strides");
        }
        assert!(Tensor::from_bytes(DType::F32, &[3, 0, 1 << 30], Bytes::new()).is_ok());
    }

    #[test]
    fn a_view_of_another_type_is_refused() {
        let tensor = Tensor::from_vec(&[1], vec![1_i64]).unwrap();
        let error = tensor.as_slice::<f32>().unwrap_err();
        assert_eq!(error.to_string(), "expected a float32 tensor, found int64");
    }

    #[test]
    fn misaligned_bytes_are_moved_not_misread() {
        let bytes: Vec<u8> = std::iter::once(9_u8).chain(7_f64.to_ne_bytes()).collect();
        let body = Bytes::from(bytes);
        for start in 0..=1 {
            let slice = body.slice(start..start + 8);
            let tensor = Tensor::from_bytes(DType::F64, &[1], slice.clone()).unwrap();
            assert_eq!(tensor.bytes(), &slice);
            assert!(tensor.bytes().as_ptr().addr().is_multiple_of(8));
            assert_eq!(tensor.as_slice::<f64>().unwrap().len(), 1);
        }
    }

    #[test]
    fn one_request_is_batched_without_a_copy() {
        let tensor = Tensor::from_vec(&[3], vec![1_f32, 2.0, 3.0]).unwrap();
        let address = tensor.bytes().as_ptr();
        let batch = Batch::stack(vec![vec![tensor]]).unwrap();
        assert_eq!(batch.tensors()[0].shape(), [1, 3]);
        assert_eq!(batch.tensors()[0].bytes().as_ptr(), address);
    }

    #[test]
    fn half_precision_is_taken_over_as_it_is() {
        let values = vec![f16::ONE, f16::INFINITY];
        let address = values.as_ptr().addr();
        let tensor = Tensor::from_vec(&[2], values).unwrap();
        assert_eq!((tensor.dtype(), tensor.bytes().as_ptr().addr()), (DType::F16, address));
        assert_eq!(tensor.as_slice::<f16>().unwrap()[0], f16::ONE);
        assert!(tensor.as_slice::<bf16>().is_err());
    }

    #[test]
    fn a_name_survives_batching() {
        let named = |value| Tensor::from_vec(&[1], vec![value]).unwrap().named("x");
        for requests in [vec![vec![named(1_u8)]], vec![vec![named(1_u8)], vec![named(2)]]] {
            let batch = Batch::stack(requests.clone()).unwrap();
            assert_eq!(batch.tensors()[0].name(), Some("x"));
            assert_eq!(batch.split().unwrap(), requests);
        }
    }

    #[test]
    fn labels_stay_with_the_last_side() {
        let labels: Arc<[String]> = ["no", "yes"].map(str::to_owned).into();
        let of = |values: Vec<f32>| {
            let tensor = Tensor::from_vec(&[values.len() / 2, 2], values).unwrap();
            tensor.with_labels(Arc::clone(&labels)).unwrap().named("p")
        };
        let both = Tensor::concat(vec![of(vec![0.1, 0.9]), of(vec![0.2, 0.8])]).unwrap();
        assert_eq!(both, of(vec![0.1, 0.9, 0.2, 0.8]));
        assert_eq!(both.rows(1..2).unwrap(), of(vec![0.2, 0.8]));
        let rows = Batch::new(vec![both.clone()], 2).unwrap().split().unwrap();
        assert_eq!(rows[1][0].labels(), Some(&labels));
        assert_eq!(Batch::stack(rows).unwrap().tensors(), std::slice::from_ref(&both));
        assert_eq!(both.clone().reshape(&[4]).unwrap().labels(), None, "no place has its name");
        let plain = Tensor::from_vec(&[1, 2], vec![0_f32; 2]).unwrap();
        assert!(Tensor::concat(vec![both, plain.clone()]).is_err());
        let error = plain.reshape(&[2, 1]).unwrap().with_labels(labels).unwrap_err();
        assert!(error.message().contains("2 labels do not name the last side"), "{error}");
    }

    #[test]
    fn tensors_that_differ_do_not_share_a_batch() {
        let a = Tensor::from_vec(&[2], vec![1_u8, 2]).unwrap();
        let b = Tensor::from_vec(&[1], vec![1_u8]).unwrap();
        assert!(Batch::stack(vec![vec![a.clone()], vec![b]]).is_err());
        assert!(Batch::stack(vec![vec![a.clone()], vec![a.clone(), a]]).is_err());
        assert!(Batch::stack(Vec::new()).is_err());
    }

    #[test]
    fn outputs_must_count_the_requests() {
        let output = Tensor::from_vec(&[3, 1], vec![1_u8, 2, 3]).unwrap().named("scores");
        let error = Batch::new(vec![output], 2).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.to_string().ends_with("found shape [3, 1] of \"scores\""), "{error}");
    }

    proptest! {
        #[test]
        fn splitting_undoes_stacking(rows in proptest::collection::vec(any::<[i32; 4]>(), 1..9)) {
            let requests: Vec<Vec<Tensor>> = rows
                .iter()
                .map(|row| vec![
                    Tensor::from_vec(&[2, 2], row.to_vec()).unwrap(),
                    Tensor::from_vec(&[], vec![row[0]]).unwrap(),
                ])
                .collect();
            let batch = Batch::stack(requests.clone()).unwrap();
            prop_assert_eq!(batch.len(), rows.len());
            prop_assert_eq!(batch.split().unwrap(), requests);
        }
    }
}
