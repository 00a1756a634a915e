//! Writing `.mar`: sorted, dated 1980, weights aligned, local headers complete.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use crate::pack::input::Input;
use crate::pack::plan::Plan;

/// Stored files start at a multiple of this many bytes. See the crate's documentation for why.
pub const ALIGNMENT: u16 = 64;

/// Sizes from here on need zip64 fields. A little under 4 GiB, so that a file which deflate makes
/// longer still fits.
const ZIP64_FROM: u64 = u32::MAX as u64 - (16 << 20);

/// What becomes of files that are not weights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Deflated,
    Stored,
}

pub(super) fn write(
    plan: &Plan,
    file: &File,
    text: Text,
    count: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::with_capacity(256 << 10, file));
    for (name, planned) in &plan.files {
        let plain = SimpleFileOptions::default()
            .last_modified_time(DateTime::default())
            .system(System::Unix)
            .unix_permissions(0o644)
            .large_file(planned.size >= ZIP64_FROM);
        let options = if planned.stored || text == Text::Stored {
            plain.compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT)
        } else {
            plain.compression_method(CompressionMethod::Deflated).compression_level(Some(6))
        };
        zip.start_file(name.as_str(), options)?;
        Input::open(planned, count)?.copy_to(&mut zip)?;
    }
    zip.finish()?.flush()
}
