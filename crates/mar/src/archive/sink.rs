//! Where an archive's files go when they are read, and the one loop that carries them there.

use std::io::Read;
use std::path::Path;

use crate::Error;
use crate::archive::Entry;
use crate::limits::Meter;

const CHUNK: usize = 256 << 10;

/// Takes the files of an archive, one after the other.
pub(crate) trait Sink {
    fn begin(&mut self, _entry: &Entry) -> Result<(), Error> {
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;
    fn end(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Decides whether a file that cannot be read ends the visit. It does, unless overridden.
    fn failed(&mut self, error: Error) -> Result<(), Error> {
        Err(error)
    }
}

/// Carries one file's content into a sink: never more than its declared size, never less.
pub(crate) fn pump(
    path: &Path,
    entry: &Entry,
    reader: &mut dyn Read,
    meter: &mut Meter,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    sink.begin(entry)?;
    let mut buffer = vec![0; CHUNK.min(usize::try_from(entry.size).unwrap_or(CHUNK) + 1)];
    let mut left = entry.size;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::damaged_entry(path, &entry.name, error)),
        };
        if count == 0 {
            break;
        }
        meter.spend(path, count as u64)?;
        left = left.checked_sub(count as u64).ok_or_else(|| wrong_size(path, entry, "more"))?;
        sink.write(&buffer[..count])?;
    }
    if left > 0 {
        return Err(wrong_size(path, entry, "fewer"));
    }
    sink.end()
}

fn wrong_size(path: &Path, entry: &Entry, which: &str) -> Error {
    let reason = format!("it holds {which} bytes than the {} it declares", entry.size);
    Error::damaged_entry(path, &entry.name, reason)
}

/// Keeps the bytes in memory; for files whose size was checked before.
#[derive(Debug, Default)]
pub(crate) struct Collect {
    pub(crate) bytes: Vec<u8>,
}

impl Sink for Collect {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Forgets the bytes; what is left is that they could be read.
#[derive(Debug)]
pub(crate) struct Discard;

impl Sink for Discard {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn run(declared: u64, content: &[u8], limits: &Limits) -> Result<Vec<u8>, String> {
        let entry = Entry { name: "a".to_owned(), size: declared, stored_size: 0, mapped_at: None };
        let mut sink = Collect::default();
        let mut meter = Meter::new(limits, None);
        pump(Path::new("m"), &entry, &mut &content[..], &mut meter, &mut sink)
            .map(|()| sink.bytes)
            .map_err(|error| error.one_line())
    }

    #[test]
    fn sizes_that_lie_either_way_are_errors() {
        let limits = Limits::default();
        assert_eq!(run(3, b"abc", &limits).unwrap(), b"abc");
        assert!(run(2, b"abc", &limits).unwrap_err().contains("more bytes than the 2"));
        assert!(run(4, b"abc", &limits).unwrap_err().contains("fewer bytes than the 4"));
    }

    #[test]
    fn the_meter_stops_the_loop() {
        let limits = Limits { max_total_bytes: 2, ..Limits::default() };
        assert!(run(3, b"abc", &limits).unwrap_err().contains("more than 2 bytes"));
    }
}
