//! Where archives are unpacked while the server runs.
//!
//! A process that is killed cannot remove its folder, so beside each folder lies a file that its owner keeps
//! locked. The lock ends with the process, however it ended, and the next start removes what is free. The
//! file is made before the folder and removed after it, so that no kill leaves a folder without one.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use mar_handler::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use tempfile::NamedTempFile;

const PREFIX: &str = "marserve-";
const LOCK: &str = ".lock";

/// A folder for unpacked archives, removed with this value.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    next: AtomicUsize,
    /// Held open for its lock, and removed when dropped; `None` once the folder is gone.
    lock: Mutex<Option<NamedTempFile>>,
}

impl WorkDir {
    /// Makes a folder inside `parent` and removes those that dead processes left there.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        sweep(parent);
        Self::made(parent).map_err(|error| {
            let message = format!("cannot make a folder in {}: {error}", parent.display());
            Error::new(ErrorCode::Internal, message).caused_by(error)
        })
    }

    fn made(parent: &Path) -> io::Result<Self> {
        loop {
            let lock = tempfile::Builder::new().prefix(PREFIX).suffix(LOCK).tempfile_in(parent)?;
            lock.as_file().lock()?;
            // Another server that started just now may have taken it for a dead one's.
            if lock.path().exists() {
                let path = lock.path().with_extension("");
                DirBuilder::new().mode(0o700).create(&path)?;
                return Ok(Self { path, next: AtomicUsize::new(0), lock: Mutex::new(Some(lock)) });
            }
        }
    }

    /// A path inside that nothing has yet.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Removes the folder now: a process that ends drops nothing that its threads still share.
    pub(crate) fn remove(&self) {
        if let Some(lock) = self.lock.lock().take() {
            remove(&self.path);
            drop(lock);
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes the folders of processes that are gone. What cannot be removed is left for the next start.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if !name.starts_with(PREFIX) || !name.ends_with(LOCK) {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok() {
            remove(&path.with_extension(""));
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    log::info!("removed {name} and its folder, left by a server that was killed");
                }
                Err(error) => log::warn!("cannot remove {}: {error}", path.display()),
            }
        }
    }
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("cannot remove {}: {error}", folder.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_owner_and_a_dead_owners_folder_at_the_next_start() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join("marserve-dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("weights"), "w").unwrap();
        let dead_lock = parent.path().join("marserve-dead.lock");
        let early_lock = parent.path().join("marserve-early.lock");
        File::create(&dead_lock).unwrap();
        File::create(&early_lock).unwrap();
        let stranger = parent.path().join("marserve-of-somebody-else");
        std::fs::create_dir(&stranger).unwrap();

        let alive = WorkDir::create(parent.path()).unwrap();
        for gone in [&dead, &dead_lock, &early_lock] {
            assert!(!gone.exists(), "{}", gone.display());
        }
        let second = WorkDir::create(parent.path()).unwrap();
        assert!(alive.path.is_dir(), "a live owner's folder stays");
        assert!(stranger.exists(), "a folder without a lock file is not ours to remove");
        assert_ne!(alive.fresh(), alive.fresh());

        std::fs::write(second.fresh(), "unpacked").unwrap();
        second.remove();
        drop(alive);
        let left: Vec<_> =
            std::fs::read_dir(parent.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [stranger], "neither folders nor locks");
    }
}
