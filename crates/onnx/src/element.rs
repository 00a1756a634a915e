//! The types of a tensor's elements.

use mar_handler::DType;

/// A type by its number in `TensorProto.DataType`: the protocol's, its name and how many bits one takes; none for
/// texts, whose length varies. `None` for a number that is not known.
struct Element {
    dtype: Option<DType>,
    name: &'static str,
    bits: Option<u64>,
}

fn element(number: i32) -> Option<Element> {
    let (dtype, name, bits) = match number {
        1 => (Some(DType::F32), "FP32", 32),
        2 => (Some(DType::U8), "UINT8", 8),
        3 => (Some(DType::I8), "INT8", 8),
        4 => (Some(DType::U16), "UINT16", 16),
        5 => (Some(DType::I16), "INT16", 16),
        6 => (Some(DType::I32), "INT32", 32),
        7 => (Some(DType::I64), "INT64", 64),
        8 => return Some(Element { dtype: Some(DType::Bytes), name: "BYTES", bits: None }),
        9 => (Some(DType::Bool), "BOOL", 8),
        10 => (Some(DType::F16), "FP16", 16),
        11 => (Some(DType::F64), "FP64", 64),
        12 => (Some(DType::U32), "UINT32", 32),
        13 => (Some(DType::U64), "UINT64", 64),
        14 => (None, "complex64", 64),
        15 => (None, "complex128", 128),
        16 => (Some(DType::BF16), "BF16", 16),
        17 => (None, "float8e4m3fn", 8),
        18 => (None, "float8e4m3fnuz", 8),
        19 => (None, "float8e5m2", 8),
        20 => (None, "float8e5m2fnuz", 8),
        21 => (None, "uint4", 4),
        22 => (None, "int4", 4),
        23 => (None, "float4e2m1", 4),
        24 => (None, "float8e8m0", 8),
        25 => (None, "uint2", 2),
        26 => (None, "int2", 2),
        _ => return None,
    };
    Some(Element { dtype, name, bits: Some(bits) })
}

/// The protocol's type; `None` where it has none for it.
pub(crate) fn dtype(number: i32) -> Option<DType> {
    element(number)?.dtype
}

/// Whether ONNX has such a type; 0 stands for none.
pub(crate) fn is_known(number: i32) -> bool {
    element(number).is_some()
}

/// The protocol's name where it has one, else ONNX's.
pub(crate) fn name(number: i32) -> &'static str {
    element(number).map_or("of an unknown type", |element| element.name)
}

/// Bytes of so many elements; `None` for texts, unknown types, and more than can be counted.
pub(crate) fn bytes(number: i32, count: u64) -> Option<u64> {
    Some(count.checked_mul(element(number)?.bits?)?.div_ceil(8))
}
