//! Memory that clients share with the server: tensors that do not travel over the network.
//!
//! A region is part of a POSIX shared memory object, which on Linux is a file below `/dev/shm`. It is read and
//! written as a file and never mapped: a client that shrinks or writes it meanwhile gets an error or its own
//! mixture, and harms nobody else.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use mar_engine::{Error, ErrorCode, Result};
use parking_lot::RwLock;
use rustix::process::{Resource, getrlimit};

use crate::Parameters;
use crate::buffer::AlignedBuffer;
use crate::parameters::{text, whole};
use crate::quoted::Quoted;

/// Regions at a time, so that a client that forgets its own does not fill the server: each may keep a file open.
const MOST_REGIONS: usize = 1000;
/// One of so many files that the process may have open; the others are for clients and models.
const SHARE_OF_FILES: u64 = 4;
/// Bytes of a tensor at most, as many as a message of gRPC can have: an object can be said to be of any size
/// without memory behind it.
const LARGEST: u64 = i32::MAX as u64;
/// Parameters that place a tensor in a region.
pub(crate) const REGION: &str = "shared_memory_region";
pub(crate) const BYTE_SIZE: &str = "shared_memory_byte_size";
pub(crate) const OFFSET: &str = "shared_memory_offset";

/// The regions that clients registered.
#[derive(Debug, Default)]
pub struct SharedMemory {
    /// Where objects lie; `None` where clients may not share memory.
    root: Option<PathBuf>,
    /// Regions at a time.
    most: usize,
    regions: RwLock<BTreeMap<String, Region>>,
}

/// What is registered under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionStatus {
    /// Its name.
    pub name: String,
    /// The object that it is part of, as a client names it.
    pub key: String,
    /// Where in the object it begins.
    pub offset: u64,
    /// How long it is.
    pub byte_size: u64,
}

#[derive(Clone, Debug)]
struct Region {
    status: RegionStatus,
    /// Open from the registration on, so that it stays the same object.
    file: Arc<File>,
}

/// Where a tensor lies, as its parameters say.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    region: String,
    offset: u64,
    byte_size: u64,
}

impl SharedMemory {
    /// Regions of objects below this folder; none are taken without one.
    pub fn new(root: Option<PathBuf>) -> Self {
        let files = getrlimit(Resource::Nofile).current.map(|most| most / SHARE_OF_FILES);
        let files = files.and_then(|files| usize::try_from(files).ok());
        let most = files.map_or(MOST_REGIONS, |files| files.min(MOST_REGIONS));
        Self { root, most, regions: RwLock::default() }
    }

    /// Makes part of an object a region of this name.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`] where the name is taken; [`ErrorCode::InvalidInput`] where clients may not share
    /// memory, the object cannot be opened, or is smaller than the region.
    pub fn register(&self, region: RegionStatus) -> Result<()> {
        let named = Quoted(&region.name).to_string();
        let refused = |reason: String| {
            Error::invalid_input(format!("shared memory region {named} is not taken: {reason}"))
        };
        let Some(root) = &self.root else {
            return Err(refused(
                "this server takes none; it does with allow_shared_memory=true".into(),
            ));
        };
        if region.name.is_empty() || region.name.len() > 255 {
            return Err(refused("its name has to have 1 to 255 bytes".into()));
        }
        let key = Quoted(&region.key).to_string();
        let object = object(&region.key).ok_or_else(|| {
            refused(format!("key {key} names no POSIX shared memory object; \"/name\" does"))
        })?;
        let end = region.offset.checked_add(region.byte_size);
        let end = end.ok_or_else(|| refused("offset and byte_size overflow".into()))?;
        // Not at the end of a link, and without waiting where it is a pipe.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(root.join(object))
            .map_err(|error| refused(format!("object {key} cannot be opened: {error}")))?;
        let metadata = file.metadata().map_err(|error| refused(error.to_string()))?;
        if !metadata.is_file() {
            return Err(refused(format!("{key} is no shared memory object")));
        }
        if end > metadata.len() {
            return Err(refused(format!(
                "it ends at byte {end}, and object {key} has {} bytes",
                metadata.len()
            )));
        }
        let mut regions = self.regions.write();
        if regions.contains_key(&region.name) {
            let message = format!("shared memory region {named} is registered already");
            return Err(Error::new(ErrorCode::Conflict, message));
        }
        if regions.len() >= self.most {
            return Err(refused(format!("there are {} already; unregister some", self.most)));
        }
        // Many regions are part of the same object, and files are few.
        let identity = (metadata.dev(), metadata.ino());
        let same = |known: &&Region| {
            known.file.metadata().is_ok_and(|known| (known.dev(), known.ino()) == identity)
        };
        let known = regions.values().filter(|known| known.status.key == region.key).find(same);
        let file = known.map_or_else(|| Arc::new(file), |known| Arc::clone(&known.file));
        regions.insert(region.name.clone(), Region { status: region, file });
        Ok(())
    }

