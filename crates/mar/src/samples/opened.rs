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
