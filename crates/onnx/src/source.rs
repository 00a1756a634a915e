//! A file as the buffer that a decoder reads from. What the decoder passes over, such as weights, is never read.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Buf;

/// Large enough that the time goes to the decoder and not to the calls.
const WINDOW: usize = 16 << 10;
/// What a decoder is shown once something failed: no message goes on with a field of number 0.
static ZEROS: [u8; 4096] = [0; 4096];

/// The most bytes of a network's description that are read, its weights not counted: what Protobuf allows a file.
/// Most networks have some megabytes, but the trees of a forest are attributes, of which there may be gigabytes.
pub(crate) const MAX_READ: u64 = (2 << 30) - 1;

/// Why a source gave out.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    /// There is more than [`MAX_READ`].
    TooLarge,
}

#[derive(Debug)]
pub(crate) struct Source<R> {
    reader: R,
    window: Vec<u8>,
    /// How much of the window is used up.
    used: usize,
    /// Bytes to the end of the file, those of the window included.
    left: u64,
    /// Bytes that were looked at.
    read: u64,
    failure: Option<Failure>,
}

impl<R: Read + Seek> Source<R> {
    /// A file from its start.
    pub(crate) fn new(mut reader: R) -> io::Result<Self> {
        let left = reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        let mut source = Self { reader, window: Vec::new(), used: 0, left, read: 0, failure: None };
        source.fill();
        Ok(source)
    }

    /// What went wrong while it was read; what was decoded is nonsense then.
    pub(crate) fn failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    fn fill(&mut self) {
        self.used = 0;
        self.window.clear();
        let wanted = self.left.min(WINDOW as u64);
        match self.reader.by_ref().take(wanted).read_to_end(&mut self.window) {
            Err(error) => self.fail(Failure::Io(error)),
            Ok(count) if (count as u64) < wanted => {
                self.fail(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(_) => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.window.clear();
        self.used = 0;
        self.failure.get_or_insert(failure);
    }
}

impl<R: Read + Seek> Buf for Source<R> {
    fn remaining(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX)
    }

    fn chunk(&self) -> &[u8] {
        if self.failure.is_some() {
            let left = ZEROS.len().min(self.remaining());
            return &ZEROS[..left];
        }
        &self.window[self.used..]
    }

    fn advance(&mut self, count: usize) {
        let count = (count as u64).min(self.left);
        self.left -= count;
        if self.failure.is_some() {
            return;
        }
        let here = (self.window.len() - self.used) as u64;
        // What is passed over in one go does not count: that are weights.
        self.read += if count > here { 0 } else { count };
        if self.read > MAX_READ {
            return self.fail(Failure::TooLarge);
        }
        if count < here {
            self.used += usize::try_from(count).unwrap_or(usize::MAX);
            return;
        }
        let beyond = i64::try_from(count - here).unwrap_or(i64::MAX);
        match if beyond > 0 { self.reader.seek_relative(beyond) } else { Ok(()) } {
            Ok(()) => self.fill(),
            Err(error) => self.fail(Failure::Io(error)),
        }
    }
}
