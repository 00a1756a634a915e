//! Files and folders that come into being at once: written under a hidden name beside their own, then
//! renamed.
//!
//! The hidden name is `.NAME.XXXXXXXX.tmp`. Its maker holds a lock on it (`flock`), which the system
//! releases when the maker dies, however it dies. So whoever makes the same NAME next can tell the
//! dead from the living: what it can lock, nobody is writing, and is removed. Where the file system
//! has no locks nothing is removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::Error;

const RANDOM: usize = 8;
const SUFFIX: &str = ".tmp";

/// A file or folder in the making. Dropped without [`Staged::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    destination: PathBuf,
    hidden: PathBuf,
    handle: File,
}

impl Staged {
    /// A new, empty file that is to become `destination`.
    pub(crate) fn file(destination: &Path) -> Result<Self, Error> {
        Self::make(destination, |path| {
            File::options().read(true).write(true).create_new(true).open(path)
        })
    }

    /// A new, empty folder that is to become `destination`.
    pub(crate) fn folder(destination: &Path) -> Result<Self, Error> {
        Self::make(destination, |path| {
            fs::create_dir(path)?;
            File::open(path)
        })
    }

    fn make(
        destination: &Path,
        mut create: impl FnMut(&Path) -> io::Result<File>,
    ) -> Result<Self, Error> {
        let fail = |error| Error::io("write", destination, error);
        let name = destination
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let prefix = format!(".{name}.");
        sweep(parent, &prefix);
        loop {
            let made = tempfile::Builder::new()
                .prefix(&prefix)
                .suffix(SUFFIX)
                .rand_bytes(RANDOM)
                .make_in(parent, &mut create)
                .map_err(fail)?;
            let (handle, path) = made.into_parts();
            let hidden = path.keep().map_err(|error| fail(error.error))?;
            let staged = Self { destination: destination.to_owned(), hidden, handle };
            match staged.handle.lock() {
                // Another sweep may have come between the making and the locking.
                Ok(()) if !staged.is_there() => {}
                _ => return Ok(staged),
            }
        }
    }

    fn is_there(&self) -> bool {
        let same = |(a, b): (fs::Metadata, fs::Metadata)| a.ino() == b.ino() && a.dev() == b.dev();
        fs::symlink_metadata(&self.hidden).ok().zip(self.handle.metadata().ok()).is_some_and(same)
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.hidden
    }

    /// The open file, or a handle on the folder.
    pub(crate) fn handle(&self) -> &File {
        &self.handle
    }

    /// Gives it its name, unless something has that name.
    pub(crate) fn commit(self) -> Result<(), Error> {
        let advice = "choose another name";
        match renameat_with(CWD, &self.hidden, CWD, &self.destination, RenameFlags::NOREPLACE) {
            Ok(()) => self.settle(),
            Err(Errno::EXIST) => Err(Error::Exists { path: self.destination.clone(), advice }),
            // A file system without the flag: the same, but for a short window.
            Err(_) if fs::symlink_metadata(&self.destination).is_err() => self.rename(),
            Err(_) => Err(Error::Exists { path: self.destination.clone(), advice }),
        }
    }

    /// Gives it its name; what had that name before is removed afterwards.
    pub(crate) fn commit_over(self) -> Result<(), Error> {
        if !fs::symlink_metadata(&self.destination).is_ok_and(|about| about.is_dir()) {
            return self.rename();
        }
        // A folder cannot be renamed over a full one: they change places, then the old one goes
        // with the hidden name.
        renameat_with(CWD, &self.hidden, CWD, &self.destination, RenameFlags::EXCHANGE)
            .map_err(|error| Error::io("replace", &self.destination, error.into()))?;
        self.settle()
    }

    fn rename(self) -> Result<(), Error> {
        fs::rename(&self.hidden, &self.destination)
            .map_err(|error| Error::io("write", &self.destination, error))?;
        self.settle()
    }

    /// Makes the rename last through a power cut.
    fn settle(self) -> Result<(), Error> {
        let parent = self.hidden.parent().unwrap_or(Path::new("."));
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::io("write", parent, error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove(&self.hidden);
    }
}

/// Removes what dead makers left under `.NAME.XXXXXXXX.tmp`, and nothing else.
fn sweep(parent: &Path, prefix: &str) {
    let Ok(children) = fs::read_dir(parent) else { return };
    for child in children.flatten() {
        let is_ours = child.file_name().to_str().is_some_and(|name| {
            name.strip_prefix(prefix)
                .and_then(|rest| rest.strip_suffix(SUFFIX))
                .is_some_and(|random| random.len() == RANDOM && !random.contains('.'))
        });
        let is_plain = child.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir());
        if !is_ours || !is_plain {
            continue;
        }
        if let Ok(handle) = File::open(child.path()) {
            match handle.try_lock() {
                Ok(()) => remove(&child.path()),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
            }
        }
    }
}

/// Removal is tidying up: what cannot be removed is left for the next sweep.
fn remove(path: &Path) {
    let Ok(about) = fs::symlink_metadata(path) else { return };
    let done = if about.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    drop(done);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|child| child.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_it_is_committed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("m.mar");
        let staged = Staged::file(&destination).unwrap();
        assert!(!destination.exists());
        staged.commit().unwrap();
        assert_eq!(names(folder.path()), ["m.mar"]);
    }

    #[test]
    fn what_is_dropped_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        drop(Staged::file(&folder.path().join("m.mar")).unwrap());
        let staged = Staged::folder(&folder.path().join("m")).unwrap();
        fs::write(staged.path().join("x"), "x").unwrap();
        drop(staged);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn the_dead_are_swept_and_the_living_and_strangers_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("m.mar");
        let alive = Staged::file(&destination).unwrap();
        for name in [".m.mar.deadDEAD.tmp", ".m.mar.short.tmp", ".n.mar.deadDEAD.tmp"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join(".m.mar.DEADdead.tmp")).unwrap();
        let second = Staged::file(&destination).unwrap();
        assert!(alive.path().exists() && second.path().exists());
        second.commit().unwrap();
        alive.commit_over().unwrap();
        assert_eq!(names(folder.path()), [".m.mar.short.tmp", ".n.mar.deadDEAD.tmp", "m.mar"]);
    }

    #[test]
    fn nothing_is_replaced_unasked_and_a_folder_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("m");
        fs::create_dir(&destination).unwrap();
        fs::write(destination.join("old"), "x").unwrap();
        let refused = Staged::folder(&destination).unwrap().commit();
        assert!(matches!(refused, Err(Error::Exists { .. })));
        let staged = Staged::folder(&destination).unwrap();
        fs::write(staged.path().join("new"), "x").unwrap();
        staged.commit_over().unwrap();
        assert_eq!(names(&destination), ["new"]);
        assert_eq!(names(folder.path()), ["m"]);
    }
}