    /// What whoever offers a device's memory is told.
    pub fn no_cuda() -> Error {
        Error::invalid_input(
            "CUDA shared memory is not taken; register system shared memory, or send the tensors",
        )
    }

    /// Forgets a region, or all of them. One that is not there is forgotten already.
    pub fn unregister(&self, name: Option<&str>) {
        let mut regions = self.regions.write();
        match name {
            Some(name) => drop(regions.remove(name)),
            None => regions.clear(),
        }
    }

    /// What is registered: one region, or all of them.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`] where the one is not there.
    pub fn status(&self, name: Option<&str>) -> Result<Vec<RegionStatus>> {
        let regions = self.regions.read();
        match name {
            None => Ok(regions.values().map(|region| region.status.clone()).collect()),
            Some(name) => match regions.get(name) {
                Some(region) => Ok(vec![region.status.clone()]),
                None => Err(unknown(name)),
            },
        }
    }

    /// A tensor's bytes out of its place.
    pub(crate) fn read(&self, place: &Place) -> Result<Bytes> {
        let (file, offset) = self.find(place)?;
        let length = usize::try_from(place.byte_size).ok().filter(|_| place.byte_size <= LARGEST);
        let length = length.ok_or_else(|| {
            Error::invalid_input(format!("{BYTE_SIZE} {} is above {LARGEST}", place.byte_size))
        })?;
        let mut buffer = AlignedBuffer::zeros(length);
        file.read_exact_at(buffer.bytes_mut(), offset).map_err(|error| place.failed(&error))?;
        Ok(buffer.freeze())
    }

    /// A tensor's bytes into its place, and how long they are.
    pub(crate) fn write(&self, place: &Place, data: &[u8]) -> Result<()> {
        if data.len() as u64 > place.byte_size {
            return Err(Error::invalid_input(format!(
                "it has {} bytes, and {BYTE_SIZE} in region {} is {}",
                data.len(),
                Quoted(&place.region),
                place.byte_size
            )));
        }
        let (file, offset) = self.find(place)?;
        // A file would grow, and a client's memory does not.
        let end = offset + data.len() as u64;
        if file.metadata().map_err(|error| place.failed(&error))?.len() < end {
            return Err(place.beyond());
        }
        file.write_all_at(data, offset).map_err(|error| place.failed(&error))
    }

    /// The file of a place and where in it the place begins.
    fn find(&self, place: &Place) -> Result<(Arc<File>, u64)> {
        let regions = self.regions.read();
        let region = regions.get(&place.region).ok_or_else(|| unknown(&place.region))?;
        let end = place.offset.checked_add(place.byte_size);
        if end.is_none_or(|end| end > region.status.byte_size) {
            return Err(place.beyond());
        }
        Ok((Arc::clone(&region.file), region.status.offset + place.offset))
    }
}

impl Place {
    /// Where a tensor's parameters say that it lies; `None` where they say nothing of it.
    pub(crate) fn of(parameters: &Parameters) -> Result<Option<Self>> {
        let (offset, byte_size) = (whole(parameters, OFFSET)?, whole(parameters, BYTE_SIZE)?);
        let Some(region) = text(parameters, REGION)? else {
            return match offset.or(byte_size) {
                None => Ok(None),
                Some(_) => Err(Error::invalid_input(format!("parameter \"{REGION}\" is missing"))),
            };
        };
        let Some(byte_size) = byte_size else {
            return Err(Error::invalid_input(format!("parameter \"{BYTE_SIZE}\" is missing")));
        };
        Ok(Some(Self { region: region.to_owned(), offset: offset.unwrap_or(0), byte_size }))
    }

    /// The region's name.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Where in the region it begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes it has.
    pub(crate) fn byte_size(&self) -> u64 {
        self.byte_size
    }

    fn beyond(&self) -> Error {
        Error::invalid_input(format!(
            "{OFFSET} {} and {BYTE_SIZE} {} lead beyond region {}",
            self.offset,
            self.byte_size,
            Quoted(&self.region)
        ))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::invalid_input(format!(
            "shared memory region {} is not what it was: {error}",
            Quoted(&self.region)
        ))
    }
}

fn unknown(name: &str) -> Error {
    let message = format!("no shared memory region {}; register it first", Quoted(name));
    Error::new(ErrorCode::ModelNotFound, message)
}

/// The file's name of an object.
fn object(key: &str) -> Option<&str> {
    let name = key.strip_prefix('/').unwrap_or(key);
    let names_one = !name.is_empty() && name != "." && name != ".." && name.len() <= 255;
    (names_one && !name.contains(['/', '\0'])).then_some(name)
}
