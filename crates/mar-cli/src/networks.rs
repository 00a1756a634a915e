//! ONNX files, in archives and on their way there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use mar::{Archive, PackOptions};
use mar_onnx::{External, Findings, Network, is_network};

/// The ONNX files of an archive, the one that is served first.
pub(crate) fn names(archive: &Archive) -> Vec<&str> {
    let served = archive.manifest().model.serialized_file.as_deref();
    let all = archive.entries().iter().map(|entry| &*entry.name);
    let mut names: Vec<_> = all.filter(|name| is_network(Path::new(name))).collect();
    names.sort_by_key(|name| Some(*name) != served);
    names
}

/// Reads one of them.
///
/// # Errors
/// Where it cannot be read, or is no ONNX file: its name and the cause.
pub(crate) fn open(archive: &Archive, name: &str) -> Result<Network, String> {
    let content = archive.content(name).map_err(|error| error.one_line())?;
    Network::read(content).map_err(|cause| told(archive.path(), name, &cause))
}

/// What is wrong with one of them, by the archive's name and its own.
pub(crate) fn check(archive: &Archive, name: &str) -> Findings {
    let size = |location: &str| {
        let wanted = beside(name, location);
        archive.entries().iter().find(|entry| entry.name == wanted).map(|entry| entry.size)
    };
    match open(archive, name) {
        Err(problem) => Findings { problems: vec![problem], ..Findings::default() },
        Ok(network) => named(network.check(&size), |cause| told(archive.path(), name, cause)),
    }
}

/// The name in an archive of a file that lies beside another one.
pub(crate) fn beside(name: &str, location: &str) -> String {
    let folder = name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    folder + location
}

/// Looks at the ONNX files that are to be packed, and adds the files with weights that lie beside them. Returns
/// what is odd about them and the names of what was added.
///
/// # Errors
/// Where one does not check out, unless `is_forced`.
pub(crate) fn gather(
    options: &mut PackOptions,
    is_forced: bool,
) -> Result<(Vec<String>, Vec<String>)> {
    let planned: BTreeMap<String, PathBuf> = mar::planned(options)?.into_iter().collect();
    let (mut warnings, mut added) = (Vec::new(), BTreeMap::new());
    for (name, path) in planned.iter().filter(|(name, _)| is_network(Path::new(name))) {
        // What is packed under the name counts, whether or not it is what lies beside the network.
        let source = |location: &str| {
            let given = planned.get(&beside(name, location)).cloned();
            given.unwrap_or_else(|| path.with_file_name("").join(location))
        };
        let size = |location: &str| {
            let about = source(location).metadata().ok()?;
            about.is_file().then_some(about.len())
        };
        let findings = match Network::open(path) {
            Err(error) => Findings { problems: vec![error.to_string()], ..Findings::default() },
            Ok(network) => {
                for External { location, .. } in network.external() {
                    let name = beside(name, &location);
                    if size(&location).is_some() && !planned.contains_key(&name) {
                        add(&mut added, name, source(&location))?;
                    }
                }
                let shown = path.file_name().unwrap_or_default().to_string_lossy();
                named(network.check(&size), |cause| format!("{shown}: {cause}"))
            }
        };
        if !is_forced && !findings.problems.is_empty() {
            bail!("{} cannot be packed: {}", path.display(), findings.problems.join("; "));
        }
        warnings.extend(findings.problems);
        warnings.extend(findings.warnings);
    }
    let names = added.keys().cloned().collect();
    options.companions.extend(added);
    Ok((warnings, names))
}

/// Adds a file with weights, under its name in the archive.
///
/// # Errors
/// Where another network has another file of that name.
fn add(added: &mut BTreeMap<String, PathBuf>, name: String, path: PathBuf) -> Result<()> {
    let is_same = |other: &Path| other.canonicalize().ok() == path.canonicalize().ok();
    if let Some(other) = added.get(&name).filter(|other| !is_same(other)) {
        bail!(
            "{} and {} would both be {name:?} in the archive, and each has the weights of another ONNX file; pack them in two archives, or save one of the networks with another name for its weights",
            other.display(),
            path.display()
        );
    }
    added.insert(name, path);
    Ok(())
}

fn told(path: &Path, name: &str, cause: &str) -> String {
    format!("{}: {name}: {cause}", path.display())
}

fn named(findings: Findings, name: impl Fn(&str) -> String) -> Findings {
    let all = |sentences: Vec<String>| sentences.iter().map(|sentence| name(sentence)).collect();
    Findings { problems: all(findings.problems), warnings: all(findings.warnings) }
}
