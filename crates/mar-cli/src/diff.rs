//! `mar diff`: what two archives do not share, whatever their forms.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use mar::{Archive, Limits, MANIFEST_NAME, has_weights_ending};

use crate::limits::LimitArgs;
use crate::show;

/// Say when and by what an archive was made, not what it holds.
const ABOUT_THE_MAKING: [&str; 2] = ["createdOn", "archiverVersion"];

/// Compare two archives: manifest, files, weights
///
/// Exit status 0 if they hold the same, 1 if not, 2 on an error. When an archive was made, and by
/// which version, is shown but is not a difference.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first archive: a .mar, a .tar.gz or a folder
    a: PathBuf,
    /// The second
    b: PathBuf,
    /// The differences as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Default, Serialize)]
struct Difference {
    same: bool,
    manifest: Vec<FieldChange>,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
    weights: Weights,
}

#[derive(Debug, Serialize)]
struct FieldChange {
    field: String,
    a: Option<Value>,
    b: Option<Value>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Weights {
    #[default]
    None,
    Same,
    Changed,
}

/// One side: manifest fields by dotted name, and digests by file name.
struct Side {
    fields: BTreeMap<String, Value>,
    files: BTreeMap<String, String>,
    weights: BTreeSet<String>,
}

pub(crate) fn run(args: &DiffArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let limits = Limits::from(&args.limits);
    let difference = compare(&side(&args.a, limits)?, &side(&args.b, limits)?);
    if args.json {
        show::json(out, &difference)?;
    } else {
        write_text(&difference, out)?;
    }
    Ok(ExitCode::from(u8::from(!difference.same)))
}

fn side(path: &Path, limits: Limits) -> Result<Side> {
    let archive = Archive::open_with(path, limits)?;
    let (digests, problems) = archive.digests();
    if let Some(problem) = problems.into_iter().next() {
        bail!(problem);
    }
    let mut fields = BTreeMap::new();
    flatten("", serde_json::to_value(archive.manifest())?, &mut fields);
    // The manifest is compared field by field, not byte by byte.
    let files: BTreeMap<_, _> = digests
        .into_iter()
        .filter(|(name, _)| name != MANIFEST_NAME)
        .map(|(name, digest)| (name, digest.to_string()))
        .collect();
    let named = archive.manifest().model.serialized_file.as_deref();
    let is_weights = |name: &&String| has_weights_ending(name) || named == Some(name.as_str());
    let weights = files.keys().filter(is_weights).cloned().collect();
    Ok(Side { fields, files, weights })
}

fn flatten(prefix: &str, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                flatten(&name, value, fields);
            }
        }
        value => {
            fields.insert(prefix.to_owned(), value);
        }
    }
}

fn compare(a: &Side, b: &Side) -> Difference {
    let fields: BTreeSet<_> = a.fields.keys().chain(b.fields.keys()).collect();
    let manifest: Vec<_> = fields
        .into_iter()
        .map(|field| FieldChange {
            field: field.clone(),
            a: a.fields.get(field).cloned(),
            b: b.fields.get(field).cloned(),
        })
        .filter(|change| change.a != change.b)
        .collect();
    let missing = |from: &Side, of: &Side| {
        of.files.keys().filter(|name| !from.files.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    let differs = |(name, digest): &(&String, &String)| {
        b.files.get(*name).is_some_and(|other| other != *digest)
    };
    let changed: Vec<_> = a.files.iter().filter(differs).map(|(name, _)| name.clone()).collect();
    let weigh = |side: &Side| {
        side.weights.iter().map(|name| side.files.get(name).cloned()).collect::<BTreeSet<_>>()
    };
    let weights = match (weigh(a), weigh(b)) {
        (a, b) if a != b => Weights::Changed,
        (a, _) if a.is_empty() => Weights::None,
        _ => Weights::Same,
    };
    let (added, removed) = (missing(a, b), missing(b, a));
    let same_model =
        manifest.iter().all(|change| ABOUT_THE_MAKING.contains(&change.field.as_str()));
    let same = same_model && added.is_empty() && removed.is_empty() && changed.is_empty();
    Difference { same, manifest, added, removed, changed, weights }
}

fn write_text(difference: &Difference, out: &mut dyn Write) -> Result<()> {
    let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), show::value);
    for change in &difference.manifest {
        let (a, b) = (side(&change.a), side(&change.b));
        writeln!(out, "manifest {}: {a} -> {b}", show::plain(&change.field))?;
    }
    for (word, names) in [
        ("removed", &difference.removed),
        ("added", &difference.added),
        ("changed", &difference.changed),
    ] {
        for name in names {
            writeln!(out, "{word} {}", show::plain(name))?;
        }
    }
    let weights = match difference.weights {
        Weights::None => "there are no weights",
        Weights::Same => "the weights are the same",
        Weights::Changed => "the weights changed",
    };
    let verdict = if difference.same { "same contents" } else { "different contents" };
    writeln!(out, "{verdict}; {weights}")?;
    Ok(())
}
