//! The form that was chosen for a network, kept for its next load: in the [`Cache`], under all that the choice
//! depends on. What is kept is what was told of the choice, not the module: libtorch cannot save one that was rewritten
//! for inference.
//!
//! Only on the processor: of a GPU nobody here knows more than its number.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{fs, io};

use mar_handler::{Device, LoadSpec, Tensor};
use serde_json::{Map, Value, json};

use super::form::{Form, configuration};
use super::options::{OPTIMIZE, Options};
use super::version;
use crate::cache::{Cache, Key, Stamps, name};

/// Where this runtime's entries are, within what all runtimes keep.
const FOLDER: &str = "libtorch";
/// The only file of an entry.
const FILE: &str = "choice.json";
/// What it holds.
const SHAREABLE: &str = "shareable";
const TOLD: &str = "execution";
/// Counts up when there are other forms, or they are chosen in another way.
const FORMAT: &str = "choice 1";

/// How the names of variables begin by which libtorch, and the libraries that it calls, are told how to work.
const OF_LIBRARIES: [&str; 10] = [
    "ATEN_",
    "DNNL_",
    "GLIBC_TUNABLES",
    "GOMP_",
    "KMP_",
    "MALLOC_",
    "MKL_",
    "OMP_",
    "ONEDNN_",
    "TORCH_",
];

/// The place of one choice.
#[derive(Debug)]
pub(super) struct Kept {
    cache: Cache,
    key: Key,
    file: PathBuf,
    /// What the file was before the key was made of it.
    stamps: Stamps,
}

/// What an earlier load found.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) form: Form,
    /// Whether several workers may run the network at the same time.
    pub(super) shareable: bool,
    /// What was told of it.
    pub(super) told: Map<String, Value>,
}

impl Kept {
    /// `None` where nothing is kept: nobody wants it, or it cannot be, which is logged.
    pub(super) fn of(spec: &LoadSpec, options: &Options) -> Option<Self> {
        let folder = spec.cache.as_ref().filter(|_| spec.device == Device::Cpu)?;
        let kept = Cache::open(folder, FOLDER).and_then(|cache| {
            let stamps = Stamps::of(std::slice::from_ref(&spec.file));
            let key = key(spec, options, std::env::vars_os()).map_err(|error| error.to_string())?;
            Ok(Self { cache, key, file: spec.file.clone(), stamps })
        });
        kept.inspect_err(|reason| cannot(&spec.file, reason)).ok()
    }

    /// What was kept, if anything was. What does not read goes.
    pub(super) fn find(&self) -> Option<Choice> {
        let entry = self.cache.find(&self.key)?;
        let read = match entry.file(FILE) {
            Some(file) => fs::read(file).map_err(|error| error.to_string()),
            None => Err(format!("{FILE} is missing")),
        };
        let choice = read.and_then(|text| {
            Choice::read(&text).ok_or_else(|| format!("{FILE} tells of no form that is known"))
        });
        choice.inspect_err(|reason| self.forget(reason)).ok()
    }

    /// Takes away what was kept, because it is of no use.
    pub(super) fn forget(&self, reason: &str) {
        self.cache.remove(&self.key, reason);
    }

    /// Keeps a choice for the next load.
    pub(super) fn keep(&self, shareable: bool, told: &Map<String, Value>) {
        if self.stamps != Stamps::of(std::slice::from_ref(&self.file)) {
            return cannot(&self.file, "it was exchanged while it was read");
        }
        let text = json!({ SHAREABLE: shareable, TOLD: told }).to_string();
        let made = self.cache.begin().and_then(|made| {
            fs::write(made.path().join(FILE), text)?;
            self.cache.keep(made, &self.key)
        });
        made.unwrap_or_else(|error| cannot(&self.file, &error.to_string()));
    }
}

impl Choice {
    fn read(text: &[u8]) -> Option<Self> {
        let Value::Object(mut kept) = serde_json::from_slice(text).ok()? else { return None };
        let Some(Value::Object(told)) = kept.remove(TOLD) else { return None };
        let form = Form::named(told.get(OPTIMIZE)?.as_str()?)?;
        Some(Self { form, shareable: kept.get(SHAREABLE)?.as_bool()?, told })
    }
}

/// Of all that a choice depends on: the network, what it is tried on and for how long, and what runs it here.
fn key(
    spec: &LoadSpec,
    options: &Options,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> io::Result<Key> {
    let threads = options.threads.unwrap_or(spec.intra_op_threads);
    let mut all = vec![
        FORMAT.to_owned(),
        version().to_owned(),
        configuration(),
        format!("{threads} threads, {:?}", options.time),
    ];
    all.extend(spec.inputs.iter().map(input));
    all.extend(of_libraries(variables));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Key::of(std::slice::from_ref(&spec.file), &all)
}

/// The numbers count, too: answers are compared on them.
fn input(tensor: &Tensor) -> String {
    let numbers = blake3::hash(tensor.bytes()).to_hex();
    format!("{:?} of {:?}: {numbers}", tensor.shape(), tensor.dtype())
}

/// The variables that libraries read, in an order of their own.
fn of_libraries(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<String> {
    let is_read = |name: &OsStr| {
        OF_LIBRARIES.iter().any(|begin| name.as_encoded_bytes().starts_with(begin.as_bytes()))
    };
    let mut read: Vec<_> = variables
        .filter(|(name, _)| is_read(name))
        .map(|(name, value)| format!("{}={}", name.display(), value.display()))
        .collect();
    read.sort();
    read
}

fn cannot(file: &Path, reason: &str) {
    log::warn!("{}: the form that it runs in is not kept: {reason}", name(file));
}

#[cfg(test)]
mod tests;
