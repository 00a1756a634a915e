//! `mar unpack`: an archive's files into a new folder.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use mar::Archive;

use crate::limits::LimitArgs;

/// Unpack an archive into a new folder, all or nothing
#[derive(Debug, Args)]
pub(crate) struct UnpackArgs {
    /// A .mar, a .tar.gz or a folder
    archive: PathBuf,
    /// The folder to make; without it one named like the model, here
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(crate) fn run(args: &UnpackArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let archive = Archive::open_with(&args.archive, (&args.limits).into())?;
    let target = match &args.to {
        Some(target) => target.clone(),
        None if archive.manifest().model.model_name.is_empty() => {
            bail!("the archive has no name; say where to unpack it with --to")
        }
        None => PathBuf::from(&archive.manifest().model.model_name),
    };
    archive.extract(&target)?;
    writeln!(out, "unpacked {}: {} files", target.display(), archive.entries().len())?;
    Ok(ExitCode::SUCCESS)
}
