//! What goes into an archive, before anything is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::name::Names;
use crate::pack::{PackOptions, extra, handler, is_stored};
use crate::{Error, read_config};

/// The archive's files, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: BTreeMap<String, Planned>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Planned {
    pub(super) content: Content,
    pub(super) size: u64,
    /// Whether a zip stores it rather than deflates it.
    pub(super) stored: bool,
}

#[derive(Debug)]
pub(super) enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// The last component of a path, which is a file's name in the archive.
pub(super) fn base_name(path: &Path) -> Result<String, Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned)
        .ok_or_else(|| Error::Input(format!("{} has no file name that is UTF-8", path.display())))
}

/// Finds every input, in the official archiver's order: of two files of one name the later wins.
pub(super) fn collect(options: &PackOptions) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    if let Some(path) = &options.model_file {
        plan.add_given("model file", path)?;
    }
    if let Some(path) = &options.serialized_file {
        let name = plan.add_given("serialized file", path)?;
        if let Some(planned) = plan.files.get_mut(&name) {
            planned.stored = true;
        }
    }
    if let Some(path) = handler::file(&options.handler, &options.runtime)? {
        plan.add_given("handler", &path)?;
    }
    for element in options.extra_files.iter().filter(|element| !element.trim().is_empty()) {
        let found = extra::resolve(element)?;
        if found.is_empty() && extra::is_pattern(element) {
            plan.warnings.push(format!("extra files pattern {element:?} matches nothing"));
        }
        for (name, path) in found {
            plan.add(name, path)?;
        }
    }
    if let Some(path) = &options.requirements_file {
        plan.add_given("requirements file", path)?;
    }
    if let Some(path) = &options.config_file {
        plan.add_given("config file", path)?;
        if let Err(error) = read_config(path) {
            plan.warnings.push(format!("{}; no server will read it", error.one_line()));
        }
    }
    for (name, path) in &options.companions {
        if !plan.files.contains_key(name) {
            plan.add(name.clone(), path.clone())?;
        }
    }
    Ok(plan)
}

impl Planned {
    /// Where it lies on the disk.
    pub(super) fn path(self) -> Option<PathBuf> {
        match self.content {
            Content::File(path) => Some(path),
            Content::Bytes(_) => None,
        }
    }
}

impl Plan {
    fn add_given(&mut self, what: &str, path: &Path) -> Result<String, Error> {
        if !path.is_file() {
            return Err(Error::Input(format!("{what} {} is not a file", path.display())));
        }
        let name = base_name(path)?;
        self.add(name.clone(), path.to_owned())?;
        Ok(name)
    }

    pub(super) fn add(&mut self, name: String, path: PathBuf) -> Result<(), Error> {
        let size = fs::metadata(&path).map_err(|error| Error::io("read", &path, error))?.len();
        let same = |a: &Path| a.canonicalize().ok() == path.canonicalize().ok();
        // A file given twice, as weights and as an extra file, is still the weights.
        let mut stored = is_stored(&name, size);
        if let Some(Planned { content: Content::File(before), stored: was, .. }) =
            self.files.get(&name)
        {
            if same(before) {
                stored |= was;
            } else {
                self.warnings.push(format!(
                    "{} replaces {}: both are {name:?} in the archive",
                    path.display(),
                    before.display()
                ));
            }
        }
        self.files.insert(name, Planned { content: Content::File(path), size, stored });
        Ok(())
    }

    /// Adds a file that lies in memory, and returns the one that had its name.
    pub(super) fn add_made(&mut self, name: String, bytes: Vec<u8>) -> Option<Planned> {
        let size = bytes.len() as u64;
        let stored = is_stored(&name, size);
        self.files.insert(name, Planned { content: Content::Bytes(bytes), size, stored })
    }

    /// Adds the manifest and checks that no reader will stumble over the names.
    pub(super) fn set_manifest(&mut self, manifest: &Manifest) -> Result<(), Error> {
        let text = manifest
            .to_json()
            .map_err(|error| Error::Input(format!("the manifest cannot be written: {error}")))?;
        if self.add_made(MANIFEST_NAME.to_owned(), text.into_bytes()).is_some() {
            self.warnings.push(format!("an extra file {MANIFEST_NAME} was left out"));
        }
        let mut names = Names::default();
        for name in self.files.keys() {
            names.add_file(name).map_err(|reason| {
                Error::Input(format!("{name:?} cannot be packed: {reason}; rename it"))
            })?;
        }
        Ok(())
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.files.values().map(|planned| planned.size).sum()
    }
}
