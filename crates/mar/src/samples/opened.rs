//! The known answers of one archive, packed or unpacked, whose files are read when asked for.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::archive::{Archive, Digest};
use crate::samples::{MAX_FILE_BYTES, MAX_INDEX_BYTES, SAMPLES_NAME, Sample, Samples, check};

/// An index that was checked, beside the files that it names.
#[derive(Debug, Clone)]
pub struct Opened {
    samples: Samples,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Archive(Box<Archive>),
}

/// The known answers of an unpacked archive; `None` where it has none.
///
/// That the files which the index names are there, and have the sizes that they must have, is checked;
/// the input's digest is when it is read.
///
/// # Errors
/// [`Error::Samples`] with the first thing found wrong, [`Error::Io`] where a file cannot be read.
pub fn read_samples(model_dir: &Path) -> Result<Option<Opened>, Error> {
    let model_dir =
        model_dir.canonicalize().map_err(|error| Error::io("open", model_dir, error))?;
    if fs::symlink_metadata(model_dir.join(SAMPLES_NAME)).is_err() {
        return Ok(None);
    }
    Opened::of(Place::Folder(model_dir)).map(Some)
}

impl Archive {
    /// The archive's known answers, as [`read_samples`] has them of an unpacked one; `None` where it has none.
    ///
    /// # Errors
    /// [`Error::Samples`] with the first thing found wrong, and those of [`Archive::read`].
    pub fn samples(&self) -> Result<Option<Opened>, Error> {
        if !self.entries().iter().any(|entry| entry.name == SAMPLES_NAME) {
            return Ok(None);
        }
        Opened::of(Place::Archive(Box::new(self.clone()))).map(Some)
    }

    /// Everything that is wrong with the archive's known answers; nothing where it has none. The `digests`
    /// are those of [`Archive::digests`].
    pub fn samples_problems(&self, digests: &[(String, Digest)]) -> Vec<Error> {
        let digest = |file: &str| digests.iter().find(|(name, _)| name == file).map(|(_, of)| of);
        let place = Place::Archive(Box::new(self.clone()));
        if digest(SAMPLES_NAME).is_none() {
            return Vec::new();
        }
        let wrong = |what| Error::samples(self.path(), what);
        let read = place.bytes(SAMPLES_NAME, MAX_INDEX_BYTES);
        let samples = match read.and_then(|bytes| Samples::read(&bytes).map_err(wrong)) {
            Ok(samples) => samples,
            Err(error) => return vec![error],
        };
        let changed = samples.samples.iter().filter_map(|sample| {
            digest(&sample.input.file).and_then(|found| unchanged(sample, *found).err())
        });
        let rules = check::rules(&samples);
        let files = check::files(&samples, &|file| place.size(file));
        rules.into_iter().chain(files).chain(changed).map(wrong).collect()
    }
}

impl Opened {
    fn of(place: Place) -> Result<Self, Error> {
        let bytes = place.bytes(SAMPLES_NAME, MAX_INDEX_BYTES)?;
        let samples = Samples::parse_at(&bytes, place.path())?;
        match check::files(&samples, &|file| place.size(file)).into_iter().next() {
            Some(what) => Err(Error::samples(place.path(), what)),
            None => Ok(Self { samples, place }),
        }
    }

    /// The index.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// One of the files that the index names, into memory; 64 MiB at most.
    ///
    /// # Errors
    /// Where the index names no such file, or it cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, Error> {
        let mut named = self.samples.samples.iter().flat_map(check::named);
        if !named.any(|(name, _)| name == file) {
            let what = format!("the index names no file {file:?}");
            return Err(Error::samples(self.place.path(), what));
        }
        self.place.bytes(file, MAX_FILE_BYTES)
    }

    /// What a client sends, which is what it was when its answers were found out.
    ///
    /// # Errors
    /// [`Error::Samples`] where it is of another digest, and those of [`Opened::read`].
    pub fn input(&self, sample: &Sample) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&sample.input.file)?;
        match unchanged(sample, Digest::of(&bytes)) {
            Ok(()) => Ok(bytes),
            Err(what) => Err(Error::samples(self.place.path(), what)),
        }
    }
}

