//! Which models there are, under which versions, and which version is meant when none is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use mar_handler::{Error, ErrorCode, Result};
use parking_lot::RwLock;

use crate::version::ModelVersion;

/// One model: its versions in the order they were registered, and the default among them.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// The version that answers where a client names none: the first registered.
    pub default: Arc<ModelVersion>,
    /// Every version, the default among them.
    pub versions: Vec<Arc<ModelVersion>>,
}

#[derive(Debug, Default)]
pub(crate) struct Registry(RwLock<BTreeMap<String, ModelEntry>>);

impl Registry {
    /// Adds a version.
    pub(crate) fn add(&self, version: Arc<ModelVersion>) -> Result<()> {
        let mut models = self.0.write();
        match models.get_mut(version.name()) {
            None => {
                let entry = ModelEntry {
                    default: Arc::clone(&version),
                    versions: vec![Arc::clone(&version)],
                };
                models.insert(version.name().to_owned(), entry);
            }
            Some(entry) if entry.versions.iter().any(|v| v.version() == version.version()) => {
                return Err(Error::new(
                    ErrorCode::Conflict,
                    format!(
                        "model \"{}\" version \"{}\" is registered already; give one of them another name with name=file",
                        version.name(),
                        version.version()
                    ),
                ));
            }
            Some(entry) => entry.versions.push(version),
        }
        Ok(())
    }

    /// A model by name.
    pub(crate) fn model(&self, name: &str) -> Result<ModelEntry> {
        let models = self.0.read();
        models.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = models.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            Error::new(ErrorCode::ModelNotFound, format!("no model \"{name}\"; loaded: {known}"))
        })
    }

    /// A version of a model; the default where none is named.
    pub(crate) fn version(&self, name: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
        let entry = self.model(name)?;
        let Some(version) = version else { return Ok(entry.default) };
        entry.versions.iter().find(|v| v.version() == version).cloned().ok_or_else(|| {
            let known: Vec<&str> = entry.versions.iter().map(|v| v.version()).collect();
            Error::new(
                ErrorCode::VersionNotFound,
                format!(
                    "no version \"{version}\" of model \"{name}\"; loaded: {}",
                    known.join(", ")
                ),
            )
        })
    }

    /// Every model, by name.
    pub(crate) fn models(&self) -> Vec<(String, ModelEntry)> {
        self.0.read().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }
}
