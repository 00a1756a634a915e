//! Writes zips that no honest writer would: every field can be made to lie.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// One entry. What is `None` is computed honestly.
#[derive(Clone, Default)]
pub(crate) struct RawEntry {
    pub(crate) name: Vec<u8>,
    /// The bytes as they lie in the archive.
    pub(crate) data: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) crc: u32,
    pub(crate) size: u32,
    pub(crate) attributes: u32,
    /// The name in the local header, where it differs.
    pub(crate) local_name: Option<Vec<u8>>,
    /// Where the local header of another entry, which this one shares, lies.
    pub(crate) shared: Option<u32>,
}

impl RawEntry {
    pub(crate) fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        Self {
            name: name.as_ref().to_vec(),
            crc: crc(content),
            size: u32::try_from(content.len()).unwrap(),
            data: content.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn deflated(name: &str, content: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        Self { data: encoder.finish().unwrap(), method: 8, ..Self::stored(name, content) }
    }
}

fn crc(content: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    crc.sum()
}

/// A manifest that names the given weights.
pub(crate) fn manifest(weights: &str) -> RawEntry {
    let text = format!(
        r#"{{"runtime": "python", "model": {{"modelName": "m", "serializedFile": "{weights}", "handler": "mask_segmenter", "modelVersion": "1.0"}}}}"#
    );
    RawEntry::stored("MAR-INF/MANIFEST.json", text)
}

/// A good archive's two entries, then the given ones.
pub(crate) fn model_with(more: &[RawEntry]) -> Vec<u8> {
    let mut entries = vec![manifest("weights.pt"), RawEntry::stored("weights.pt", "weights")];
    entries.extend_from_slice(more);
    zip(&entries)
}

pub(crate) fn zip(entries: &[RawEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = entry.shared.unwrap_or(u32::try_from(bytes.len()).unwrap());
        if entry.shared.is_none() {
            bytes.extend(local(entry));
        }
        directory.extend(b"PK\x01\x02\x14\x03\x14\0");
        directory.extend(common(entry, &entry.name));
        directory.extend([0; 6]); // comment, disk, internal attributes
        directory.extend(entry.attributes.to_le_bytes());
        directory.extend(offset.to_le_bytes());
        directory.extend(&entry.name);
    }
    let start = u32::try_from(bytes.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count);
    bytes.extend(count);
    bytes.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A local header and the content behind it.
pub(crate) fn local(entry: &RawEntry) -> Vec<u8> {
    let name = entry.local_name.as_ref().unwrap_or(&entry.name);
    let mut bytes = b"PK\x03\x04\x14\0".to_vec();
    bytes.extend(common(entry, name));
    bytes.extend(name);
    bytes.extend(&entry.data);
    bytes
}

/// The fields that both headers share, from the flags to the length of the extra field.
fn common(entry: &RawEntry, name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((entry.flags | 0x800).to_le_bytes());
    bytes.extend(entry.method.to_le_bytes());
    bytes.extend([0, 0, 0x21, 0]); // 1980-01-01
    bytes.extend(entry.crc.to_le_bytes());
    bytes.extend(u32::try_from(entry.data.len()).unwrap().to_le_bytes());
    bytes.extend(entry.size.to_le_bytes());
    bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}
