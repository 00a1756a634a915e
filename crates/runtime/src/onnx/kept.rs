//! Opening a network through the [`Cache`]: a graph that was optimised before is taken as it is, another one is
//! optimised and kept.
//!
//! Only on the processor: other providers compile parts of a graph, which no file can hold, and keep what they
//! make in ways of their own.

use std::io;
use std::path::Path;

use mar_handler::{LoadSpec, Result};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::error::first_cause;
use super::files::Files;
use super::level::Level;
use super::library::Library;
use super::options::Options;
use crate::cache::{Cache, Key, Stamps, name};

/// Where this runtime's entries are, within what all runtimes keep.
const FOLDER: &str = "onnxruntime";
/// The graph's file in an entry. There is none where the library does not read what it writes, so that nobody tries again.
const GRAPH: &str = "model.onnx";
/// The weights' file in an entry. A file of their own is mapped into memory, and need not be parsed.
const WEIGHTS: &str = "weights.bin";
/// Weights from this many bytes on go to a file of their own.
const OWN_FILE_FROM: u32 = 1024;

/// What is done with the graph of a file that is opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Graph<'a> {
    /// It is optimised as asked.
    AsAsked,
    /// The same, and what comes of it is written to a file, with the weights in another one beside it.
    Written { graph: &'a Path, weights: Option<&'a str> },
    /// It was optimised before.
    Ready,
}

impl Graph<'_> {
    /// Tells a session that is being made.
    pub(super) fn apply(self, builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
        match self {
            Self::AsAsked => Ok(builder),
            Self::Ready => Ok(builder.with_optimization_level(GraphOptimizationLevel::Disable)?),
            Self::Written { graph, weights } => {
                let builder = builder.with_optimized_model_path(graph)?;
                let Some(weights) = weights else { return Ok(builder) };
                let key =
                    |rest: &str| format!("session.optimized_model_external_initializers_{rest}");
                Ok(builder
                    .with_config_entry(key("file_name"), weights)?
                    .with_config_entry(key("min_size_in_bytes"), OWN_FILE_FROM.to_string())?)
            }
        }
    }
}

/// A place where the graph of one file is kept, as it is asked for.
#[derive(Debug)]
pub(super) struct Kept {
    cache: Cache,
    key: Key,
    files: Files,
    /// What the files were before the key was made of them.
    stamps: Stamps,
}

impl Kept {
    /// `None` where nothing is kept: nobody wants it, there is nothing to gain, or it cannot be, which is logged.
    pub(super) fn of(
        library: &Library,
        spec: &LoadSpec,
        options: &Options,
        files: &Files,
    ) -> Option<Self> {
        let folder = spec.cache.as_ref().filter(|_| options.level != Level::Disable)?;
        let made_by = [&library.version, ort::info(), "cpu", options.level.name()];
        let kept = Cache::open(folder, FOLDER).and_then(|cache| {
            let stamps = files.stamps();
            let key = Key::of(&files.all()?, &made_by).map_err(|error| error.to_string())?;
            Ok(Self { cache, key, files: files.clone(), stamps })
        });
        kept.inspect_err(|reason| cannot(&spec.file, reason)).ok()
    }

    /// Opens the file, or what is kept of it; and whether it was kept. `open` opens a file, and may be asked
    /// several times.
    ///
    /// # Errors
    /// Where the file itself does not open.
    pub(super) fn open(
        &self,
        file: &Path,
        open: impl Fn(&Path, Graph<'_>) -> Result<Session, ort::Error>,
    ) -> Result<(Session, bool), ort::Error> {
        if let Some(entry) = self.cache.find(&self.key) {
            let Some(graph) = entry.file(GRAPH) else {
                return Ok((open(file, Graph::AsAsked)?, false));
            };
            match open(&graph, Graph::Ready) {
                Ok(session) => return Ok((session, true)),
                Err(error) => self.cache.remove(&self.key, error.message()),
            }
        }
        match self.make(file, &open) {
            Ok(session) => Ok((session, false)),
            // It may be the file's fault or that of the disk: the file's is told by opening it alone.
            Err(reason) => {
                let session = open(file, Graph::AsAsked)?;
                cannot(file, &reason);
                Ok((session, false))
            }
        }
    }

    /// Keeps the graph, and opens what is kept, so that the first start answers as those after it.
    fn make(
        &self,
        file: &Path,
        open: &impl Fn(&Path, Graph<'_>) -> Result<Session, ort::Error>,
    ) -> Result<Session, String> {
        let told = |error: ort::Error| error.message().to_owned();
        let failed = |error: io::Error| error.to_string();
        let mut reason = String::new();
        // With weights in a file of their own the library writes some graphs that it does not read again, such as
        // those with loops.
        for weights in [Some(WEIGHTS), None] {
            let made = self.cache.begin().map_err(failed)?;
            let graph = made.path().join(GRAPH);
            drop(open(file, Graph::Written { graph: &graph, weights }).map_err(told)?);
            match open(&graph, Graph::Ready) {
                Ok(session) => {
                    // What is open stays so, whatever becomes of the files.
                    if self.stamps == self.files.stamps() {
                        let kept = self.cache.keep(made, &self.key);
                        kept.unwrap_or_else(|error| cannot(file, &error.to_string()));
                    } else {
                        cannot(file, "its files were exchanged while they were read");
                    }
                    return Ok(session);
                }
                Err(error) => reason = told(error),
            }
        }
        self.cache
            .begin()
            .and_then(|nothing| self.cache.keep(nothing, &self.key))
            .map_err(failed)?;
        Err(format!("ONNX Runtime does not read what it writes: {reason}"))
    }
}

fn cannot(file: &Path, reason: &str) {
    log::warn!("{}: its optimised graph is not kept: {}", name(file), first_cause(reason));
}
