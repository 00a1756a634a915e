//! `mar inspect --graph`: an ONNX file's graph for a program that draws it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use mar::Archive;

use crate::{networks, show};

/// Writes the graph of an archive's network: as DOT where the file ends in `.dot` or is `-`, for standard output;
/// the network itself where it ends in `.onnx`, with the files it needs beside it.
///
/// # Errors
/// Where the archive has no ONNX file, or a file cannot be written.
pub(crate) fn write(archive: &Archive, to: &Path, out: &mut dyn Write) -> Result<()> {
    let Some(&name) = networks::names(archive).first() else {
        bail!("{} has no ONNX file, so there is no graph to write", archive.path().display());
    };
    let network = networks::open(archive, name).map_err(anyhow::Error::msg)?;
    if to == Path::new("-") {
        out.write_all(network.dot().as_bytes())?;
        return Ok(());
    }
    let ending = to.extension().unwrap_or_default().to_ascii_lowercase();
    match ending.to_str() {
        Some("dot") => {
            fs::write(to, network.dot())
                .with_context(|| format!("cannot write {}", to.display()))?;
            writeln!(out, "wrote {}", show::plain(&to.to_string_lossy()))?;
        }
        Some("onnx") => {
            copy(archive, name, to, out)?;
            let folder = to.parent().unwrap_or(Path::new(""));
            for file in network.external() {
                let source = networks::beside(name, &file.location);
                copy(archive, &source, &folder.join(&file.location), out)?;
            }
        }
        _ => bail!(
            "--graph {}: its name has to end in .dot or .onnx, or be - for DOT on standard output",
            to.display()
        ),
    }
    Ok(())
}

/// Copies one of the archive's files to a new one.
fn copy(archive: &Archive, name: &str, to: &Path, out: &mut dyn Write) -> Result<()> {
    let mut content = archive.content(name)?;
    let wrong = || format!("cannot write {}", to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(wrong)?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(to);
    if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        bail!(
            "{} is there already and is not replaced; choose another name or remove it",
            to.display()
        );
    }
    let mut file: File = opened.with_context(wrong)?;
    io::copy(&mut content, &mut file).with_context(wrong)?;
    writeln!(out, "wrote {}", show::plain(&to.to_string_lossy()))?;
    Ok(())
}
