//! Gzipped tar archives. Everything lies under one folder, whose name is dropped, as TorchServe does.
//!
//! A tar has no directory of its contents, so that opening one inflates it once from start to end.
//! That also checks the gzip's own CRC. Formats: POSIX.1-2017 `pax` (ustar and its extended headers,
//! which Python writes), GNU tar's long names, RFC 1952 for gzip.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use tar::EntryType;

use crate::archive::at::At;
use crate::archive::sink::{Discard, Sink, pump};
use crate::archive::{Archive, Entry, Scan};
use crate::limits::{Limits, Meter};
use crate::{Error, Refusal};

/// Inflated bytes that the headers of one entry may take. The tar reader holds long names in memory,
/// so this is what keeps a name of many gigabytes from being read.
const HEADER_BYTES: u64 = 256 << 10;
/// Zeros that may follow the last entry; writers pad to 10 KiB.
const TRAILER_BYTES: u64 = 1 << 20;

/// What one entry of the tar is.
enum Part {
    File(Entry),
    Folder(String),
    /// Archive-wide pax headers, and the top folder itself.
    Nothing,
    Bad(Error),
}

pub(super) fn scan(path: &Path, at: &At, limits: &Limits) -> Result<Scan, Error> {
    let mut scan = Scan::default();
    let mut meter = Meter::new(limits, Some(at.len()));
    let mut count = 0;
    walk(path, at, &mut |part, reader| {
        count += 1;
        limits.check_entries(path, count)?;
        match part {
            Part::File(entry) => {
                pump(path, &entry, reader, &mut meter, &mut Discard)?;
                scan.file(path, entry);
            }
            Part::Folder(name) => scan.folder(path, &name),
            Part::Nothing => {}
            // Not listed with others: what follows a refused entry cannot be reached cheaply.
            Part::Bad(error) => return Err(error),
        }
        Ok(())
    })?;
    scan.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scan)
}

pub(super) fn visit(
    at: &At,
    archive: &Archive,
    wanted: &dyn Fn(&str) -> bool,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let path = &archive.path;
    let mut meter = Meter::new(&archive.limits, Some(at.len()));
    walk(path, at, &mut |part, reader| {
        let Part::File(entry) = part else { return Ok(()) };
        // The file could have been written to since it was checked.
        let known = archive.entries.binary_search_by(|other| other.name.cmp(&entry.name));
        if !known.is_ok_and(|index| archive.entries[index] == entry) {
            return Err(Error::damaged(path, "it changed after it was opened"));
        }
        if wanted(&entry.name) {
            pump(path, &entry, reader, &mut meter, sink)
        } else {
            pump(path, &entry, reader, &mut meter, &mut Discard)
        }
    })
}

type Visitor<'a> = dyn FnMut(Part, &mut dyn Read) -> Result<(), Error> + 'a;

/// Goes through the tar once. The visitor must read each file to its end.
fn walk(path: &Path, at: &At, visitor: &mut Visitor<'_>) -> Result<(), Error> {
    let budget = Rc::new(Cell::new(HEADER_BYTES));
    let gzip = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, at.clone()));
    let mut tar = tar::Archive::new(Budgeted { inner: gzip, left: Rc::clone(&budget) });
    let damaged = |error: io::Error| Error::damaged(path, error);
    let mut entries = tar.entries().map_err(damaged)?;
    loop {
        budget.set(HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(damaged)?;
        budget.set(entry.size().saturating_add(HEADER_BYTES));
        visitor(describe(path, &entry), &mut entry)?;
    }
    budget.set(TRAILER_BYTES);
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

fn describe<R: Read>(path: &Path, entry: &tar::Entry<'_, R>) -> Part {
    let raw = entry.path_bytes();
    let shown = String::from_utf8_lossy(&raw);
    let refuse = |reason| Part::Bad(Error::refused(path, &shown, reason));
    let is_folder = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => raw.ends_with(b"/"),
        EntryType::Directory => true,
        EntryType::XGlobalHeader => return Part::Nothing,
        EntryType::Symlink | EntryType::Link => return refuse(Refusal::Link),
        _ => return refuse(Refusal::NotAFile),
    };
    let Ok(full) = std::str::from_utf8(&raw) else { return refuse(Refusal::NotText) };
    if full.starts_with('/') {
        return refuse(Refusal::Absolute);
    }
    // Checked before the first component goes, so that `../x` is refused and not renamed.
    let full = full.strip_prefix("./").unwrap_or(full);
    if full.split('/').any(|component| component == "..") {
        return refuse(Refusal::ParentFolder);
    }
    let name = full.split_once('/').map_or(if is_folder { "" } else { full }, |(_, rest)| rest);
    if is_folder {
        let name = name.trim_end_matches('/');
        return if name.is_empty() { Part::Nothing } else { Part::Folder(name.to_owned()) };
    }
    let size = entry.size();
    Part::File(Entry { name: name.to_owned(), size, stored_size: size, mapped_at: None })
}

/// A reader that gives out no more bytes than it was allowed to.
struct Budgeted<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.get().checked_sub(count as u64) {
            Some(left) => self.left.set(left),
            None => return Err(io::Error::other("a tar header or trailer of absurd length")),
        }
        Ok(count)
    }
}
