//! Bytes that arrive piece by piece and start where numbers of every width can be read in place.

use bytes::Bytes;

/// Widest alignment that anything here asks for: a line of the processor's cache.
const ALIGN: usize = 64;

/// A buffer in which the byte at one place, such as the first of the tensors behind the JSON, lies at a multiple
/// of 64 bytes.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    data: Vec<u8>,
    /// Bytes before the first that counts.
    skipped: usize,
    /// The place that is aligned, counted from there.
    aligned: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity` bytes, of which the one at `aligned` is aligned.
    pub fn new(aligned: usize, capacity: usize) -> Self {
        let (data, skipped) = room(aligned, capacity);
        Self { data, skipped, aligned }
    }

    /// So many zeros, the first of them aligned.
    pub(crate) fn zeros(length: usize) -> Self {
        // Asked of the allocator as zeros, which for many costs nothing before they are written.
        let mut data = vec![0; length + ALIGN];
        let skipped = padding(&data, 0);
        data.truncate(skipped + length);
        Self { data, skipped, aligned: 0 }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.data.len() - self.skipped
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes so far.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.skipped..]
    }

    /// Puts bytes behind those that are there.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        if self.data.len() + bytes.len() > self.data.capacity() {
            // A vector that grew by itself would lie elsewhere, and its bytes not where they are to be.
            let (mut data, skipped) =
                room(self.aligned, (self.len() + bytes.len()).max(self.len() * 2));
            data.extend_from_slice(&self.data[self.skipped..]);
            (self.data, self.skipped) = (data, skipped);
        }
        self.data.extend_from_slice(bytes);
    }

    /// The bytes, shared from now on.
    pub fn freeze(self) -> Bytes {
        Bytes::from(self.data).split_off(self.skipped)
    }
}

impl std::io::Write for AlignedBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A vector with room for so many bytes behind its padding.
fn room(aligned: usize, capacity: usize) -> (Vec<u8>, usize) {
    let mut data = Vec::with_capacity(capacity + ALIGN);
    let skipped = padding(&data, aligned);
    data.resize(skipped, 0);
    (data, skipped)
}

/// What has to stand before the bytes, so that the one at `aligned` is at a multiple.
fn padding(data: &[u8], aligned: usize) -> usize {
    data.as_ptr().addr().wrapping_add(aligned).wrapping_neg() % ALIGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_stays_aligned_however_the_bytes_come() {
        for aligned in [0, 1, 63, 64, 301] {
            for (capacity, piece) in [(0, 1), (0, 7), (1000, 1000), (100, 333)] {
                let mut buffer = AlignedBuffer::new(aligned, capacity);
                assert!(buffer.is_empty());
                let sent: Vec<u8> = (0..1000_u32).map(|i| i.to_le_bytes()[0]).collect();
                sent.chunks(piece).for_each(|piece| buffer.extend_from_slice(piece));
                assert_eq!(buffer.len(), 1000);
                let bytes = buffer.freeze();
                assert_eq!(bytes, sent);
                assert!(bytes[aligned..].as_ptr().addr().is_multiple_of(ALIGN), "{aligned}");
            }
        }
    }

    #[test]
    fn zeros_are_aligned_and_can_be_written() {
        for length in [0, 1, 100] {
            let mut buffer = AlignedBuffer::zeros(length);
            assert_eq!(buffer.bytes_mut(), vec![0; length]);
            buffer.bytes_mut().fill(7);
            let bytes = buffer.freeze();
            assert_eq!(bytes, vec![7; length]);
            assert!(length == 0 || bytes.as_ptr().addr().is_multiple_of(ALIGN));
        }
    }
}
