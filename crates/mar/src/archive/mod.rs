//! Opening, listing and unpacking archives of all three forms.

mod at;
mod content;
mod digest;
mod extract;
mod folder;
pub(crate) mod references;
mod sink;
mod tgz;
mod zip;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::archive::at::At;
use crate::archive::sink::{Collect, Sink};
use crate::config::{self, parse_config};
use crate::limits::Limits;
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::{Error, name::Names};

pub use crate::archive::content::Content;
pub use crate::archive::digest::Digest;

/// The most bytes of a manifest that are read.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// The three forms of a model archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A zip, `.mar`.
    Zip,
    /// A gzipped tar, `.tar.gz` or `.tgz`, with everything under one folder.
    Tgz,
    /// A folder (`no-archive`).
    Folder,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zip => "zip",
            Self::Tgz => "tgz",
            Self::Folder => "folder",
        })
    }
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path inside the archive, with `/`. For a tgz, without its first component.
    pub name: String,
    /// Bytes when unpacked.
    pub size: u64,
    /// Bytes in the archive; in a tgz, which compresses the whole, the same as `size`.
    pub stored_size: u64,
    /// Where the content starts in the archive, in bytes, if it lies there as it is and could be
    /// mapped into memory.
    pub mapped_at: Option<u64>,
}

/// An archive that was opened, listed and checked; its contents are read when asked for. Clones share the
/// open file.
#[derive(Debug, Clone)]
pub struct Archive {
    path: PathBuf,
    format: Format,
    limits: Limits,
    manifest: Manifest,
    has_manifest: bool,
    entries: Vec<Entry>,
    folders: Vec<String>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Zip(zip::Opened),
    Tgz(At),
    Folder(PathBuf),
}

/// What a look at the container gives: its parts, and everything that is wrong with them.
#[derive(Debug, Default)]
struct Scan {
    entries: Vec<Entry>,
    folders: Vec<String>,
    names: Names,
    problems: Vec<Error>,
    declared: u64,
}

impl Scan {
    fn file(&mut self, path: &Path, entry: Entry) {
        self.declared = self.declared.saturating_add(entry.size);
        match self.names.add_file(&entry.name) {
            Ok(()) => self.entries.push(entry),
            Err(reason) => self.problems.push(Error::refused(path, &entry.name, reason)),
        }
    }

    fn folder(&mut self, path: &Path, name: &str) {
        match self.names.add_folder(name) {
            Ok(()) => self.folders.push(name.to_owned()),
            Err(reason) => self.problems.push(Error::refused(path, name, reason)),
        }
    }
}

