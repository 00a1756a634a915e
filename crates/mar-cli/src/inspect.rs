//! `mar inspect`: what is in an archive.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use mar::{Archive, Digest, Entry, Manifest};

use crate::limits::LimitArgs;
use crate::show;

/// Show an archive's model, files and configuration
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A .mar, a .tar.gz or a folder
    archive: PathBuf,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    path: &'a str,
    format: String,
    has_manifest: bool,
    manifest: &'a Manifest,
    config: Option<Map<String, Value>>,
    /// What a built-in handler does to an image.
    preprocessing: Option<String>,
    files: Vec<FileReport<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileReport<'a> {
    name: &'a str,
    size: u64,
    stored_size: u64,
    mapped_at: Option<u64>,
    sha256: String,
}

pub(crate) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let archive = Archive::open_with(&args.archive, (&args.limits).into())?;
    let (digests, problems) = archive.digests();
    if let Some(problem) = problems.into_iter().next() {
        bail!(problem);
    }
    let digests: HashMap<String, Digest> = digests.into_iter().collect();
    let digest = |entry: &Entry| digests.get(&entry.name).map(ToString::to_string);
    let files: Vec<_> = archive
        .entries()
        .iter()
        .map(|entry| FileReport {
            name: &entry.name,
            size: entry.size,
            stored_size: entry.stored_size,
            mapped_at: entry.mapped_at,
            sha256: digest(entry).unwrap_or_default(),
        })
        .collect();
    let config = archive.config()?;
    let report = Report {
        path: &args.archive.to_string_lossy(),
        format: archive.format().to_string(),
        has_manifest: archive.has_manifest(),
        manifest: archive.manifest(),
        preprocessing: preprocessing(archive.manifest(), config.as_ref()),
        config,
        files,
    };
    if args.json {
        show::json(out, &report)?;
    } else {
        write_text(&report, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the archive's handler does to an image, in a sentence; what is wrong with its configuration, where
/// that is so. `None` where the handler is not a built-in one, or takes no images.
fn preprocessing(manifest: &Manifest, config: Option<&Map<String, Value>>) -> Option<String> {
    let none = Map::new();
    let told =
        mar_handlers::preprocessing(manifest.model.handler.as_ref()?, config.unwrap_or(&none))?;
    Some(told.unwrap_or_else(|error| format!("cannot be served: {error}")))
}

fn write_text(report: &Report<'_>, out: &mut dyn Write) -> Result<()> {
    let manifest = report.manifest;
    let model = &manifest.model;
    let made = manifest.created_on.as_ref().map(|time| {
        let by = manifest.archiver_version.as_deref().unwrap_or("an unknown version");
        format!("{time} by archiver {by}")
    });
    let manifest_note = (!report.has_manifest).then(|| "none; TorchServe's defaults".to_owned());
    let rows = [
        ("model", Some(model.model_name.clone())),
        ("version", Some(model.model_version.clone())),
        ("handler", model.handler.clone()),
        ("runtime", Some(manifest.runtime.clone())),
        ("format", Some(report.format.clone())),
        ("weights", model.serialized_file.clone()),
        ("model file", model.model_file.clone()),
        ("requirements", model.requirements_file.clone()),
        ("config", model.config_file.clone()),
        ("made", made),
        ("manifest", manifest_note),
    ];
    let rows = rows
        .into_iter()
        .filter_map(|(field, text)| Some(vec![field.to_owned(), show::plain(&text?)]))
        .collect();
    writeln!(out, "{}\n", show::table(&[], rows, &[]))?;

    if let Some(sentence) = &report.preprocessing {
        writeln!(out, "preprocessing: {}\n", show::plain(sentence))?;
    }

    let header = ["file", "size", "stored", "mapped at", "sha256"];
    let rows = report.files.iter().map(|file| {
        let mapped = file.mapped_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        vec![
            show::plain(file.name),
            show::size(file.size),
            show::size(file.stored_size),
            mapped,
            file.sha256.chars().take(12).collect(),
        ]
    });
    writeln!(out, "{}", show::table(&header, rows.collect(), &[1, 2, 3]))?;

    if let Some(config) = report.config.as_ref().filter(|config| !config.is_empty()) {
        let rows = config.iter().map(|(key, value)| vec![show::plain(key), show::value(value)]);
        writeln!(out, "\n{}", show::table(&["config", ""], rows.collect(), &[]))?;
    }
    Ok(())
}
