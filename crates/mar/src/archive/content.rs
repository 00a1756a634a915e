//! One file of an archive as a file to read from anywhere, for readers that pass over most of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::Error;
use crate::archive::sink::Sink;
use crate::archive::{Archive, Source, folder};

/// A file's content. Where it lies in the archive as it is, it is read there and its checksum is not looked at;
/// else it was unpacked to a temporary file, which goes with this.
#[derive(Debug)]
pub struct Content {
    file: Arc<File>,
    start: u64,
    len: u64,
    position: u64,
}

impl Archive {
    /// One file's content, to read from anywhere.
    ///
    /// # Errors
    /// When there is no such file, or it is damaged.
    pub fn content(&self, name: &str) -> Result<Content, Error> {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(Error::damaged_entry(&self.path, name, missing));
        };
        let (file, start) = match (&self.source, entry.mapped_at) {
            (Source::Zip(opened), Some(start)) => (opened.file(), start),
            (Source::Folder(root), _) => (Arc::new(folder::open(root, self, entry)?), 0),
            _ => (Arc::new(self.unpacked(name)?), 0),
        };
        Ok(Content { file, start, len: entry.size, position: 0 })
    }

    fn unpacked(&self, name: &str) -> Result<File, Error> {
        let fail = |error| Error::io("make a temporary file for", self.path.join(name), error);
        let mut unpacked = Unpacked(tempfile::tempfile().map_err(fail)?, fail);
        self.visit(&|wanted| wanted == name, &mut unpacked)?;
        Ok(unpacked.0)
    }
}

/// A file, and the words for where it cannot be written.
struct Unpacked<F>(File, F);

impl<F: Fn(io::Error) -> Error> Sink for Unpacked<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.write_all(bytes).map_err(&self.1)
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
