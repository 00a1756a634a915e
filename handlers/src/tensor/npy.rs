//! NumPy's files, `.npy`: what `numpy.save` writes and `numpy.load` reads.

use bytes::Bytes;
use mar_handler::{DType, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Whether this is such a file.
pub(super) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The type, the shape and the elements of a file.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn read(file: &Bytes) -> Result<(DType, Vec<usize>, Bytes), String> {
    let early = || "the .npy file ends early".to_owned();
    let rest = file.strip_prefix(MAGIC).ok_or("not a .npy file")?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(early)?;
    // The length of the header has two bytes in the first version, four in those since.
    let width = if version[0] == 1 { 2 } else { 4 };
    let (length, rest) = rest.split_at_checked(width).ok_or_else(early)?;
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(length);
    let length = usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| early())?;
    let (header, _) = rest.split_at_checked(length).ok_or_else(early)?;
    let header = std::str::from_utf8(header).map_err(|_| "the .npy header is not text")?;
    let start = file.len() - rest.len() + length;
    let (dtype, shape) = described(header)?;
    let data = file.slice(start..);
    if dtype.bytes_of(&shape) != Some(data.len()) {
        return Err(format!(
            "the .npy file holds {} bytes, which is not {} of shape {shape:?}",
            data.len(),
            dtype.name()
        ));
    }
    Ok((dtype, shape, data))
}

/// A tensor as a file; `None` for a type that NumPy does not have.
pub(super) fn write(tensor: &Tensor) -> Option<Vec<u8>> {
    mar_vision::npy(descr(tensor.dtype())?, tensor.shape(), tensor.bytes())
}

/// Type and shape of a header, which is a Python dictionary of three entries.
fn described(header: &str) -> Result<(DType, Vec<usize>), String> {
    let value = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let kind = value("descr").and_then(|rest| rest.strip_prefix('\'')?.split('\'').next());
    let kind = kind.ok_or("the .npy header names no type of numbers")?;
    let dtype = KINDS.into_iter().find(|(_, known)| *known == kind).map(|(dtype, _)| dtype);
    let dtype = dtype.ok_or_else(|| {
        format!("the .npy file holds {kind}, which is not taken; save little-endian numbers")
    })?;
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split(')').next());
    let sides = shape.ok_or("the .npy header names no shape")?.split(',').map(str::trim);
    let shape: Result<Vec<usize>, _> =
        sides.filter(|side| !side.is_empty()).map(str::parse).collect();
    let shape = shape.map_err(|_| "the .npy header names a shape that is none")?;
    let is_by_column = !value("fortran_order").is_some_and(|rest| rest.starts_with("False"));
    if is_by_column && shape.len() > 1 {
        return Err("the .npy file is in Fortran order; save numpy.ascontiguousarray of it".into());
    }
    Ok((dtype, shape))
}

const KINDS: [(DType, &str); 9] = [
    (DType::Bool, "|b1"),
    (DType::U8, "|u1"),
    (DType::I8, "|i1"),
    (DType::I16, "<i2"),
    (DType::I32, "<i4"),
    (DType::I64, "<i8"),
    (DType::F16, "<f2"),
    (DType::F32, "<f4"),
    (DType::F64, "<f8"),
];

fn descr(dtype: DType) -> Option<&'static str> {
    KINDS.into_iter().find(|(known, _)| *known == dtype).map(|(_, kind)| kind)
}
