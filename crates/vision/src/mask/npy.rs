//! NumPy's file format, version 1.0: what `numpy.load` reads, the very bytes that `numpy.save` writes.

/// A plane of `uint8`, row by row, of this height and width.
///
/// # Panics
/// Where `values` has not one value a pixel.
pub fn npy_u8(shape: [usize; 2], values: &[u8]) -> Vec<u8> {
    let mut file = header("|u1", shape, values.len(), 1);
    file.extend_from_slice(values);
    file
}

/// A plane of little-endian `float32`, row by row, of this height and width.
///
/// # Panics
/// Where `values` has not one value a pixel.
pub fn npy_f32(shape: [usize; 2], values: &[f32]) -> Vec<u8> {
    let mut file = header("<f4", shape, values.len(), 4);
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

/// Everything before the values: a Python dictionary, filled up so that they start at a multiple of 64.
fn header(kind: &str, [height, width]: [usize; 2], values: usize, bytes: usize) -> Vec<u8> {
    assert_eq!(height.checked_mul(width), Some(values), "one value a pixel");
    let mut text =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    // NumPy leaves room for the first side to grow to 21 digits.
    text.extend(std::iter::repeat_n(' ', 21 - height.to_string().len()));
    // Ten bytes stand before the dictionary, a line feed behind it.
    text.extend(std::iter::repeat_n(' ', 64 - (text.len() + 11) % 64));
    text.push('\n');
    let mut file = Vec::with_capacity(10 + text.len() + values * bytes);
    file.extend_from_slice(b"\x93NUMPY\x01\x00");
    // Two bytes, which two sides do not fill.
    file.extend_from_slice(&text.len().to_le_bytes()[..2]);
    file.extend_from_slice(text.as_bytes());
    file
}
