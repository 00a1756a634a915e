//! `mar verify`: everything that is wrong with an archive, and the digests of what is right.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use mar::{Archive, Digest, Error};

use crate::limits::LimitArgs;
use crate::show;

/// Check an archive's structure, manifest, configuration, preprocessing, samples and every file's checksum
///
/// Prints `sha256  name` for each file that can be read, and one line on standard error for each
/// thing that is wrong. Exit status 1 if anything is.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A .mar, a .tar.gz or a folder
    archive: PathBuf,
    /// Digests and problems as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    files: Vec<FileReport>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct FileReport {
    name: String,
    sha256: String,
}

pub(crate) fn run(args: &VerifyArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode> {
    let (digests, problems) = check(args);
    let digest = |(name, digest): (String, Digest)| FileReport { name, sha256: digest.to_string() };
    let report = Report {
        ok: problems.is_empty(),
        files: digests.into_iter().map(digest).collect(),
        problems,
    };
    if args.json {
        show::json(out, &report)?;
    } else {
        write_text(&report, out, err)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(args: &VerifyArgs) -> (Vec<(String, Digest)>, Vec<String>) {
    let (archive, problems) = match Archive::survey(&args.archive, (&args.limits).into()) {
        Ok(found) => found,
        Err(error) => return (Vec::new(), vec![error.one_line()]),
    };
    let (digests, unreadable) = archive.digests();
    let mut problems: Vec<String> =
        problems.iter().chain(&unreadable).map(Error::one_line).collect();
    problems.extend(archive.samples_problems(&digests).iter().map(Error::one_line));
    let model = &archive.manifest().model;
    if digests.iter().any(|(known, _)| Some(known) == model.config_file.as_ref()) {
        match archive.config() {
            Err(error) => problems.push(error.one_line()),
            Ok(config) => {
                let handler = model.handler.as_deref().unwrap_or_default();
                let told = mar_handlers::preprocessing(handler, &config.unwrap_or_default());
                problems.extend(told.and_then(Result::err).map(|error| error.to_string()));
            }
        }
    }
    (digests, problems)
}

fn write_text(report: &Report, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    for file in &report.files {
        writeln!(out, "{}  {}", file.sha256, show::plain(&file.name))?;
    }
    for problem in &report.problems {
        writeln!(err, "mar: {}", show::plain(problem))?;
    }
    if report.ok {
        writeln!(out, "ok: {} files", report.files.len())?;
    }
    Ok(())
}
