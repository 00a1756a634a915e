//! What an entry was made of, as a name: the network's bytes, the library, the processor, and what was asked.
//!
//! BLAKE3 rather than SHA-256: every start reads the network and what is kept of it once more, and on
//! processors without instructions for SHA that takes longer than optimising it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Counts up when entries of before must not be used any more.
const FORMAT: u32 = 1;

/// What is the same for every core of a kind of processor, as Linux tells it.
const OF_THE_KIND: [&str; 11] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "flags",
    "Features",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
];

/// A name for what is made of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// `files` are the network's and those of its weights, `made_by` whatever else it depends on.
    pub(crate) fn of(files: &[PathBuf], made_by: &[&str]) -> io::Result<Self> {
        let mut all = blake3::Hasher::new();
        all.update(&FORMAT.to_le_bytes());
        for text in made_by.iter().map(|text| text.as_bytes()).chain([processor()?.as_bytes()]) {
            all.update(&(text.len() as u64).to_le_bytes()).update(text);
        }
        for file in files {
            let name = file.file_name().unwrap_or_default().as_encoded_bytes();
            // Of the network itself the name does not matter; of its weights it stands in the network.
            let name = if Some(file) == files.first() { &[] } else { name };
            all.update(&(name.len() as u64).to_le_bytes()).update(name);
            all.update(digest(file)?.as_bytes());
        }
        Ok(Self(all.finalize().to_hex().to_string()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name is that of a key.
    pub(crate) fn is_one(name: &str) -> bool {
        blake3::Hash::from_hex(name).is_ok()
    }
}

/// The digest of a file, in hex.
pub(crate) fn of_file(file: &Path) -> io::Result<String> {
    digest(file).map(|digest| digest.to_hex().to_string())
}

fn digest(file: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    Ok(hasher.finalize())
}

/// What kind of processor this is: what is made of a network is as wide as its registers.
fn processor() -> io::Result<String> {
    let told = fs::read_to_string("/proc/cpuinfo")?;
    let kind = kind(&told);
    if kind.is_empty() {
        return Err(io::Error::other("/proc/cpuinfo does not say what processor this is"));
    }
    Ok(kind)
}

fn kind(told: &str) -> String {
    let first = told.lines().take_while(|line| !line.trim().is_empty());
    let of_kind = |line: &&str| {
        line.split_once(':').is_some_and(|(name, _)| OF_THE_KIND.contains(&name.trim()))
    };
    first.filter(of_kind).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_another_one_for_whatever_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (network, weights) = (file("m.onnx", "network"), file("w.bin", "weights"));
        let key = Key::of(&[network.clone(), weights.clone()], &["1.28.0", "all"]).unwrap();
        let copy = [file("copy.onnx", "network"), weights.clone()];
        assert_eq!(Key::of(&copy, &["1.28.0", "all"]).unwrap(), key, "wherever it lies");
        for (files, made_by) in [
            (vec![network.clone()], ["1.28.0", "all"]),
            (vec![network.clone(), file("v.bin", "weights")], ["1.28.0", "all"]),
            (vec![file("n.onnx", "Network"), weights.clone()], ["1.28.0", "all"]),
            (vec![network.clone(), weights.clone()], ["1.28.1", "all"]),
            (vec![network.clone(), weights.clone()], ["1.28.0", "basic"]),
            (vec![network.clone(), weights.clone()], ["1.28.", "0all"]),
        ] {
            assert_ne!(Key::of(&files, &made_by).unwrap(), key, "{files:?}, {made_by:?}");
        }
        fs::write(&weights, "Weights").unwrap();
        assert_ne!(Key::of(&[network.clone(), weights], &["1.28.0", "all"]).unwrap(), key);
        assert!(Key::of(&[network, folder.path().join("missing")], &[]).is_err());
    }

    #[test]
    fn cores_of_one_kind_are_the_same_and_kinds_differ_by_what_they_can() {
        let first = "processor\t: 0\nmodel name\t: A\ncpu MHz\t: 2200.1\nflags\t: fpu avx2\n\nprocessor : 1\n";
        let other = "processor\t: 7\nmodel name\t: A\ncpu MHz\t: 3100.9\nflags\t: fpu avx2\n";
        assert_eq!(kind(first), kind(other));
        assert_ne!(kind(first), kind(&other.replace("avx2", "avx512f")));
        assert!(!kind(first).contains("MHz") && !kind(first).is_empty());
        assert_eq!(kind(""), "");
        assert!(!processor().unwrap().is_empty());
    }
}
