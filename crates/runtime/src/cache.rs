//! A folder of what a runtime has made of networks, each entry under a name that says all it was made of.
//!
//! Several processes may share it: an entry appears as a whole or not at all, is never changed, and goes as a
//! whole. What it holds is mapped into memory by whoever has it open, and stays so when the entry goes. It is
//! only ever a gain of time, so nothing that is wrong with it fails a load.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tempfile::TempDir;

mod digest;
mod stamps;

pub(crate) use digest::Key;
pub(crate) use stamps::Stamps;

use digest::of_file;

/// The digests of an entry's files, and by its time the entry's last use.
const DIGESTS: &str = "digests.json";
/// What is being made or removed; nobody looks for an entry there.
const UNFINISHED: &str = ".unfinished-";

/// What all entries of a runtime may take together.
const MAX_BYTES: u64 = 20 << 30;
/// What nobody used for so long goes, as what another version or processor made does.
const MAX_IDLE: Duration = Duration::from_hours(30 * 24);
/// What is unfinished for so long was left by a process that ended.
const MAX_UNFINISHED: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    pub(crate) max_bytes: u64,
}

/// What was kept: a folder of files, which may be none.
#[derive(Debug)]
pub(crate) struct Entry {
    folder: PathBuf,
    files: Vec<String>,
}

impl Entry {
    /// The file of this name, if the entry has one.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.files.iter().any(|file| file == name).then(|| self.folder.join(name))
    }
}

impl Cache {
    /// A runtime's entries, in a folder of its own within what all runtimes keep. It is made where there is none.
    ///
    /// # Errors
    /// The reason why it cannot be used, such as that others may write to it: what is in there is run.
    pub(crate) fn open(all: &Path, runtime: &str) -> Result<Self, String> {
        let folder = all.join(runtime);
        let cannot = |error: io::Error| format!("{}: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(cannot)?;
        let mode = fs::metadata(&folder).map_err(cannot)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(format!("{}: others may write to it; chmod go-w it", folder.display()));
        }
        Ok(Self { folder, max_bytes: MAX_BYTES })
    }

    /// What an entry that is whole holds; `None` where there is no such entry. One that is damaged goes.
    pub(crate) fn find(&self, key: &Key) -> Option<Entry> {
        let entry = self.folder.join(key.as_str());
        match check(&entry) {
            Ok(found) => {
                let used = File::options().write(true).open(entry.join(DIGESTS));
                // Where the folder cannot be written to, nothing goes by its use either.
                used.and_then(|file| file.set_modified(SystemTime::now())).ok();
                Some(found)
            }
            // A link that leads nowhere is there, and in the way.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && entry.symlink_metadata().is_err() =>
            {
                None
            }
            Err(error) => {
                self.remove(key, &error.to_string());
                None
            }
        }
    }

    /// Takes an entry away that is not what it should be.
    pub(crate) fn remove(&self, key: &Key, reason: &str) {
        let entry = self.folder.join(key.as_str());
        log::warn!("{} is damaged and made anew: {reason}", entry.display());
        if let Err(error) = self.take_away(&entry) {
            log::warn!("{} cannot be removed: {error}", entry.display());
        }
    }

    /// A place for an entry that is to be made, which goes unless it is kept.
    pub(crate) fn begin(&self) -> io::Result<TempDir> {
        let private = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix(UNFINISHED).permissions(private).tempdir_in(&self.folder)
    }

    /// Makes an entry of what was written, and room for it.
    pub(crate) fn keep(&self, made: TempDir, key: &Key) -> io::Result<()> {
        let mut digests = Map::new();
        for file in files(made.path())? {
            fs::set_permissions(&file, Permissions::from_mode(0o600))?;
            digests.insert(name(&file), of_file(&file)?.into());
        }
        fs::write(made.path().join(DIGESTS), Value::from(digests).to_string())?;
        fs::set_permissions(made.path().join(DIGESTS), Permissions::from_mode(0o600))?;
        let size = size(made.path())?;
        if size > self.max_bytes {
            return Err(io::Error::other(format!("its {size} bytes are more than is kept in all")));
        }
        let entry = self.folder.join(key.as_str());
        if let Err(error) = fs::rename(made.path(), &entry)
            && !entry.exists()
        {
            return Err(error);
        }
        // Another process was faster, or this is where the folder was.
        drop(made);
        self.make_room(&entry);
        Ok(())
    }

    /// Removes what nobody uses any more, and what was used longest ago until the rest is within bounds.
    fn make_room(&self, newest: &Path) {
        let now = SystemTime::now();
        let idle = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let unfinished = name(&path).starts_with(UNFINISHED);
            // What lies there beside was put there by somebody else.
            if !unfinished && !Key::is_one(&name(&path)) {
                continue;
            }
            let told = fs::metadata(path.join(DIGESTS)).or_else(|_| fs::metadata(&path));
            let Ok(used) = told.and_then(|told| told.modified()) else { continue };
            if idle(used) > if unfinished { MAX_UNFINISHED } else { MAX_IDLE } {
                self.take_away(&path).ok();
            } else if !unfinished {
                entries.push((path == newest, used, size(&path).unwrap_or(0), path));
            }
        }
        entries.sort();
        let mut all: u64 = entries.iter().map(|(_, _, size, _)| size).sum();
        for (_, _, size, path) in entries {
            if all <= self.max_bytes {
                break;
            }
            all -= size;
            log::info!("{} goes: there is no room for it any more", path.display());
            self.take_away(&path).ok();
        }
    }

    /// Removes a folder in such a way that nobody sees a part of it.
    fn take_away(&self, entry: &Path) -> io::Result<()> {
        let grave = self.begin()?;
        fs::rename(entry, grave.path().join("gone"))?;
        grave.close()
    }
}

/// Reads an entry through.
fn check(entry: &Path) -> io::Result<Entry> {
    let told: Map<String, Value> = serde_json::from_str(&fs::read_to_string(entry.join(DIGESTS))?)?;
    let files = told.keys().cloned().collect();
    for (file, digest) in told {
        let is_file = Path::new(&file).file_name().is_some_and(|name| *name == *file);
        if !is_file || digest != of_file(&entry.join(&file))? {
            return Err(io::Error::other(format!("{file} is not what was written")));
        }
    }
    Ok(Entry { folder: entry.to_owned(), files })
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    for file in files(folder)? {
        size += fs::metadata(file)?.len();
    }
    Ok(size)
}

/// A file's name, as people are told it.
pub(crate) fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
