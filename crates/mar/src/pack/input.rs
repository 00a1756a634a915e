//! One input file, read once from start to end and counted.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};

use crate::pack::plan::{Content, Planned};

/// Hears bytes done and bytes in all.
pub(super) type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// Large enough that the time goes to the disk and not to the calls.
const CHUNK: usize = 1 << 20;

/// Reads exactly the planned number of bytes; a file that has become shorter or longer is an error,
/// because its header is written by then.
pub(super) struct Input<'a> {
    inner: Box<dyn Read + 'a>,
    label: String,
    left: u64,
    count: &'a mut dyn FnMut(u64),
}

impl<'a> Input<'a> {
    pub(super) fn open(planned: &'a Planned, count: &'a mut dyn FnMut(u64)) -> io::Result<Self> {
        let (inner, label): (Box<dyn Read>, _) = match &planned.content {
            Content::Bytes(bytes) => (Box::new(Cursor::new(bytes)), "what was made".to_owned()),
            Content::File(path) => {
                let label = path.display().to_string();
                let file = File::open(path).map_err(|error| explain(&label, &error))?;
                (Box::new(file), label)
            }
        };
        Ok(Self { inner, label, left: planned.size, count })
    }

    pub(super) fn copy_to(&mut self, writer: &mut dyn Write) -> io::Result<()> {
        let len = usize::try_from(self.left).unwrap_or(CHUNK).saturating_add(1).min(CHUNK);
        let mut buffer = vec![0; len];
        loop {
            match self.read(&mut buffer)? {
                0 => return Ok(()),
                count => writer.write_all(&buffer[..count])?,
            }
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(&self.label, &error)),
                Ok(count) => break count,
            }
        };
        let changed = || io::Error::other(format!("{} changed while it was read", self.label));
        self.left = self.left.checked_sub(count as u64).ok_or_else(changed)?;
        if count == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(changed());
        }
        (self.count)(count as u64);
        Ok(count)
    }
}

fn explain(label: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {label}: {error}"))
}
