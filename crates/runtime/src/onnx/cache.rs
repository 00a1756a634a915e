//! A folder of graphs that ONNX Runtime has optimised, each under a name that says all it was made of.
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

use super::digest::{Key, of_file};
use super::files::name;

/// The graph's file in an entry.
pub(super) const GRAPH: &str = "model.onnx";
/// The weights' file in an entry. A file of their own is mapped into memory, and need not be parsed.
pub(super) const WEIGHTS: &str = "weights.bin";
/// The digests of an entry's files, and by its time the entry's last use.
const DIGESTS: &str = "digests.json";
/// Where this runtime's entries are, within what all runtimes keep.
const FOLDER: &str = "onnxruntime";
/// What is being made or removed; nobody looks for an entry there.
const UNFINISHED: &str = ".unfinished-";

/// What all entries may take together.
const MAX_BYTES: u64 = 20 << 30;
/// What nobody used for so long goes, as what another version or processor made does.
const MAX_IDLE: Duration = Duration::from_hours(30 * 24);
/// What is unfinished for so long was left by a process that ended.
const MAX_UNFINISHED: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    pub(super) max_bytes: u64,
}

/// What was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The graph's file.
    Graph(PathBuf),
    /// That there is nothing to keep, so that nobody tries again.
    Nothing,
}

impl Cache {
    /// The entries within a folder, which is made where there is none.
    ///
    /// # Errors
    /// The reason why it cannot be used, such as that others may write to it: what is in there is run.
    pub(super) fn open(all: &Path) -> Result<Self, String> {
        let folder = all.join(FOLDER);
        let cannot = |error: io::Error| format!("{}: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(cannot)?;
        let mode = fs::metadata(&folder).map_err(cannot)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(format!("{}: others may write to it; chmod go-w it", folder.display()));
        }
        Ok(Self { folder, max_bytes: MAX_BYTES })
    }

    /// What an entry that is whole holds; `None` where there is no such entry. One that is damaged goes.
    pub(super) fn find(&self, key: &Key) -> Option<Entry> {
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
    pub(super) fn remove(&self, key: &Key, reason: &str) {
        let entry = self.folder.join(key.as_str());
        log::warn!("{} is damaged and made anew: {reason}", entry.display());
        if let Err(error) = self.take_away(&entry) {
            log::warn!("{} cannot be removed: {error}", entry.display());
        }
    }

    /// A place for an entry that is to be made, which goes unless it is kept.
    pub(super) fn begin(&self) -> io::Result<TempDir> {
        let private = Permissions::from_mode(0o700);
        tempfile::Builder::new().prefix(UNFINISHED).permissions(private).tempdir_in(&self.folder)
    }

    /// Makes an entry of what was written, and room for it.
    pub(super) fn keep(&self, made: TempDir, key: &Key) -> io::Result<()> {
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
    let found =
        if told.contains_key(GRAPH) { Entry::Graph(entry.join(GRAPH)) } else { Entry::Nothing };
    for (file, digest) in told {
        let is_file = Path::new(&file).file_name().is_some_and(|name| *name == *file);
        if !is_file || digest != of_file(&entry.join(&file))? {
            return Err(io::Error::other(format!("{file} is not what was written")));
        }
    }
    Ok(found)
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
