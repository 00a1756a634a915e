//! Whether a manifest holds together with the files beside it.

use std::collections::HashSet;
use std::path::Path;

use crate::Error;
use crate::archive::Entry;
use crate::manifest::{Manifest, RUNTIMES, is_model_name};

/// Endings of files that hold weights.
pub(crate) const WEIGHTS: [&str; 9] =
    ["pt", "pth", "pt2", "onnx", "safetensors", "bin", "so", "engine", "plan"];

/// Whether a file of this name holds weights, by its ending.
pub fn has_weights_ending(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|extension| extension.to_str());
    ending.is_some_and(|ending| WEIGHTS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

/// Whether files without a manifest are plainly a model: weights or Python code at the root.
pub(super) fn looks_like_a_model(entries: &[Entry]) -> bool {
    entries.iter().filter(|entry| !entry.name.contains('/')).any(|entry| {
        has_weights_ending(&entry.name)
            || Path::new(&entry.name).extension().is_some_and(|extension| extension == "py")
    })
}

/// Everything that TorchServe or this crate would stumble over.
pub(super) fn check(path: &Path, manifest: &Manifest, entries: &[Entry]) -> Vec<Error> {
    let mut problems = Vec::new();
    let mut rule = |what: String| {
        problems.push(Error::ManifestRule { path: path.to_owned(), what });
    };
    if !is_model_name(&manifest.model.model_name) {
        let name = &manifest.model.model_name;
        rule(format!("modelName {name:?} must match ^[A-Za-z0-9][A-Za-z0-9_\\-.]*$"));
    }
    if manifest.model.model_version.is_empty() {
        rule("modelVersion is empty".to_owned());
    }
    if !RUNTIMES.contains(&manifest.runtime.as_str()) {
        rule(format!("no runtime {:?}; known: {}", manifest.runtime, RUNTIMES.join(", ")));
    }
    let names: HashSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    for (field, name) in manifest.files() {
        if !names.contains(name.as_str()) {
            problems.push(Error::Missing { path: path.to_owned(), field, name });
        }
    }
    problems
}
