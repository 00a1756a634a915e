//! Every kind of hostile zip is refused by name, before anything is written.

use mar::{Archive, Error, Limits, RATIO_FREE_BYTES, Refusal};

use crate::assault::assault;
use crate::bench::Bench;
use crate::raw_zip::{RawEntry, local, manifest, model_with, zip};

fn open(bytes: &[u8]) -> Result<Archive, Error> {
    let bench = Bench::new();
    Archive::open(&bench.write("m.mar", bytes))
}

fn refusal(bytes: &[u8]) -> Refusal {
    assert!(!assault(bytes), "it was unpacked");
    match open(bytes) {
        Err(Error::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn message(bytes: &[u8]) -> String {
    assert!(!assault(bytes), "it was unpacked");
    open(bytes).unwrap_err().one_line()
}

fn named(name: impl AsRef<[u8]>) -> Vec<u8> {
    model_with(&[RawEntry::stored(name, "x")])
}

fn of_kind(mode: u32) -> Vec<u8> {
    model_with(&[RawEntry { attributes: mode << 16, ..RawEntry::stored("entry", "/etc/passwd") }])
}

#[test]
fn a_good_archive_is_taken() {
    assert!(assault(&model_with(&[RawEntry::deflated("sub/text.txt", b"text")])));
}

#[test]
fn parent_folders() {
    assert_eq!(refusal(&named("../evil")), Refusal::ParentFolder);
    assert_eq!(refusal(&named("a/../../evil")), Refusal::ParentFolder);
    assert_eq!(refusal(&named("..")), Refusal::ParentFolder);
    let folder = model_with(&[RawEntry::stored("../evil/", "")]);
    assert_eq!(refusal(&folder), Refusal::ParentFolder);
}

#[test]
fn absolute_paths() {
    assert_eq!(refusal(&named("/tmp/evil")), Refusal::Absolute);
    assert_eq!(refusal(&named("C:evil")), Refusal::Absolute);
    assert_eq!(refusal(&named("//server/share")), Refusal::Absolute);
}

#[test]
fn backslashes() {
    assert_eq!(refusal(&named("..\\evil")), Refusal::Backslash);
}

#[test]
fn nul_and_control_characters() {
    assert_eq!(refusal(&named("evil\0.txt")), Refusal::Control);
    assert_eq!(refusal(&named("evil\n.txt")), Refusal::Control);
}

#[test]
fn names_that_are_not_text() {
    assert_eq!(refusal(&named(b"\xff\xfe")), Refusal::NotText);
}

#[test]
fn symbolic_links() {
    assert_eq!(refusal(&of_kind(0o120_777)), Refusal::Link);
}

#[test]
fn devices_and_pipes() {
    for mode in [0o020_666, 0o060_666, 0o010_666, 0o140_666] {
        assert_eq!(refusal(&of_kind(mode)), Refusal::NotAFile);
    }
}

#[test]
fn duplicate_names() {
    let twice = [RawEntry::stored("entry", "one"), RawEntry::stored("entry", "two")];
    assert_eq!(refusal(&model_with(&twice)), Refusal::Duplicate);
    assert!(message(&model_with(&twice)).contains("\"entry\""));
    let cases = [RawEntry::stored("entry", "one"), RawEntry::stored("Entry", "two")];
    assert_eq!(refusal(&model_with(&cases)), Refusal::CaseDuplicate("entry".to_owned()));
}

#[test]
fn a_file_that_is_also_a_folder() {
    let both = [RawEntry::stored("a", "x"), RawEntry::stored("a/b", "x")];
    assert_eq!(refusal(&model_with(&both)), Refusal::FileAndFolder);
    let both = [RawEntry::stored("a/b", "x"), RawEntry::stored("a", "x")];
    assert_eq!(refusal(&model_with(&both)), Refusal::FileAndFolder);
}

#[test]
fn encrypted_entries() {
    let entry = RawEntry { flags: 1, ..RawEntry::stored("secret", vec![7; 40]) };
    assert_eq!(refusal(&model_with(&[entry])), Refusal::Encrypted);
}

#[test]
fn unknown_compression() {
    let entry = RawEntry { method: 14, ..RawEntry::stored("lzma", "x") };
    assert!(matches!(refusal(&model_with(&[entry])), Refusal::Method(_)));
}

#[test]
fn a_bomb_by_its_declared_size() {
    let entry = RawEntry { size: u32::MAX, ..RawEntry::deflated("bomb", &[0; 1000]) };
    let text = message(&model_with(&[entry]));
    assert!(text.contains("unpacks to 4294967") && text.contains("more than 67108864"), "{text}");
}

#[test]
fn a_bomb_that_lies_about_its_size() {
    let zeros = vec![0; 5 << 20];
    let entry = RawEntry { size: 10, ..RawEntry::deflated("bomb", &zeros) };
    let bytes = model_with(&[entry]);
    assert!(!assault(&bytes));
    let bench = Bench::new();
    let archive = Archive::open(&bench.write("m.mar", &bytes)).unwrap();
    let error = archive.extract(&bench.path("out")).unwrap_err().one_line();
    assert!(error.contains("\"bomb\" is damaged") && error.contains("larger than"), "{error}");
    assert_eq!(bench.names(), ["m.mar"]);
}

#[test]
fn a_bomb_by_its_ratio() {
    let zeros = vec![0; usize::try_from(RATIO_FREE_BYTES).unwrap() + 1];
    let bytes = model_with(&[RawEntry::deflated("bomb", &zeros)]);
    assert!(bytes.len() < 100_000);
    assert!(message(&bytes).contains("more than 67108864"));
    let bench = Bench::new();
    let limits = Limits { max_ratio: 2000, ..Limits::default() };
    Archive::open_with(&bench.write("m.mar", &bytes), limits).unwrap();
}

/// After D. Fifield, "A better zip bomb" (2019): one piece of data, counted by many entries.
#[test]
fn a_bomb_of_overlapping_entries() {
    let inner = RawEntry::deflated("inner", &vec![0; 1 << 20]);
    let outer = RawEntry::stored("outer", local(&inner));
    let header = u32::try_from(30 + "outer".len()).unwrap();
    let shared = RawEntry { shared: Some(header), ..inner };
    let text = message(&zip(&[outer, shared, manifest("inner")]));
    assert!(text.contains("overlapping"), "{text}");
}

#[test]
fn a_local_header_that_is_not_listed() {
    let hidden = local(&RawEntry::stored("hidden", "x"));
    let mut bytes = zip(&[manifest("weights.pt"), RawEntry::stored("weights.pt", "weights")]);
    let at = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes.splice(at..at, hidden.iter().copied());
    let end = bytes.len() - 6;
    let start = u32::try_from(at + hidden.len()).unwrap();
    bytes[end..end + 4].copy_from_slice(&start.to_le_bytes());
    let text = message(&bytes);
    assert!(text.contains("missing from central directory"), "{text}");
}

#[test]
fn too_many_entries() {
    let entries: Vec<_> = (0..60).map(|n| RawEntry::stored(format!("f{n}"), "")).collect();
    let bench = Bench::new();
    let path = bench.write("m.mar", model_with(&entries));
    let limits = Limits { max_entries: 50, ..Limits::default() };
    let error = Archive::open_with(&path, limits).unwrap_err().to_string();
    assert!(error.contains("more than 50 entries") && error.contains("raise the limit"), "{error}");
}

#[test]
fn truncated_files() {
    let bytes = model_with(&[RawEntry::deflated("text.txt", &[b'a'; 2000])]);
    for len in 4..bytes.len() {
        assert!(open(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    assert!(message(&bytes[..bytes.len() - 30]).contains("damaged archive"));
}

#[test]
fn sizes_that_lie() {
    let shorter = RawEntry { size: 3, ..RawEntry::stored("entry", "content") };
    assert!(message(&model_with(&[shorter])).contains("two different sizes"));
    let longer = RawEntry { size: 700, ..RawEntry::deflated("entry", b"content") };
    let bytes = model_with(&[longer]);
    assert!(!assault(&bytes));
}

#[test]
fn checksums_that_lie() {
    let bench = Bench::new();
    let entry = RawEntry { crc: 1, ..RawEntry::stored("entry", "content") };
    let archive = Archive::open(&bench.write("m.mar", model_with(&[entry]))).unwrap();
    let error = archive.extract(&bench.path("out")).unwrap_err().one_line();
    assert!(error.contains("\"entry\" is damaged") && error.contains("checksum"), "{error}");
    assert_eq!(bench.names(), ["m.mar"]);
}

#[test]
fn two_stories_in_two_headers() {
    let entry =
        RawEntry { local_name: Some(b"../evil".to_vec()), ..RawEntry::stored("harmle", "content") };
    let text = message(&model_with(&[entry]));
    assert!(text.contains("inconsistency"), "{text}");
}

#[test]
fn something_in_front() {
    let mut bytes = b"#!/bin/sh\n".to_vec();
    bytes.extend(model_with(&[]));
    assert!(message(&bytes).contains("not a model archive"));
}

#[test]
fn a_manifest_that_names_what_is_not_there() {
    for (field, value, missing) in [
        ("serializedFile", "gone.pt", "gone.pt"),
        ("serializedFile", "../weights.pt", "../weights.pt"),
        ("modelFile", "gone.py", "gone.py"),
        ("configFile", "gone.yaml", "gone.yaml"),
        ("requirementsFile", "gone.txt", "gone.txt"),
        ("handler", "gone.py", "gone.py"),
        ("handler", "gone:entry", "gone.py"),
    ] {
        let text = format!(
            r#"{{"model": {{"modelName": "m", "modelVersion": "1", "{field}": "{value}"}}}}"#
        );
        let bytes = zip(&[RawEntry::stored("MAR-INF/MANIFEST.json", text)]);
        let error = message(&bytes);
        assert!(error.contains(&format!("{field} names {missing:?}")), "{error}");
    }
}

#[test]
fn a_manifest_that_is_no_manifest() {
    for text in ["", "[]", "{", "{\"model\": {}}", "\u{feff}{}"] {
        let error = message(&zip(&[RawEntry::stored("MAR-INF/MANIFEST.json", text)]));
        assert!(error.contains("MANIFEST.json cannot be understood"), "{error}");
    }
    let text = r#"{"model": {"modelName": "../m", "modelVersion": "1"}}"#;
    let error = message(&zip(&[RawEntry::stored("MAR-INF/MANIFEST.json", text)]));
    assert!(error.contains("modelName"), "{error}");
}

#[test]
fn no_manifest_is_tolerated_where_there_is_a_model() {
    assert!(message(&zip(&[RawEntry::stored("readme.txt", "x")])).contains("not a model archive"));
    let archive = open(&zip(&[RawEntry::stored("weights.pt", "x")])).unwrap();
    let model = &archive.manifest().model;
    assert_eq!((model.model_name.as_str(), model.model_version.as_str()), ("m", "1.0"));
    assert_eq!(archive.manifest().runtime, "python");
    assert!(!archive.has_manifest());
}
