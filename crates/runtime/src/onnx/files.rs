//! The files that a network lies in, and whether they are still those that were looked at.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mar_handler::Result;

/// The network's file and those of its weights.
pub(super) fn all(network: &Path) -> Result<Vec<PathBuf>> {
    let beside = network.parent().unwrap_or(Path::new(""));
    let weights = weights_of(network)?.into_iter().map(|file| beside.join(file));
    Ok([network.to_owned()].into_iter().chain(weights).collect())
}

/// The files with weights that a network names, from its folder on.
pub(super) fn weights_of(network: &Path) -> Result<Vec<PathBuf>> {
    let external = mar_onnx::Network::open(network)?.external();
    Ok(external.into_iter().map(|file| file.location.into()).collect())
}

/// What tells a network's files from those that were put in their place: a repository may exchange them for
/// another version's, the weights alone included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// Those of a network's files, as they are now.
    pub(super) fn of(network: &Path) -> Self {
        // What only ONNX Runtime can read has no weights elsewhere that anybody here knows of.
        let files = all(network).unwrap_or_else(|_| vec![network.to_owned()]);
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
