//! `mar inspect`: what is in an archive.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use mar::{Archive, Digest, Entry, KnownAnswer, Manifest, Opened, Sample};

use crate::describe::{self, NetworkReport};
use crate::limits::LimitArgs;
use crate::{graph, show};

/// Show an archive's model, files and configuration
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A .mar, a .tar.gz or a folder
    archive: PathBuf,
    /// Everything as JSON
    #[arg(long)]
    json: bool,
    /// Write an ONNX file's graph instead: as DOT to FILE.dot, or to standard output for -; the network itself to
    /// FILE.onnx, which must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    graph: Option<PathBuf>,
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
    /// ONNX files, the one that is served first.
    networks: Vec<NetworkReport<'a>>,
    files: Vec<FileReport<'a>>,
    /// Inputs whose answers are known.
    samples: Vec<SampleReport<'a>>,
    /// Why they cannot be used, where that is so.
    samples_problem: Option<String>,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SampleReport<'a> {
    name: &'a str,
    file: &'a str,
    size: u64,
    content_type: Option<&'a str>,
    stages: Vec<&'a str>,
    outputs: usize,
    answers: Vec<AnswerReport<'a>>,
    made_by: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnswerReport<'a> {
    query: String,
    content_type: &'a str,
}

pub(crate) fn run(args: &InspectArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let archive = Archive::open_with(&args.archive, (&args.limits).into())?;
    if let Some(file) = &args.graph {
        graph::write(&archive, file, out)?;
        return Ok(ExitCode::SUCCESS);
    }
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
    let (samples, samples_problem) = match archive.samples() {
        Ok(samples) => (samples, None),
        Err(error) => (None, Some(error.one_line())),
    };
    let report = Report {
        path: &args.archive.to_string_lossy(),
        format: archive.format().to_string(),
        has_manifest: archive.has_manifest(),
        manifest: archive.manifest(),
        preprocessing: preprocessing(archive.manifest(), config.as_ref()),
        networks: describe::networks(&archive),
        config,
        samples: samples.as_ref().map(|opened| sample_reports(opened, &files)).unwrap_or_default(),
        samples_problem,
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

fn sample_reports<'a>(opened: &'a Opened, files: &[FileReport<'_>]) -> Vec<SampleReport<'a>> {
    let size = |name: &str| files.iter().find(|file| file.name == name).map_or(0, |file| file.size);
    let report = |sample: &'a Sample| SampleReport {
        name: &sample.name,
        file: &sample.input.file,
        size: size(&sample.input.file),
        content_type: sample.input.content_type.as_deref(),
        stages: sample.known.stages.iter().map(|stage| stage.stage.as_str()).collect(),
        outputs: sample.known.output.len(),
        answers: sample.known.answers.iter().map(AnswerReport::of).collect(),
        made_by: sample.known.made_by.as_deref(),
    };
    opened.samples().samples.iter().map(report).collect()
}

impl<'a> AnswerReport<'a> {
    fn of(answer: &'a KnownAnswer) -> Self {
        let pairs = answer.query.iter().map(|(name, value)| format!("{name}={value}"));
        let query = pairs.collect::<Vec<_>>().join("&");
        Self { query, content_type: &answer.content_type }
    }

    /// What is asked for, else what comes.
    fn short(&self) -> &str {
        if self.query.is_empty() { self.content_type } else { &self.query }
    }
}

fn write_samples(report: &Report<'_>, out: &mut dyn Write) -> Result<()> {
    if let Some(problem) = &report.samples_problem {
        writeln!(out, "\nsamples: cannot be used: {}", show::plain(problem))?;
    }
    if report.samples.is_empty() {
        return Ok(());
    }
    let some = |words: Vec<&str>| {
        if words.is_empty() { "-".to_owned() } else { show::plain(&words.join(", ")) }
    };
    let rows = report.samples.iter().map(|sample| {
        let mut stages = sample.stages.clone();
        if sample.outputs > 0 {
            stages.push("forward");
        }
        vec![
            show::plain(sample.name),
            show::size(sample.size),
            some(stages),
            some(sample.answers.iter().map(AnswerReport::short).collect()),
            show::plain(sample.made_by.unwrap_or("-")),
        ]
    });
    let header = ["sample", "size", "stages", "answers", "made by"];
    writeln!(out, "\n{}", show::table(&header, rows.collect(), &[1]))?;
    Ok(())
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

    for network in &report.networks {
        describe::write(network, out)?;
    }
    write_samples(report, out)?;

    if let Some(config) = report.config.as_ref().filter(|config| !config.is_empty()) {
        let rows = config.iter().map(|(key, value)| vec![show::plain(key), show::value(value)]);
        writeln!(out, "\n{}", show::table(&["config", ""], rows.collect(), &[]))?;
    }
    Ok(())
}
