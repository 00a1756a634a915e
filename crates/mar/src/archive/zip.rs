//! Zip archives (`.mar`).
//!
//! The central directory is believed only where the local headers say the same: TorchServe reads the
//! local ones (`ZipInputStream`), so an archive with two stories would be two different models. The
//! format is PKWARE's APPNOTE 6.3: 4.3.7 local headers, 4.3.12 the central directory, 4.4 their fields.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use crate::archive::at::At;
use crate::archive::sink::{Sink, pump};
use crate::archive::{Archive, Entry, Scan};
use crate::limits::{Limits, Meter};
use crate::{Error, Refusal};

/// The part of the external attributes that holds a Unix file's kind.
const KIND: u32 = 0o170_000;
const PLAIN: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

#[derive(Debug, Clone)]
pub(crate) struct Opened {
    archive: ZipArchive<At>,
    len: u64,
}

pub(super) fn scan(path: &Path, at: At, limits: &Limits) -> Result<(Opened, Scan), Error> {
    let len = at.len();
    let mut archive = ZipArchive::new(at).map_err(|error| Error::damaged(path, error))?;
    limits.check_entries(path, archive.len())?;
    let mut scan = Scan::default();
    if archive.offset() != 0 {
        let reason = "something was put in front of the zip";
        scan.problems.push(Error::damaged(path, reason));
    }
    if archive.has_duplicate_names() {
        let name = duplicate(&archive).map_err(|error| Error::io("read", path, error))?;
        scan.problems.push(Error::refused(path, &name, Refusal::Duplicate));
    } else if let Err(error) = archive.validate_header_consistency() {
        scan.problems.push(Error::damaged(path, error));
    }
    for index in 0..archive.len() {
        look(path, &mut archive, index, &mut scan);
    }
    scan.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((Opened { archive, len }, scan))
}

/// The first name that the central directory holds twice. The zip reader keeps one entry of each name,
/// so the directory's records are walked here: 46 bytes each, then name, extra field and comment.
fn duplicate(archive: &ZipArchive<At>) -> io::Result<String> {
    let mut at = archive.clone().into_inner();
    at.seek(SeekFrom::Start(archive.central_directory_start()))?;
    let mut at = BufReader::new(at);
    let mut seen = HashSet::new();
    loop {
        let mut record = [0; 46];
        at.read_exact(&mut record)?;
        let length = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
        let mut name = vec![0; usize::from(length(28))];
        at.read_exact(&mut name)?;
        at.seek_relative(i64::from(length(30)) + i64::from(length(32)))?;
        if let Some(name) = seen.replace(name) {
            return Ok(String::from_utf8_lossy(&name).into_owned());
        }
    }
}

fn look(path: &Path, archive: &mut ZipArchive<At>, index: usize, scan: &mut Scan) {
    let file = match archive.by_index_raw(index) {
        Ok(file) => file,
        Err(error) => {
            scan.problems.push(Error::damaged(path, error));
            return;
        }
    };
    let shown = String::from_utf8_lossy(file.name_raw()).into_owned();
    let mut refuse = |reason| scan.problems.push(Error::refused(path, &shown, reason));
    // UTF-8 whatever the flags say: so Java reads names, and Python's zipfile writes them.
    let Ok(name) = std::str::from_utf8(file.name_raw()) else {
        return refuse(Refusal::NotText);
    };
    if file.encrypted() {
        return refuse(Refusal::Encrypted);
    }
    let kind = (file.external_attributes() >> 16) & KIND;
    match kind {
        0 | PLAIN => {}
        FOLDER if name.ends_with('/') => {}
        LINK => return refuse(Refusal::Link),
        _ => return refuse(Refusal::NotAFile),
    }
    let method = file.compression();
    if !matches!(method, CompressionMethod::Stored | CompressionMethod::Deflated) {
        return refuse(Refusal::Method(method.to_string()));
    }
    if let Some(folder) = name.strip_suffix('/') {
        if file.size() != 0 {
            return refuse(Refusal::NotAFile);
        }
        scan.folder(path, folder);
        return;
    }
    let stored = method == CompressionMethod::Stored;
    if stored && file.size() != file.compressed_size() {
        let reason = "stored, yet with two different sizes";
        scan.problems.push(Error::damaged_entry(path, name, reason));
        return;
    }
    let entry = Entry {
        name: name.to_owned(),
        size: file.size(),
        stored_size: file.compressed_size(),
        mapped_at: if stored { file.data_start() } else { None },
    };
    scan.file(path, entry);
}

impl Opened {
    /// The archive itself.
    pub(crate) fn file(&self) -> Arc<File> {
        self.archive.clone().into_inner().file()
    }

    /// Bytes of the whole archive.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn visit(
        &self,
        archive: &Archive,
        wanted: &dyn Fn(&str) -> bool,
        sink: &mut dyn Sink,
    ) -> Result<(), Error> {
        let path = &archive.path;
        let mut zip = self.archive.clone();
        let mut meter = Meter::new(&archive.limits, Some(self.len));
        for entry in archive.entries.iter().filter(|entry| wanted(&entry.name)) {
            // The file reader checks the CRC when it reaches the end, and `pump` always does.
            let index = zip.index_for_name_raw(entry.name.as_bytes()).unwrap_or(usize::MAX);
            let done = match zip.by_index(index) {
                Ok(mut file) => pump(path, entry, &mut file, &mut meter, sink),
                Err(error) => Err(Error::damaged_entry(path, &entry.name, error)),
            };
            match done {
                Err(over @ Error::OverLimit { .. }) => return Err(over),
                Err(error) => sink.failed(error)?,
                Ok(()) => {}
            }
        }
        Ok(())
    }
}
