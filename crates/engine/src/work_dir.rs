//! Where archives are unpacked while the server runs.
//!
//! A process that is killed cannot remove its folder, so each folder holds a file that its owner keeps
//! locked. The lock ends with the process, however it ended, and the next start removes what is free.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tempfile::TempDir;

const PREFIX: &str = "marserve-";
const LOCK: &str = "lock";

/// A folder for unpacked archives, removed with this value.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    /// Removes the folder when dropped.
    dir: Mutex<Option<TempDir>>,
    next: AtomicUsize,
    /// Held open for its lock.
    _lock: File,
}

impl WorkDir {
    /// Makes a folder inside `parent` and removes those that dead processes left there.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        lock.try_lock()?;
        let path = dir.path().to_owned();
        Ok(Self { path, dir: Mutex::new(Some(dir)), next: AtomicUsize::new(0), _lock: lock })
    }

    /// A path inside that nothing has yet.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.path.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Removes the folder now: a process that ends drops nothing that its threads still share.
    pub(crate) fn remove(&self) {
        drop(self.dir.lock().take());
    }
}

/// Removes the folders of processes that are gone. What cannot be removed is left for the next start.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let abandoned = File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if abandoned {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => {
                    log::info!("removed {}, left by a server that was killed", path.display());
                }
                Err(error) => log::warn!("cannot remove {}: {error}", path.display()),
            }
        }
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
        File::create(dead.join(LOCK)).unwrap();
        let stranger = parent.path().join("marserve-of-somebody-else");
        std::fs::create_dir(&stranger).unwrap();

        let alive = WorkDir::create(parent.path()).unwrap();
        assert!(!dead.exists());
        let second = WorkDir::create(parent.path()).unwrap();
        assert!(alive.path.exists(), "a live owner's folder stays");
        assert!(stranger.exists(), "a folder without a lock file is not ours to remove");
        assert_ne!(alive.fresh(), alive.fresh());

        let path = second.path.clone();
        assert!(path.exists());
        second.remove();
        assert!(!path.exists());
    }
}
