//! Random bytes, and good archives with something broken, against the reader.

use std::fs;

use mar::{Manifest, ManifestModel};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::assault::assault;
use crate::bench::fixture;
use crate::raw_zip::{RawEntry, model_with};

#[derive(Debug, Clone)]
enum Mutation {
    Flip { at: usize, bits: u8 },
    Cut { at: usize },
    Remove { at: usize, count: usize },
    Copy { from: usize, to: usize, count: usize },
    Insert { at: usize, bytes: Vec<u8> },
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len().max(1);
        match self {
            _ if bytes.is_empty() => {}
            Self::Flip { at, bits } => bytes[at % len] ^= bits,
            Self::Cut { at } => bytes.truncate(at % len),
            Self::Remove { at, count } => {
                let start = at % len;
                bytes.drain(start..(start + count).min(len));
            }
            Self::Copy { from, to, count } => {
                let start = from % len;
                let piece = bytes[start..(start + count).min(len)].to_vec();
                let to = to % len;
                bytes.splice(to..to, piece);
            }
            Self::Insert { at, bytes: more } => {
                let at = at % len;
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    prop_oneof![
        4 => (at(), 1..=255_u8).prop_map(|(at, bits)| Mutation::Flip { at, bits }),
        1 => at().prop_map(|at| Mutation::Cut { at }),
        1 => (at(), 1..64_usize).prop_map(|(at, count)| Mutation::Remove { at, count }),
        1 => (at(), at(), 1..200_usize)
            .prop_map(|(from, to, count)| Mutation::Copy { from, to, count }),
        1 => (at(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
    ]
}

fn good() -> Vec<Vec<u8>> {
    let read = |name: &str| fs::read(fixture(name)).unwrap();
    let mixed = [RawEntry::deflated("text.txt", &[b'a'; 3000]), RawEntry::stored("folder/", "")];
    vec![
        read("full.mar"),
        read("stored.mar"),
        read("tarred.tar.gz"),
        model_with(&mixed),
        model_with(&sampled()),
    ]
}

/// An input with its answer, and the index of the two.
fn sampled() -> [RawEntry; 3] {
    let index = serde_json::json!({ "format": 1, "samples": [{
        "name": "in",
        "input": { "file": "samples/1/in", "sha256": mar::Digest::of(b"in").to_string() },
        "answers": [{ "file": "samples/1/out", "content_type": "text/plain" }]
    }] });
    [
        RawEntry::stored("samples/1/in", "in"),
        RawEntry::stored("samples/1/out", "out"),
        RawEntry::stored("samples/samples.json", index.to_string()),
    ]
}

/// A tgz's checksum hides every mutation of its bytes from the tar reader; this mutates the tar.
fn mutate_tar(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut tar).unwrap();
    for mutation in mutations {
        mutation.apply(&mut tar);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-zA-Z0-9 _.:ü\"\\\\-]{0,12}").unwrap()
}

fn extra() -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![text().prop_map(Value::from), any::<i64>().prop_map(Value::from)];
    vec(("x[a-z]{1,6}", value), 0..3).prop_map(|pairs| pairs.into_iter().collect())
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let optional = || proptest::option::of(text());
    let model = (text(), text(), optional(), optional(), optional(), optional(), extra());
    (optional(), text(), optional(), optional(), extra(), model).prop_map(
        |(created_on, runtime, archiver_version, config_file, extra, model)| {
            let (name, version, weights, handler, model_file, requirements, model_extra) = model;
            let model = ManifestModel {
                model_name: name,
                serialized_file: weights,
                handler,
                model_file,
                model_version: version,
                requirements_file: requirements,
                config_file,
                extra: model_extra,
            };
            Manifest { created_on, runtime, model, archiver_version, extra }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_manifest_survives_being_written_and_read(manifest in manifest()) {
        let text = manifest.to_json().unwrap();
        prop_assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    #[test]
    fn random_bytes_do_no_harm(
        start in prop_oneof![
            Just(&b"PK\x03\x04"[..]), Just(&b"PK\x05\x06"[..]), Just(&b"\x1f\x8b\x08"[..]), Just(&b""[..])
        ],
        bytes in vec(any::<u8>(), 0..600),
    ) {
        assault(&[start, &bytes[..]].concat());
    }

    #[test]
    fn broken_archives_do_no_harm(which in 0..5_usize, mutations in vec(mutation(), 1..6)) {
        let mut bytes = good().swap_remove(which);
        for mutation in mutations {
            mutation.apply(&mut bytes);
        }
        assault(&bytes);
    }

    #[test]
    fn broken_tars_do_no_harm(mutations in vec(mutation(), 1..6)) {
        assault(&mutate_tar(&good()[2], &mutations));
    }

    #[test]
    fn broken_indexes_do_no_harm(mutations in vec(mutation(), 1..6)) {
        let mut entries = sampled();
        let mut index = entries[2].data.clone();
        for mutation in mutations {
            mutation.apply(&mut index);
        }
        entries[2] = RawEntry::stored("samples/samples.json", index);
        assault(&model_with(&entries));
    }

    #[test]
    fn hostile_names_do_no_harm(names in vec("(\\.\\.|/|a|A|\\\\|C:|\\.|ü){0,6}", 1..5)) {
        let entries: Vec<_> = names.iter().map(|name| RawEntry::stored(name, "x")).collect();
        assault(&model_with(&entries));
    }
}

#[test]
fn the_unbroken_ones_are_archives() {
    for bytes in good() {
        assert!(assault(&bytes));
    }
}
