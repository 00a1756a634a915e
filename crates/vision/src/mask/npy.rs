//! NumPy's file format, version 1.0: what `numpy.load` reads, the very bytes that `numpy.save` writes.

const MAGIC: &[u8] = b"\x93NUMPY";

/// A plane of `uint8`, row by row, of this height and width.
///
/// # Panics
/// Where `values` has not one value a pixel.
pub fn npy_u8(shape: [usize; 2], values: &[u8]) -> Vec<u8> {
    plane("|u1", shape, values.len(), values)
}

/// A plane of little-endian `float32`, row by row, of this height and width.
///
/// # Panics
/// Where `values` has not one value a pixel.
pub fn npy_f32(shape: [usize; 2], values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    plane("<f4", shape, values.len(), &bytes)
}

fn plane(descr: &str, shape: [usize; 2], values: usize, data: &[u8]) -> Vec<u8> {
    assert_eq!(shape[0].checked_mul(shape[1]), Some(values), "one value a pixel");
    npy(descr, &shape, data).expect("two sides fit into a header")
}

/// An array of any number of sides, in row-major order, whose elements are what `descr` says, such as `<f4`.
/// `None` where the sides do not fit into a header, which takes thousands of them.
pub fn npy(descr: &str, shape: &[usize], data: &[u8]) -> Option<Vec<u8>> {
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if sides.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        sides.join(", ")
    );
    // NumPy leaves room for the first side to grow to 21 digits.
    let room = sides.first().map_or(0, |side| 21_usize.saturating_sub(side.len()));
    header.extend(std::iter::repeat_n(' ', room));
    // Magic, version and length stand before it, a line feed behind it; all of it is a multiple of 64 bytes.
    let fixed = MAGIC.len() + 2 + 2 + 1;
    header.extend(std::iter::repeat_n(' ', 64 - (header.len() + fixed) % 64));
    header.push('\n');
    let length = u16::try_from(header.len()).ok()?;
    let mut file = Vec::with_capacity(fixed + header.len() + data.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    Some(file)
}
