//! `mar pack`: torch-model-archiver's flags, and those for known answers.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use mar::{PackFormat, PackOptions, RUNTIMES};

use crate::{networks, progress, samples, show};

/// Make an archive; the flags are those of torch-model-archiver 0.12, and --sample and --expect
#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The model's name, and the archive's
    #[arg(long, value_name = "NAME")]
    model_name: String,
    /// The model's version
    #[arg(short = 'v', long, value_name = "VERSION")]
    version: String,
    /// A built-in handler's name, or a Python file: h.py, h, or path/module:function
    #[arg(long, value_name = "HANDLER")]
    handler: String,
    // The aliases are abbreviations that are torch-model-archiver's, and that newer flags would take away.
    /// The weights: TorchScript, a state dict, ONNX with the files it names...
    #[arg(long, value_name = "FILE", alias = "s")]
    serialized_file: Option<OsString>,
    /// The Python file with the architecture of an eager model
    #[arg(long, value_name = "FILE")]
    model_file: Option<OsString>,
    /// Comma-separated files, folders (their contents go to the root) and patterns
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    extra_files: Vec<String>,
    /// The language that the handler is written in
    #[arg(long, value_parser = RUNTIMES, default_value = RUNTIMES[0])]
    runtime: String,
    /// The folder in which the archive is made
    #[arg(long, value_name = "FOLDER", default_value = ".", alias = "exp")]
    export_path: OsString,
    /// The archive's form
    #[arg(long, value_name = "FORMAT", default_value = "default")]
    archive_format: ArchiveFormat,
    /// Replace an archive of that name
    #[arg(short = 'f', long)]
    force: bool,
    /// Python packages that the model needs, requirements.txt
    #[arg(short = 'r', long, value_name = "FILE")]
    requirements_file: Option<OsString>,
    /// The model's configuration, model-config.yaml
    #[arg(short = 'c', long, value_name = "FILE")]
    config_file: Option<OsString>,
    /// Pack ONNX files that do not check out, such as those for an ONNX Runtime newer than this knows
    #[arg(long)]
    no_check: bool,
    /// An input whose answer is known, such as an image; may be given again, each with its --expect
    #[arg(long, value_name = "FILE", help_heading = "Known answers")]
    sample: Vec<PathBuf>,
    /// What is known of the sample in the same place: the answer itself (.json, .png, .npy...), or a record
    #[arg(long, value_name = "FILE", help_heading = "Known answers")]
    expect: Vec<PathBuf>,
}

/// The form of the archive to make; the words are torch-model-archiver's.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ArchiveFormat {
    /// NAME.mar, a zip: weights stored and aligned, text deflated
    Default,
    /// NAME.mar, a zip with nothing deflated
    ZipStore,
    /// NAME.tar.gz, everything under one folder NAME
    Tgz,
    /// the folder NAME itself
    NoArchive,
}

impl From<ArchiveFormat> for PackFormat {
    fn from(format: ArchiveFormat) -> Self {
        match format {
            ArchiveFormat::Default => Self::Default,
            ArchiveFormat::ZipStore => Self::ZipStore,
            ArchiveFormat::Tgz => Self::Tgz,
            ArchiveFormat::NoArchive => Self::NoArchive,
        }
    }
}

pub(crate) fn run(args: PackArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode> {
    let given_samples = samples::read(&args.sample, &args.expect)?;
    let mut options = PackOptions {
        model_name: args.model_name,
        version: args.version,
        handler: args.handler,
        serialized_file: given(args.serialized_file),
        model_file: given(args.model_file),
        companions: Vec::new(),
        extra_files: args.extra_files,
        runtime: args.runtime,
        export_path: given(Some(args.export_path)).unwrap_or_else(|| PathBuf::from(".")),
        format: args.archive_format.into(),
        force: args.force,
        requirements_file: given(args.requirements_file),
        config_file: given(args.config_file),
        created: created()?,
        samples: given_samples,
    };
    let warnings = samples::complete(&mut options)?;
    let (odd, added) = networks::gather(&mut options, args.no_check)?;
    let mut bar = progress::Bar::default();
    let packed = mar::pack(&options, &mut |done, total| bar.advance(done, total));
    drop(bar);
    let packed = packed?;
    for warning in packed.warnings.iter().chain(&warnings).chain(&odd) {
        writeln!(err, "mar: warning: {}", show::plain(warning))?;
    }
    for name in added {
        writeln!(out, "added {}: weights of an ONNX file", show::plain(&name))?;
    }
    let (path, size) = (packed.path.display(), show::size(packed.bytes));
    writeln!(out, "packed {path}: {} files, {size}", packed.files)?;
    Ok(ExitCode::SUCCESS)
}

/// An empty path means none, as it does for the official archiver; so the flags are no `PathBuf`s,
/// which clap wants filled.
fn given(path: Option<OsString>) -> Option<PathBuf> {
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// `SOURCE_DATE_EPOCH`, else now. <https://reproducible-builds.org/specs/source-date-epoch/>
fn created() -> Result<i64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().with_context(|| {
            format!("SOURCE_DATE_EPOCH is {text:?}; give whole seconds since 1970-01-01 UTC")
        }),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().try_into()?),
    }
}
