//! Whether files are still those that were looked at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells a network's files from those that were put in their place: a repository may exchange them for
/// another version's, the weights alone included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// What the files are now.
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|file| Stamp::of(file)).collect())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let about = fs::metadata(file).ok()?;
        let changed = (about.mtime(), about.mtime_nsec());
        Some(Self { inode: about.ino(), bytes: about.size(), changed })
    }
}
