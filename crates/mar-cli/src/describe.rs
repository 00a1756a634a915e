//! `mar inspect`'s section on an ONNX file.

use std::io::Write;

use anyhow::Result;
use mar::Archive;
use mar_onnx::{About, Batch};
use serde::Serialize;

use crate::{networks, show};

/// Operators that are shown, the most frequent ones.
const OPERATORS: usize = 8;

/// What an ONNX file is made of, or why there is no telling.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NetworkReport<'a> {
    file: &'a str,
    #[serde(flatten)]
    about: Option<About>,
    problem: Option<String>,
}

/// Every ONNX file of an archive, the one that is served first.
pub(crate) fn networks(archive: &Archive) -> Vec<NetworkReport<'_>> {
    let report = |file| match networks::open(archive, file) {
        Ok(network) => NetworkReport { file, about: Some(network.about()), problem: None },
        Err(problem) => NetworkReport { file, about: None, problem: Some(problem) },
    };
    networks::names(archive).into_iter().map(report).collect()
}

/// The section, after an empty line.
pub(crate) fn write(report: &NetworkReport<'_>, out: &mut dyn Write) -> Result<()> {
    if let Some(problem) = &report.problem {
        writeln!(out, "\nnetwork: cannot be read: {}", show::plain(problem))?;
    }
    let Some(about) = &report.about else { return Ok(()) };
    let mut rows = vec![("network", report.file.to_owned())];
    let opsets = about.opsets.iter().map(|(domain, version)| format!("{domain} {version}"));
    rows.extend(about.ir_version.map(|version| ("IR version", version.to_string())));
    rows.push(("opsets", opsets.collect::<Vec<_>>().join(", ")));
    rows.extend(about.producer.clone().map(|producer| ("producer", producer)));
    for (what, ports) in [("input", &about.inputs), ("output", &about.outputs)] {
        rows.extend(ports.iter().map(|port| (what, format!("{}: {}", port.name, port.kind))));
    }
    rows.push(("batch", batch(about.batch)));
    rows.push(("operators", operators(about)));
    rows.push(("weights", weights(about)));
    for file in &about.external {
        rows.push(("external", format!("{}, {}", file.location, show::size(file.bytes))));
    }
    rows.push(("quantised", if about.quantised { "yes" } else { "no" }.to_owned()));
    let rows = rows.into_iter().map(|(field, text)| vec![field.to_owned(), show::plain(&text)]);
    writeln!(out, "\n{}", show::table(&[], rows.collect(), &[]))?;
    Ok(())
}

fn batch(batch: Batch) -> String {
    match batch {
        Batch::Dynamic => "of any size".to_owned(),
        Batch::Fixed(size) => format!("fixed at {size}; export it with a dynamic first side"),
        Batch::None => "none: the inputs share no first side".to_owned(),
    }
}

fn operators(about: &About) -> String {
    let mut operators: Vec<_> = about.operators.iter().collect();
    operators.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let all: usize = about.operators.values().sum();
    let mut told: Vec<_> =
        operators.iter().take(OPERATORS).map(|(name, count)| format!("{name} {count}")).collect();
    if operators.len() > OPERATORS {
        told.push(format!("{} others", operators.len() - OPERATORS));
    }
    format!("{all}: {}", told.join(", "))
}

fn weights(about: &About) -> String {
    let weights = &about.weights;
    let types: Vec<_> = weights.types.keys().copied().collect();
    if weights.tensors == 0 {
        return "none".to_owned();
    }
    let size = show::size(weights.bytes);
    let tensors = if weights.tensors == 1 { "tensor" } else { "tensors" };
    format!("{size} in {} {tensors} of {}", weights.tensors, types.join(", "))
}
