//! Writing `.tar.gz`: everything under one folder, owners and times fixed.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use flate2::{Compression, GzBuilder};

use crate::pack::input::Input;
use crate::pack::plan::Plan;

/// RFC 1952's code for an unknown system, so that the header is the same on all of them.
const UNKNOWN_SYSTEM: u8 = 255;

pub(super) fn write(
    plan: &Plan,
    file: &File,
    folder: &str,
    count: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_SYSTEM)
        .write(BufWriter::with_capacity(256 << 10, file), Compression::new(6));
    let mut tar = tar::Builder::new(gzip);
    for (name, planned) in &plan.files {
        let mut header = tar::Header::new_gnu();
        header.set_size(planned.size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{folder}/{name}"), Input::open(planned, count)?)?;
    }
    tar.into_inner()?.finish()?.flush()
}
