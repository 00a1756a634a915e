//! Which models there are, under which versions, and which version is meant when none is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use mar_handler::{Error, ErrorCode, Result};
use parking_lot::RwLock;

use crate::version::ModelVersion;

/// One model: its versions in the order they were registered, and the default among them.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// The version that answers where a client names none: the first registered, unless another was made
    /// the default.
    pub default: Arc<ModelVersion>,
    /// Every version, the default among them.
    pub versions: Vec<Arc<ModelVersion>>,
}

impl ModelEntry {
    /// A model of this version alone.
    fn of(version: Arc<ModelVersion>) -> Self {
        Self { default: Arc::clone(&version), versions: vec![version] }
    }

    fn find(&self, version: &str) -> Option<&Arc<ModelVersion>> {
        self.versions.iter().find(|known| known.version() == version)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Registry(RwLock<BTreeMap<String, ModelEntry>>);

impl Registry {
    /// Adds a version.
    pub(crate) fn add(&self, version: Arc<ModelVersion>) -> Result<()> {
        let mut models = self.0.write();
        match models.get_mut(version.name()) {
            None => {
                models.insert(version.name().to_owned(), ModelEntry::of(version));
            }
            Some(entry) if entry.find(version.version()).is_some() => {
                return Err(Error::new(
                    ErrorCode::Conflict,
                    format!(
                        "model \"{}\" version \"{}\" is registered already; unregister it first, or give one of them another name",
                        version.name(),
                        version.version()
                    ),
                ));
            }
            Some(entry) => entry.versions.push(version),
        }
        Ok(())
    }

    /// Puts a version in the place of the one of the same name and version, in one step; gives that one
    /// out. Where there is none, the version is added.
    pub(crate) fn put(&self, version: Arc<ModelVersion>) -> Option<Arc<ModelVersion>> {
        let mut models = self.0.write();
        let Some(entry) = models.get_mut(version.name()) else {
            models.insert(version.name().to_owned(), ModelEntry::of(version));
            return None;
        };
        let same = |known: &&mut Arc<ModelVersion>| known.version() == version.version();
        let Some(place) = entry.versions.iter_mut().find(same) else {
            entry.versions.push(version);
            return None;
        };
        let old = std::mem::replace(place, Arc::clone(&version));
        if Arc::ptr_eq(&entry.default, &old) {
            entry.default = version;
        }
        Some(old)
    }

    /// Takes a version out, the default where none is named.
    pub(crate) fn remove(&self, name: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
        let mut models = self.0.write();
        let Some(entry) = models.get_mut(name) else { return Err(no_model(&models, name)) };
        let found = find(entry, name, version)?;
        if entry.versions.len() == 1 {
            models.remove(name);
        } else if Arc::ptr_eq(&found, &entry.default) {
            return Err(Error::new(
                ErrorCode::DefaultVersion,
                format!(
                    "version \"{}\" is the default of model \"{name}\" and others are there; make another the default first, or name the version to remove",
                    found.version()
                ),
            ));
        } else {
            entry.versions.retain(|known| !Arc::ptr_eq(known, &found));
        }
        Ok(found)
    }

    /// Takes out exactly this version, default or not: one whose registration failed.
    pub(crate) fn forget(&self, version: &Arc<ModelVersion>) {
        let mut models = self.0.write();
        let Some(entry) = models.get_mut(version.name()) else { return };
        entry.versions.retain(|known| !Arc::ptr_eq(known, version));
        match entry.versions.first() {
            None => {
                models.remove(version.name());
            }
            Some(first) if Arc::ptr_eq(&entry.default, version) => {
                entry.default = Arc::clone(first);
            }
            Some(_) => {}
        }
    }

    /// Makes a version the one that is meant where none is named.
    pub(crate) fn set_default(&self, name: &str, version: &str) -> Result<()> {
        let mut models = self.0.write();
        let Some(entry) = models.get_mut(name) else { return Err(no_model(&models, name)) };
        entry.default = find(entry, name, Some(version))?;
        Ok(())
    }

    /// A model by name.
    pub(crate) fn model(&self, name: &str) -> Result<ModelEntry> {
        let models = self.0.read();
        models.get(name).cloned().ok_or_else(|| no_model(&models, name))
    }

    /// A version of a model; the default where none is named.
    pub(crate) fn version(&self, name: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
        let models = self.0.read();
        match models.get(name) {
            Some(entry) => find(entry, name, version),
            None => Err(no_model(&models, name)),
        }
    }

    /// Every model, by name.
    pub(crate) fn models(&self) -> Vec<(String, ModelEntry)> {
        self.0.read().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }
}

fn find(entry: &ModelEntry, name: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
    let Some(version) = version else { return Ok(Arc::clone(&entry.default)) };
    entry.find(version).cloned().ok_or_else(|| {
        let known: Vec<&str> = entry.versions.iter().map(|v| v.version()).collect();
        Error::new(
            ErrorCode::VersionNotFound,
            format!("no version \"{version}\" of model \"{name}\"; loaded: {}", known.join(", ")),
        )
    })
}

fn no_model(models: &BTreeMap<String, ModelEntry>, name: &str) -> Error {
    let known: Vec<&str> = models.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    Error::new(ErrorCode::ModelNotFound, format!("no model \"{name}\"; loaded: {known}"))
}
