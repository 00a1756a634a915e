//! Every kind of hostile gzipped tar is refused, before anything is written.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use mar::{Archive, Error, Refusal};
use tar::{EntryType, Header};

use crate::assault::assault;
use crate::bench::Bench;

const MANIFEST: &str = r#"{"model": {"modelName": "m", "modelVersion": "1.0"}}"#;

struct Part<'a> {
    name: &'a str,
    kind: EntryType,
    link: &'a str,
    content: &'a [u8],
}

fn file<'a>(name: &'a str, content: &'a [u8]) -> Part<'a> {
    Part { name, kind: EntryType::Regular, link: "", content }
}

fn tar(parts: &[Part<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let manifest = file("m/MAR-INF/MANIFEST.json", MANIFEST.as_bytes());
    for part in std::iter::once(&manifest).chain(parts) {
        let mut header = Header::new_gnu();
        // Through the raw fields: the safe setters refuse what is wanted here.
        header.as_old_mut().name[..part.name.len()].copy_from_slice(part.name.as_bytes());
        header.as_old_mut().linkname[..part.link.len()].copy_from_slice(part.link.as_bytes());
        header.set_entry_type(part.kind);
        header.set_size(part.content.len() as u64);
        header.set_mode(0o644);
        if part.kind == EntryType::GNUSparse {
            header.as_gnu_mut().unwrap().set_real_size(0);
        }
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(part.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open(bytes: &[u8]) -> Result<Archive, Error> {
    let bench = Bench::new();
    Archive::open(&bench.write("m.tar.gz", bytes))
}

fn refusal(part: Part<'_>) -> Refusal {
    let bytes = gzip(&tar(&[part]));
    assert!(!assault(&bytes), "it was unpacked");
    match open(&bytes) {
        Err(Error::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_archive_is_taken() {
    assert!(assault(&gzip(&tar(&[file("m/sub/x.txt", b"x"), file("./y.txt", b"y")]))));
}

#[test]
fn parent_folders_and_absolute_paths() {
    assert_eq!(refusal(file("../evil", b"x")), Refusal::ParentFolder);
    assert_eq!(refusal(file("m/../../evil", b"x")), Refusal::ParentFolder);
    assert_eq!(refusal(file("..", b"x")), Refusal::ParentFolder);
    assert_eq!(refusal(file("/tmp/evil", b"x")), Refusal::Absolute);
    assert_eq!(refusal(file("m//tmp/evil", b"x")), Refusal::Absolute);
    assert_eq!(refusal(file("m/a\\b", b"x")), Refusal::Backslash);
}

#[test]
fn links_and_devices() {
    let special = |kind, link| Part { name: "m/entry", kind, link, content: b"" };
    assert_eq!(refusal(special(EntryType::Symlink, "/etc")), Refusal::Link);
    assert_eq!(refusal(special(EntryType::Link, "/etc/passwd")), Refusal::Link);
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse] {
        assert_eq!(refusal(special(kind, "")), Refusal::NotAFile);
    }
}

#[test]
fn duplicates_also_those_made_by_dropping_the_folder() {
    let bytes = gzip(&tar(&[file("m/a", b"1"), file("n/a", b"2")]));
    assert!(matches!(open(&bytes), Err(Error::Refused { reason: Refusal::Duplicate, .. })));
    assert!(!assault(&bytes));
}

#[test]
fn bombs() {
    let zeros = vec![0; (64 << 20) + 1];
    let bytes = gzip(&tar(&[file("m/bomb", &zeros)]));
    assert!(bytes.len() < 100_000);
    assert!(!assault(&bytes));
    let error = open(&bytes).unwrap_err().to_string();
    assert!(error.contains("more than 67108864 bytes"), "{error}");
}

#[test]
fn a_name_of_many_megabytes_is_not_read_into_memory() {
    let name = vec![b'a'; 8 << 20];
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let long = Part { name: "././@LongLink", kind, link: "", content: &name };
        let bytes = gzip(&tar(&[long, file("m/x", b"x")]));
        let error = open(&bytes).unwrap_err().one_line();
        assert!(error.contains("absurd length"), "{error}");
        assert!(!assault(&bytes));
    }
}

#[test]
fn truncated_files() {
    let bytes = gzip(&tar(&[file("m/weights.pt", &[7; 5000])]));
    for len in 2..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
}

#[test]
fn sizes_that_lie() {
    let mut tar = tar(&[file("m/weights.pt", &[7; 5000])]);
    // The second header's size field: 8 GiB instead of 5000 bytes.
    let at = tar.windows(12).position(|window| window == b"m/weights.pt").unwrap();
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&tar[at..at + 512]);
    header.set_size(8 << 30);
    header.set_cksum();
    tar[at..at + 512].copy_from_slice(header.as_bytes());
    let bytes = gzip(&tar);
    assert!(!assault(&bytes));
    let error = open(&bytes).unwrap_err().one_line();
    assert!(error.contains("weights.pt") && error.contains("damaged"), "{error}");
}
