//! The first directory of a TIFF, where it lies in the bytes: for EXIF data, which is one, and for what the TIFF
//! decoder has to be told differently.

/// Tags from here on tell of other things than samples: XMP, colour profiles, EXIF.
const FIRST_OF_OTHERS: u16 = 700;

/// The entries of the first directory.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
    first: usize,
    count: usize,
}

/// One entry: its type, how many values it has, and where they would lie if they fit into it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: u16,
    count: u64,
    inline: usize,
}

impl<'a> Directory<'a> {
    /// The first directory of `bytes`, a TIFF or a `BigTIFF`.
    pub(super) fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let little = match bytes.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let mut directory = Self { bytes, little, big: false, first: 0, count: 0 };
        directory.big = directory.number(2, 2)? == 43;
        let (header, word) = if directory.big { (8, 8) } else { (4, 4) };
        let at = usize::try_from(directory.number(header, word)?).ok()?;
        let counter = if directory.big { 8 } else { 2 };
        directory.count = usize::try_from(directory.number(at, counter)?).ok()?;
        directory.first = at.checked_add(counter)?;
        Some(directory)
    }

    /// Whether the values of the tags that describe the image lie in the file and are no more than `most`. The
    /// decoder makes a list of whatever a tag announces before it looks at limits.
    pub(super) fn is_sane(&self, most: u64) -> bool {
        let length = self.bytes.len() as u64;
        self.entries().filter(|(tag, _)| *tag < FIRST_OF_OTHERS).all(|(_, entry)| {
            let width = match entry.kind {
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16 | 17 | 18 => 8,
                _ => 1,
            };
            entry.count <= most && entry.count.saturating_mul(width) <= length
        })
    }

    /// The value of a tag that has one unsigned value of 16, 32 or 64 bits.
    pub(super) fn one(&self, tag: u16) -> Option<u64> {
        let entry = self.entry(tag).filter(|entry| entry.count == 1)?;
        self.number(entry.inline, width_of(entry.kind)?)
    }

    /// The bytes of a tag whose values are bytes.
    pub(super) fn data(&self, tag: u16) -> Option<&'a [u8]> {
        let entry = self.entry(tag).filter(|entry| matches!(entry.kind, 1 | 7))?;
        let length = usize::try_from(entry.count).ok()?;
        let word = if self.big { 8 } else { 4 };
        let at = if length > word {
            usize::try_from(self.number(entry.inline, word)?).ok()?
        } else {
            entry.inline
        };
        self.bytes.get(at..at.checked_add(length)?)
    }

    /// A copy of the bytes in which a tag that has one value of 16 or 32 bits has another.
    pub(super) fn with(&self, tag: u16, value: u16) -> Option<Vec<u8>> {
        let entry = self.entry(tag).filter(|entry| entry.count == 1)?;
        let width = width_of(entry.kind).filter(|width| *width < 8)?;
        let mut bytes = self.bytes.to_vec();
        let field = bytes.get_mut(entry.inline..entry.inline + width)?;
        field.fill(0);
        let at = if self.little { 0 } else { width - 2 };
        let value = if self.little { value.to_le_bytes() } else { value.to_be_bytes() };
        field[at..at + 2].copy_from_slice(&value);
        Some(bytes)
    }

    fn entry(&self, wanted: u16) -> Option<Entry> {
        self.entries().find(|(tag, _)| *tag == wanted).map(|(_, entry)| entry)
    }

    fn entries(&self) -> impl Iterator<Item = (u16, Entry)> {
        let (size, counter) = if self.big { (20, 8) } else { (12, 4) };
        let whole = self.bytes.len().saturating_sub(self.first) / size;
        let places = (0..self.count.min(whole)).map(move |index| self.first + index * size);
        places.filter_map(move |at| {
            let short = |at| u16::try_from(self.number(at, 2)?).ok();
            let count = self.number(at + 4, counter)?;
            let entry = Entry { kind: short(at + 2)?, count, inline: at + 4 + counter };
            Some((short(at)?, entry))
        })
    }

    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(width)?)?;
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        })
    }
}

/// Bytes of an integer of this type.
fn width_of(kind: u16) -> Option<usize> {
    match kind {
        3 | 8 => Some(2),
        4 | 9 => Some(4),
        16 | 17 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Directory;

    const LITTLE: [u8; 26] =
        [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
    const BIG: [u8; 26] =
        [b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 4, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0];

    #[test]
    fn reads_and_replaces_in_both_orders() {
        for bytes in [LITTLE, BIG] {
            let directory = Directory::first_of(&bytes).unwrap();
            assert_eq!(directory.one(0x112), Some(6));
            assert_eq!(directory.one(0x113), None);
            let changed = directory.with(0x112, 0x0102).unwrap();
            assert_eq!(Directory::first_of(&changed).unwrap().one(0x112), Some(0x0102));
        }
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        for length in 0..LITTLE.len() - 4 {
            let found = Directory::first_of(&LITTLE[..length]).and_then(|d| d.one(0x112));
            assert_eq!(found, None, "{length}");
        }
        let mut outside = LITTLE;
        outside[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Directory::first_of(&outside).is_none());
    }
}
