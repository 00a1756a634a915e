//! Unpacking to a folder, all or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::archive::sink::Sink;
use crate::archive::{Archive, Entry};
use crate::staging::Staged;

impl Archive {
    /// Unpacks everything into the new folder `target`.
    ///
    /// The files are written to a hidden folder beside it, which takes its name at the very end, so
    /// that `target` either is complete or does not exist. What a killed run left behind is removed
    /// by the next one for the same target. Files are made with the usual permissions: neither
    /// executable bits nor owners are taken from the archive.
    ///
    /// # Errors
    /// When `target` exists, cannot be written, or an entry is damaged or over the limits.
    pub fn extract(&self, target: &Path) -> Result<(), Error> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(Error::Exists {
                path: target.to_owned(),
                advice: "unpack to a folder that does not exist yet",
            });
        }
        let staged = Staged::folder(target)?;
        let root = staged.path().to_owned();
        for folder in &self.folders {
            make_folder(&root.join(folder))?;
        }
        self.visit(&|_| true, &mut Writer { root, open: None })?;
        staged.commit()
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::io("make", path, error))
}

struct Writer {
    root: PathBuf,
    open: Option<(PathBuf, File)>,
}

impl Sink for Writer {
    fn begin(&mut self, entry: &Entry) -> Result<(), Error> {
        let path = self.root.join(&entry.name);
        if let Some(parent) = path.parent() {
            make_folder(parent)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| Error::io("write", &path, error))?;
        self.open = Some((path, file));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some((path, file)) = &mut self.open else { return Ok(()) };
        file.write_all(bytes).map_err(|error| Error::io("write", &*path, error))
    }

    fn end(&mut self) -> Result<(), Error> {
        self.open = None;
        Ok(())
    }
}
