//! Arbitrary bytes as an archive: the reader may refuse them or unpack them, and nothing else.
//!
//! The fuzz target includes this file, so it uses only the library and `tempfile`.

use std::fs;
use std::path::Path;

use mar::{Archive, Limits, Opened, Samples, read_samples};

const CANARY: &[u8] = b"must stay as it is";

/// Opens and unpacks the bytes as every kind of archive that they look like. Returns whether they
/// were an archive.
///
/// # Panics
/// When anything but the target folder has changed, when an archive that was refused left something, or when it
/// has other samples unpacked than packed.
pub(crate) fn assault(bytes: &[u8]) -> bool {
    let outside = tempfile::tempdir().expect("a temporary folder");
    let inside = outside.path().join("inside");
    fs::create_dir(&inside).expect("a folder");
    for canary in [outside.path().join("canary"), inside.join("canary")] {
        fs::write(canary, CANARY).expect("a canary");
    }
    let archive = inside.join("archive");
    fs::write(&archive, bytes).expect("the archive");

    let limits = Limits { max_entries: 200, max_total_bytes: 4 << 20, max_ratio: 100 };
    let target = inside.join("target");
    let done = Archive::open_with(&archive, limits).and_then(|archive| {
        archive.digests();
        archive.extract(&target)
    });
    if done.is_ok() {
        let packed = Archive::open_with(&archive, limits).and_then(|archive| archive.samples());
        let unpacked = read_samples(&target);
        let samples = |opened: Option<Opened>| opened.map(|opened| opened.samples().clone());
        assert_eq!(packed.ok().map(samples), unpacked.ok().map(samples), "packed and unpacked");
    }
    // As an index by themselves: refused, or not, but no panic.
    drop(Samples::parse(bytes));
    // Looking for all problems goes further into a bad archive than stopping at the first.
    if let Ok((archive, _)) = Archive::survey(&archive, limits) {
        archive.samples_problems(&archive.digests().0);
    }

    let mut expected = vec!["archive", "canary"];
    if done.is_ok() {
        expected.push("target");
    }
    assert_eq!(names(&inside), expected, "beside the target");
    assert_eq!(names(outside.path()), ["canary", "inside"], "above the target");
    for canary in [outside.path().join("canary"), inside.join("canary")] {
        assert_eq!(fs::read(canary).expect("the canary"), CANARY);
    }
    assert_eq!(fs::read(&archive).expect("the archive"), bytes, "the archive itself");
    done.is_ok()
}

fn names(folder: &Path) -> Vec<String> {
    let children = fs::read_dir(folder).expect("the folder");
    let mut names: Vec<_> = children
        .map(|child| child.expect("a child").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
