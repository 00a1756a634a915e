//! How a model lies in a repository: `MODEL/[config.pbtxt][labels.txt]/VERSION/FILE`.

use std::path::{Path, PathBuf};

use mar_engine::{Error, Result};
use mar_proto::inference::ModelConfig;
use mar_proto::inference::model_version_policy::PolicyChoice;

use super::text::Source;

/// Whether a folder is a model of a repository, and no archive.
pub fn is_model(folder: &Path) -> bool {
    folder.is_dir()
        && !folder.join("MAR-INF").exists()
        && (folder.join("config.pbtxt").is_file() || versions(folder).is_ok_and(|v| !v.is_empty()))
}

/// The versions that a model's folder has, the lowest first. Folders that are no number, or begin with 0, are
/// none.
pub(super) fn versions(folder: &Path) -> Result<Vec<i64>> {
    let unreadable = |error: std::io::Error| {
        Error::invalid_model(format!("{}: {error}", folder.display())).caused_by(error)
    };
    let mut versions = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let number = name.to_str().filter(|name| {
            !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit())
        });
        if let Some(number) = number.and_then(|name| name.parse().ok())
            && entry.path().is_dir()
        {
            versions.push(number);
        }
    }
    versions.sort_unstable();
    Ok(versions)
}

/// Those of them that are to be served.
pub(super) fn chosen(
    config: &ModelConfig,
    source: &Source,
    folder: &Path,
) -> Result<(Vec<i64>, Vec<String>)> {
    let there = versions(folder)?;
    if there.is_empty() {
        return Err(Error::invalid_model(format!(
            "{} has no version: put the model's file into a folder called 1",
            folder.display()
        )));
    }
    let policy = config.version_policy.as_ref().and_then(|policy| policy.policy_choice.as_ref());
    let number = match policy {
        None => 1,
        Some(PolicyChoice::All(_)) => there.len(),
        Some(PolicyChoice::Latest(latest)) if latest.num_versions == 0 => {
            return Err(source.refuse("latest", "has no num_versions; say how many, 1 or more"));
        }
        Some(PolicyChoice::Latest(latest)) => latest.num_versions as usize,
        Some(PolicyChoice::Specific(specific)) => {
            let wanted = &specific.versions;
            let chosen: Vec<i64> = there.into_iter().filter(|v| wanted.contains(v)).collect();
            if chosen.is_empty() {
                return Err(source.refuse("specific", "names no version that is there"));
            }
            let missing = wanted.iter().filter(|version| !chosen.contains(version));
            let warnings =
                missing.map(|v| format!("version_policy names version {v}, which is not there"));
            let warnings = warnings.collect();
            return Ok((chosen, warnings));
        }
    };
    Ok((there[there.len().saturating_sub(number)..].to_vec(), Vec::new()))
}

/// The file of a version. A folder of that name holds the file and what belongs to it.
pub(super) fn file(folder: &Path, version: i64, config: &ModelConfig) -> Result<PathBuf> {
    let name = &config.default_model_filename;
    let path = folder.join(version.to_string()).join(name);
    let path = if path.is_dir() { path.join(name) } else { path };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::invalid_model(format!("there is no file {}", path.display())))
}

/// The name of a version's file where nobody says it: the first of those that there is.
pub(super) fn guessed_file(folder: &Path, version: i64) -> Option<&'static str> {
    let version = folder.join(version.to_string());
    ["model.onnx", "model.pt"].into_iter().find(|name| version.join(name).exists())
}

/// A file that the configuration names, which has to be within the model's folder.
pub(super) fn beside(folder: &Path, name: &str) -> Result<PathBuf> {
    let parts = Path::new(name).components();
    let mut parts = parts.peekable();
    let inside =
        parts.peek().is_some() && parts.all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside {
        return Ok(folder.join(name));
    }
    Err(Error::invalid_model(format!("\"{name}\" is no file within {}", folder.display())))
}