impl Archive {
    /// Opens an archive under the default [`Limits`].
    ///
    /// The form is told by the content, not by the name. Every entry's name and kind is checked,
    /// and so is that the files named by the manifest are there. A missing manifest is replaced by
    /// TorchServe's assumptions ([`Manifest::assumed`]) where there are weights or a handler.
    ///
    /// # Errors
    /// The first thing found wrong; see [`Error`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, Limits::default())
    }

    /// Opens an archive under limits of the caller's choice.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self, Error> {
        let (archive, problems) = Self::survey(path, limits)?;
        match problems.into_iter().find(|problem| !matches!(problem, Error::NoManifest { .. })) {
            Some(problem) => Err(problem),
            None => Ok(archive),
        }
    }

    /// Opens an archive and returns everything that is wrong with its structure and manifest, not
    /// only the first thing. A missing manifest counts here.
    ///
    /// # Errors
    /// What leaves nothing to look at: no such file, no known format, a broken container.
    pub fn survey(path: &Path, limits: Limits) -> Result<(Self, Vec<Error>), Error> {
        let (format, source, mut scan) = Self::scan(path, &limits)?;
        if scan.problems.is_empty() {
            let stored = match &source {
                Source::Zip(opened) => Some(opened.len()),
                Source::Tgz(_) | Source::Folder(_) => None,
            };
            let allowed = limits.allowance(stored);
            if scan.declared > allowed {
                let what = format!("unpacks to {} bytes, more than {allowed}", scan.declared);
                scan.problems.push(Error::over_limit(path, what));
            }
        }
        let mut archive = Self {
            path: path.to_owned(),
            format,
            limits,
            manifest: Manifest::assumed(path),
            has_manifest: scan.entries.iter().any(|entry| entry.name == MANIFEST_NAME),
            entries: scan.entries,
            folders: scan.folders,
            source,
        };
        let mut problems = scan.problems;
        problems.extend(archive.load_manifest());
        Ok((archive, problems))
    }

    fn scan(path: &Path, limits: &Limits) -> Result<(Format, Source, Scan), Error> {
        let fail = |error| Error::io("open", path, error);
        // Before it is opened: opening a pipe would wait for a writer.
        let about = std::fs::metadata(path).map_err(fail)?;
        if about.is_dir() {
            let (root, scan) = folder::scan(path, limits)?;
            return Ok((Format::Folder, Source::Folder(root), scan));
        }
        if !about.is_file() {
            return Err(Error::UnknownFormat { path: path.to_owned() });
        }
        let file = File::open(path).map_err(fail)?;
        let about = file.metadata().map_err(fail)?;
        let at = At::new(Arc::new(file), about.len());
        let start = at.start().map_err(|error| Error::io("read", path, error))?;
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            let (opened, scan) = zip::scan(path, at, limits)?;
            Ok((Format::Zip, Source::Zip(opened), scan))
        } else if start.starts_with(&[0x1f, 0x8b]) {
            let scan = tgz::scan(path, &at, limits)?;
            Ok((Format::Tgz, Source::Tgz(at), scan))
        } else {
            Err(Error::UnknownFormat { path: path.to_owned() })
        }
    }

    fn load_manifest(&mut self) -> Vec<Error> {
        if !self.has_manifest {
            let path = self.path.clone();
            return vec![if references::looks_like_a_model(&self.entries) {
                Error::NoManifest { path }
            } else {
                Error::NotAModel { path }
            }];
        }
        let parsed = self.read(MANIFEST_NAME, MAX_MANIFEST_BYTES).and_then(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|source| Error::Manifest { path: self.path.clone(), source })
        });
        match parsed {
            Ok(manifest) => {
                self.manifest = manifest;
                references::check(&self.path, &self.manifest, &self.entries)
            }
            Err(error) => vec![error],
        }
    }

    /// Where the archive lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of the three forms it has.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The manifest, or TorchServe's assumptions where [`Archive::has_manifest`] is false.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the archive has a manifest of its own.
    pub fn has_manifest(&self) -> bool {
        self.has_manifest
    }

    /// The files, sorted by name, the manifest among them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// One file's content, into memory.
    ///
    /// # Errors
    /// When there is no such file, it is over `max_bytes`, or it is damaged.
    pub fn read(&self, name: &str, max_bytes: u64) -> Result<Vec<u8>, Error> {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::damaged_entry(&self.path, name, missing));
        };
        if entry.size > max_bytes {
            let what = format!("{name} has {} bytes, more than {max_bytes}", entry.size);
            return Err(Error::over_limit(&self.path, what));
        }
        let mut collected = Collect::default();
        self.visit(&|wanted| wanted == name, &mut collected)?;
        Ok(collected.bytes)
    }

    /// The configuration that the manifest names; `None` where it names none.
    ///
    /// # Errors
    /// When it cannot be read, is over 1 MiB, is not YAML or is no mapping at its top.
    pub fn config(&self) -> Result<Option<Map<String, Value>>, Error> {
        let Some(name) = &self.manifest.model.config_file else { return Ok(None) };
        let bytes = self.read(name, config::MAX_BYTES)?;
        parse_config(&bytes, &self.path.join(name)).map(Some)
    }

    /// Streams the wanted files into a sink, under the limits and with sizes and checksums checked.
    fn visit(&self, wanted: &dyn Fn(&str) -> bool, sink: &mut dyn Sink) -> Result<(), Error> {
        match &self.source {
            Source::Zip(opened) => opened.visit(self, wanted, sink),
            Source::Tgz(at) => tgz::visit(at, self, wanted, sink),
            Source::Folder(root) => folder::visit(root, self, wanted, sink),
        }
    }
}
