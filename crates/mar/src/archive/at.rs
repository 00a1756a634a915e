//! A file with a position of its own, so that several readers share one handle. The archive that was
//! checked is then the archive that is read, even when another file takes its name meanwhile.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct At {
    file: Arc<File>,
    position: u64,
    len: u64,
}

impl At {
    pub(crate) fn new(file: Arc<File>, len: u64) -> Self {
        Self { file, position: 0, len }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn file(self) -> Arc<File> {
        self.file
    }

    /// The first bytes, by which the format is told.
    pub(crate) fn start(&self) -> Result<Vec<u8>> {
        let mut start = Vec::new();
        Self { position: 0, ..self.clone() }.take(4).read_to_end(&mut start)?;
        Ok(start)
    }
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
