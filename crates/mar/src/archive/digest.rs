//! Digests of every file, which also proves that every file can be read.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::archive::sink::Sink;
use crate::archive::{Archive, Entry};

/// A SHA-256; shown as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Archive {
    /// Reads every file: the digests of the good ones by name, and what is wrong with the others.
    pub fn digests(&self) -> (Vec<(String, Digest)>, Vec<Error>) {
        let mut hasher = Hasher::default();
        if let Err(error) = self.visit(&|_| true, &mut hasher) {
            hasher.problems.push(error);
        }
        hasher.done.sort_by(|a, b| a.0.cmp(&b.0));
        (hasher.done, hasher.problems)
    }
}

#[derive(Default)]
struct Hasher {
    name: String,
    state: Sha256,
    done: Vec<(String, Digest)>,
    problems: Vec<Error>,
}

impl Sink for Hasher {
    fn begin(&mut self, entry: &Entry) -> Result<(), Error> {
        self.name.clone_from(&entry.name);
        self.state = Sha256::new();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.state.update(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let digest = Digest(self.state.finalize_reset().into());
        self.done.push((std::mem::take(&mut self.name), digest));
        Ok(())
    }

    fn failed(&mut self, error: Error) -> Result<(), Error> {
        self.problems.push(error);
        Ok(())
    }
}
