//! A folder as an archive (`no-archive`). Links are followed where they stay inside.

use std::fs::File;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::archive::sink::{Sink, pump};
use crate::archive::{Archive, Entry, Scan};
use crate::limits::{Limits, Meter};
use crate::manifest::MANIFEST_NAME;
use crate::{Error, Refusal};

pub(super) fn scan(path: &Path, limits: &Limits) -> Result<(PathBuf, Scan), Error> {
    let root = path.canonicalize().map_err(|error| Error::io("open", path, error))?;
    let root = only_folder_in(&root)?.unwrap_or(root);
    let mut scan = Scan::default();
    let mut walk = WalkDir::new(&root)
        .min_depth(1)
        .max_open(16)
        .follow_links(true)
        .sort_by_file_name()
        .into_iter();
    let mut count = 0;
    while let Some(found) = walk.next() {
        count += 1;
        limits.check_entries(path, count)?;
        match found {
            Ok(found) if found.path_is_symlink() && !stays_inside(&root, found.path()) => {
                let name = found.path().strip_prefix(&root).unwrap_or(found.path());
                let name = name.to_string_lossy();
                scan.problems.push(Error::refused(path, &name, Refusal::Link));
                if found.file_type().is_dir() {
                    walk.skip_current_dir();
                }
            }
            Ok(found) => look(path, &root, &found, &mut scan),
            Err(error) => {
                let place = error.path().map_or_else(|| path.to_owned(), Path::to_owned);
                let source = error.into_io_error().unwrap_or_else(|| {
                    std::io::Error::other("a link leads back to a folder above it")
                });
                scan.problems.push(Error::io("read", place, source));
            }
        }
    }
    scan.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((root, scan))
}

/// TorchServe's rule: a folder that holds nothing but one folder stands for it.
fn only_folder_in(root: &Path) -> Result<Option<PathBuf>, Error> {
    if root.join(MANIFEST_NAME).exists() {
        return Ok(None);
    }
    let fail = |error| Error::io("read", root, error);
    let mut children = std::fs::read_dir(root).map_err(fail)?;
    let (Some(first), None) = (children.next(), children.next()) else { return Ok(None) };
    let first = first.map_err(fail)?;
    // Not a link: that would lead out of the folder that was named.
    let is_folder = first.file_type().map_err(fail)?.is_dir();
    Ok(is_folder.then(|| first.path()))
}

fn look(path: &Path, root: &Path, found: &walkdir::DirEntry, scan: &mut Scan) {
    let relative = found.path().strip_prefix(root).unwrap_or(found.path());
    let shown = relative.to_string_lossy();
    let mut refuse = |reason| scan.problems.push(Error::refused(path, &shown, reason));
    let Some(name) = relative.to_str() else { return refuse(Refusal::NotText) };
    let about = match found.metadata() {
        Ok(about) => about,
        Err(error) => {
            scan.problems.push(Error::io("read", found.path(), error.into()));
            return;
        }
    };
    if about.is_dir() {
        scan.folder(path, name);
    } else if about.is_file() {
        let size = about.len();
        let entry = Entry { name: name.to_owned(), size, stored_size: size, mapped_at: Some(0) };
        scan.file(path, entry);
    } else {
        refuse(Refusal::NotAFile);
    }
}

fn stays_inside(root: &Path, link: &Path) -> bool {
    link.canonicalize().is_ok_and(|target| target.starts_with(root))
}

/// Opens one of the files.
pub(super) fn open(root: &Path, archive: &Archive, entry: &Entry) -> Result<File, Error> {
    let place = root.join(&entry.name);
    // Asked again: a link may have been put there since the folder was looked through.
    if !stays_inside(root, &place) {
        return Err(Error::refused(&archive.path, &entry.name, Refusal::Link));
    }
    File::open(&place).map_err(|error| Error::io("open", &place, error))
}

pub(super) fn visit(
    root: &Path,
    archive: &Archive,
    wanted: &dyn Fn(&str) -> bool,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut meter = Meter::new(&archive.limits, None);
    for entry in archive.entries.iter().filter(|entry| wanted(&entry.name)) {
        let done = open(root, archive, entry)
            .and_then(|mut file| pump(&archive.path, entry, &mut file, &mut meter, sink));
        if let Err(error) = done {
            sink.failed(error)?;
        }
    }
    Ok(())
}