fn unchanged(sample: &Sample, found: Digest) -> Result<(), String> {
    if found.to_string() == sample.input.sha256 {
        return Ok(());
    }
    Err(format!(
        "sample {:?}: {} is not the file whose answers are known: its SHA-256 is {found}",
        sample.name, sample.input.file
    ))
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(root) => root,
            Self::Archive(archive) => archive.path(),
        }
    }

    fn size(&self, file: &str) -> Option<u64> {
        match self {
            Self::Folder(root) => {
                let about = fs::metadata(inside(root, file).ok()?).ok()?;
                about.is_file().then_some(about.len())
            }
            Self::Archive(archive) => {
                let entry = archive.entries().iter().find(|entry| entry.name == file)?;
                Some(entry.size)
            }
        }
    }

    fn bytes(&self, file: &str, most: u64) -> Result<Vec<u8>, Error> {
        let too_long = || Error::samples(self.path(), format!("{file} has more than {most} bytes"));
        if self.size(file).is_some_and(|size| size > most) {
            return Err(too_long());
        }
        let root = match self {
            Self::Archive(archive) => return archive.read(file, most),
            Self::Folder(root) => root,
        };
        let path = inside(root, file)?;
        let fail = |error| Error::io("read", &path, error);
        // Before it is opened: opening a pipe would wait for a writer.
        if !fs::metadata(&path).map_err(fail)?.is_file() {
            return Err(Error::samples(root, format!("{file} is not a plain file")));
        }
        let mut bytes = Vec::new();
        File::open(&path).map_err(fail)?.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
        // It may have grown since its size was asked for.
        if bytes.len() as u64 > most { Err(too_long()) } else { Ok(bytes) }
    }
}

/// Where a file lies, once its links were followed, which must not lead out of the folder.
fn inside(root: &Path, file: &str) -> Result<PathBuf, Error> {
    let path = root.join(file);
    let found = path.canonicalize().map_err(|error| Error::io("read", &path, error))?;
    if found.starts_with(root) {
        return Ok(found);
    }
    Err(Error::samples(root, format!("{file} is a link that leads out of the folder")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::{Value, json};

    use super::*;

    /// An unpacked archive with one sample, whose index is changed.
    fn unpacked(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("samples/1")).unwrap();
        fs::write(folder.path().join("samples/1/in.json"), "[1]").unwrap();
        fs::write(folder.path().join("samples/1/out.json"), "[2]").unwrap();
        let mut index = json!({ "format": 1, "samples": [{
            "name": "in.json",
            "input": { "file": "samples/1/in.json", "sha256": Digest::of(b"[1]").to_string() },
            "answers": [{ "file": "samples/1/out.json", "content_type": "application/json" }]
        }] });
        change(&mut index);
        fs::write(folder.path().join(SAMPLES_NAME), index.to_string()).unwrap();
        folder
    }

    #[test]
    fn a_folder_without_an_index_has_no_samples() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_samples(folder.path()).unwrap().is_none());
        assert!(read_samples(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn files_are_read_that_the_index_names_and_no_others() {
        let folder = unpacked(|_| ());
        fs::write(folder.path().join("samples/1/other"), "x").unwrap();
        let opened = read_samples(folder.path()).unwrap().unwrap();
        assert_eq!(opened.input(&opened.samples().samples[0]).unwrap(), b"[1]");
        assert_eq!(opened.read("samples/1/out.json").unwrap(), b"[2]");
        for file in ["samples/1/other", "../x", "MAR-INF/MANIFEST.json"] {
            let error = opened.read(file).unwrap_err().to_string();
            assert!(error.contains("the index names no file"), "{error}");
        }
    }

    #[test]
    fn an_input_that_changed_is_not_the_one_whose_answers_are_known() {
        let folder = unpacked(|_| ());
        let opened = read_samples(folder.path()).unwrap().unwrap();
        fs::write(folder.path().join("samples/1/in.json"), "[3]").unwrap();
        let error = opened.input(&opened.samples().samples[0]).unwrap_err().to_string();
        assert!(error.contains("is not the file whose answers are known"), "{error}");
    }

    #[test]
    fn links_folders_and_what_is_missing_are_refused() {
        let folder = unpacked(|_| ());
        let answer = folder.path().join("samples/1/out.json");
        let refused = || read_samples(folder.path()).unwrap_err().to_string();
        fs::remove_file(&answer).unwrap();
        assert!(refused().contains("out.json is not in the archive"));
        fs::create_dir(&answer).unwrap();
        assert!(refused().contains("out.json is not in the archive"));
        fs::remove_dir(&answer).unwrap();
        symlink("/etc/passwd", &answer).unwrap();
        assert!(refused().contains("out.json is not in the archive"));
        fs::remove_file(&answer).unwrap();
        symlink("in.json", &answer).unwrap();
        assert!(read_samples(folder.path()).unwrap().is_some(), "it stays inside");
    }

    #[test]
    fn an_index_that_is_too_long_or_a_link_is_not_read() {
        let folder = unpacked(|_| ());
        let index = folder.path().join(SAMPLES_NAME);
        let refused = || read_samples(folder.path()).unwrap_err().to_string();
        File::options().write(true).open(&index).unwrap().set_len(MAX_INDEX_BYTES + 1).unwrap();
        assert!(refused().contains("samples.json has more than 4194304 bytes"));
        fs::remove_file(&index).unwrap();
        symlink("/etc/passwd", &index).unwrap();
        assert!(refused().contains("a link that leads out of the folder"));
    }

    #[test]
    fn an_index_that_makes_no_sense_is_an_error_with_its_place() {
        let folder = unpacked(|index| index["samples"][0]["name"] = json!(""));
        let error = read_samples(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Samples { .. }));
        assert!(error.to_string().contains("its name is empty"), "{error}");
    }
}
