//! `mar verify`: everything that is wrong with an archive, and the digests of what is right.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use mar::{Archive, Digest, Error};

use crate::limits::LimitArgs;
use crate::{networks, show};

/// Check an archive's structure, manifest, configuration, preprocessing, samples, ONNX files and every file's checksum
///
/// Prints `sha256  name` for each file that can be read, and one line on standard error for each
/// thing that is wrong or odd. Exit status 1 if anything is wrong.
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
    warnings: Vec<String>,
}

/// What a check gave.
#[derive(Default)]
struct Found {
    digests: Vec<(String, Digest)>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct FileReport {
    name: String,
    sha256: String,
}

pub(crate) fn run(args: &VerifyArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<ExitCode> {
    let found = check(args);
    let digest = |(name, digest): (String, Digest)| FileReport { name, sha256: digest.to_string() };
    let report = Report {
        ok: found.problems.is_empty(),
        files: found.digests.into_iter().map(digest).collect(),
        problems: found.problems,
        warnings: found.warnings,
    };
    if args.json {
        show::json(out, &report)?;
    } else {
        write_text(&report, out, err)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(args: &VerifyArgs) -> Found {
    let (archive, problems) = match Archive::survey(&args.archive, (&args.limits).into()) {
        Ok(found) => found,
        Err(error) => return Found { problems: vec![error.one_line()], ..Found::default() },
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
    let mut warnings = Vec::new();
    for name in networks::names(&archive) {
        // One that cannot be read is told above.
        if digests.iter().any(|(known, _)| known == name) {
            let findings = networks::check(&archive, name);
            problems.extend(findings.problems);
            warnings.extend(findings.warnings);
        }
    }
    Found { digests, problems, warnings }
}

fn write_text(report: &Report, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    for file in &report.files {
        writeln!(out, "{}  {}", file.sha256, show::plain(&file.name))?;
    }
    for warning in &report.warnings {
        writeln!(err, "mar: warning: {}", show::plain(warning))?;
    }
    for problem in &report.problems {
        writeln!(err, "mar: {}", show::plain(problem))?;
    }
    if report.ok {
        writeln!(out, "ok: {} files", report.files.len())?;
    }
    Ok(())
}
