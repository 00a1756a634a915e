//! Model archives, TorchServe's `.mar` and its two sisters: reading, checking, packing, comparing.
//!
//! The archives travel both ways. Those of `torch-model-archiver` (zip, tgz, `no-archive`) open here,
//! and those written here open in TorchServe 0.12. The `mar` command is a crate of its own, `mar-cli`. This
//! crate knows nothing of tensors, handlers or servers.
//!
//! # Limits
//!
//! An archive comes from elsewhere and is trusted with nothing. [`Archive::open`] refuses names that
//! lead out of the archive, are absolute, hold backslashes or control characters, are given twice,
//! differ only by case, or are both a file and a folder; links, devices, encrypted entries; and a
//! manifest that names what is not there. Opening and unpacking stop at [`Limits`]:
//!
//! | limit | default | counted |
//! |---|---|---|
//! | `max_entries` | 10 000 | files and folders |
//! | `max_total_bytes` | 64 GiB | bytes that really come out, all files together |
//! | `max_ratio` | 200 | bytes out per byte of the archive, beyond the first 64 MiB |
//! | name | 1024 bytes, 255 a component, 64 folders deep | not adjustable |
//! | manifest, configuration | 1 MiB each | not adjustable |
//! | known answers | 100 samples, an index of 4 MiB, 64 MiB a file, 512 MiB together | not adjustable |
//!
//! A folder's links may point inside the folder. Links in zips and tars are refused altogether.
//!
//! # What a packed archive looks like
//!
//! Entries are sorted by name, dated 1980-01-01 with mode 0644, so that the same inputs give the same
//! bytes on every machine; only `createdOn` tells the time, and `SOURCE_DATE_EPOCH` sets that.
//! Weights, whatever is compressed already and anything over 8 MiB are stored, the rest is deflated.
//! Stored files start at a multiple of [`ALIGNMENT`] (64) bytes, so that they can be mapped and read
//! in place: 64 is a cache line, the widest vector register, and the alignment that PyTorch gives
//! tensors inside its own files, which this keeps true in the archive. The padding is an extra field
//! of the local header (id 0xA11E), which readers skip. Sizes and checksums are in the local headers,
//! with no data descriptors, because TorchServe reads archives as a stream. Zip64 fields appear only
//! in archives that need them, above 4 GiB.
//!
//! # Sources
//!
//! Zip: PKWARE APPNOTE 6.3.10 (4.3.7, 4.3.12, 4.4, 4.5.3). Tar: POSIX.1-2017 `pax`, GNU tar's manual.
//! Gzip: RFC 1952. The manifest and the flags: torch-model-archiver 0.12.0 as it behaves, which
//! the tests of the `mar` command compare run by run.
#![warn(missing_docs)]

mod archive;
mod config;
mod error;
mod limits;
mod manifest;
mod name;
mod pack;
mod samples;
mod staging;

pub use crate::archive::references::has_weights_ending;
pub use crate::archive::{Archive, Content, Digest, Entry, Format};
pub use crate::config::{parse_config, read_config};
pub use crate::error::{Error, Refusal};
pub use crate::limits::{Limits, RATIO_FREE_BYTES};
pub use crate::manifest::{MANIFEST_NAME, Manifest, ManifestModel, RUNTIMES, is_model_name};
pub use crate::name::MAX_NAME_BYTES;
pub use crate::pack::{
    ALIGNMENT, BUILTIN_HANDLERS, LSP_HANDLERS, PackFormat, PackOptions, PackSample, Packed, pack,
    planned, repack,
};
pub use crate::samples::{
    Input, Known, KnownAnswer, KnownStage, KnownTensor, MAX_SAMPLES, Opened, SAMPLES_FORMAT,
    SAMPLES_NAME, Sample, Samples, Summary, read_samples,
};
