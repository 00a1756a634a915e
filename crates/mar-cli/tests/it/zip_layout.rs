//! The bytes of a packed zip: what a streaming reader and a memory map rely on.

use std::fs;

use mar::{ALIGNMENT, Archive};

use crate::bench::{Bench, weights};

/// A local header, parsed by hand as a streaming reader would.
#[derive(Debug)]
struct Local {
    name: String,
    flags: u16,
    method: u16,
    date: u16,
    crc: u32,
    stored_size: u32,
    size: u32,
    extra: Vec<u8>,
    data_at: usize,
}

fn local_headers(bytes: &[u8]) -> Vec<Local> {
    let short = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let long = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut headers = Vec::new();
    let mut at = 0;
    while bytes[at..].starts_with(b"PK\x03\x04") {
        let name_end = at + 30 + usize::from(short(at + 26));
        let data_at = name_end + usize::from(short(at + 28));
        headers.push(Local {
            name: String::from_utf8(bytes[at + 30..name_end].to_vec()).unwrap(),
            flags: short(at + 6),
            method: short(at + 8),
            date: short(at + 12),
            crc: long(at + 14),
            stored_size: long(at + 18),
            size: long(at + 22),
            extra: bytes[name_end..data_at].to_vec(),
            data_at,
        });
        // Only complete headers lead from one entry to the next.
        at = data_at + usize::try_from(headers.last().unwrap().stored_size).unwrap();
    }
    assert!(bytes[at..].starts_with(b"PK\x01\x02"), "the central directory follows at once");
    headers
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn packed(form: &str) -> (Bench, Vec<Local>) {
    let bench = Bench::with_model();
    for (index, ending) in ["pth", "onnx", "safetensors", "bin", "png"].iter().enumerate() {
        bench.write(&format!("extra/file{index}.{ending}"), weights(100 + index));
    }
    bench.write("extra/empty.txt", "");
    bench.write("extra/odd.weights", weights(300));
    bench.pack(&[
        "--archive-format",
        form,
        "--serialized-file",
        "extra/odd.weights",
        "--extra-files",
        "labels.txt,weights.pt,extra",
        "-c",
        "model-config.yaml",
        // Only its name is that of an ONNX file.
        "--no-check",
    ]);
    let headers = local_headers(&fs::read(bench.path("m.mar")).unwrap());
    (bench, headers)
}

#[test]
fn local_headers_are_complete_for_a_streaming_reader() {
    let (bench, headers) = packed("default");
    let bytes = fs::read(bench.path("m.mar")).unwrap();
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    assert_eq!(headers.len(), archive.entries().len());
    for header in headers {
        assert_eq!(header.flags & 0b1001, 0, "{header:?}: encrypted or with a data descriptor");
        let content = archive.read(&header.name, 100_000).unwrap();
        assert_eq!(header.crc, crc(&content), "{header:?}");
        assert_eq!(header.size as usize, content.len(), "{header:?}");
        assert_eq!(header.date, 0x21, "{header:?}: 1980-01-01");
        // Zip64's field has the id 1; only the padding may be there.
        assert!(header.extra.is_empty() || header.extra.starts_with(&[0x1e, 0xa1]), "{header:?}");
        if header.method == 0 {
            assert_eq!(&bytes[header.data_at..header.data_at + content.len()], content);
        }
    }
}

#[test]
fn weights_are_stored_and_aligned_and_text_is_deflated() {
    let (bench, headers) = packed("default");
    for header in &headers {
        let text = [".txt", ".json", ".yaml"].iter().any(|ending| header.name.ends_with(ending));
        assert_eq!(header.method, if text { 8 } else { 0 }, "{header:?}");
        assert!(text || header.data_at % usize::from(ALIGNMENT) == 0, "{header:?}");
    }
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    for (entry, header) in archive.entries().iter().zip(&headers) {
        assert_eq!(entry.name, header.name, "sorted");
        let expected = (header.method == 0).then_some(header.data_at as u64);
        assert_eq!(entry.mapped_at, expected, "{header:?}");
    }
}

#[test]
fn zip_store_deflates_nothing() {
    let (_bench, headers) = packed("zip-store");
    for header in headers {
        assert_eq!((header.method, header.stored_size), (0, header.size), "{header:?}");
        assert_eq!(header.data_at % usize::from(ALIGNMENT), 0, "{header:?}");
    }
}

#[test]
fn a_file_of_megabytes_is_stored_whatever_its_name() {
    let bench = Bench::with_model();
    bench.write("big.txt", "a".repeat((8 << 20) + 1));
    bench.pack(&["--extra-files", "big.txt"]);
    let archive = Archive::open(&bench.path("m.mar")).unwrap();
    let entry = archive.entries().iter().find(|entry| entry.name == "big.txt").unwrap();
    assert_eq!(entry.mapped_at.unwrap() % u64::from(ALIGNMENT), 0);
}
