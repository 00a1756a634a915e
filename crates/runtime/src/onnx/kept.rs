//! Opening a network through the [`Cache`]: a graph that was optimised before is taken as it is, another one is
//! optimised and kept.
//!
//! Only on the processor: other providers compile parts of a graph, which no file can hold, and keep what they
//! make in ways of their own.

use std::path::{Path, PathBuf};

use mar_handler::LoadSpec;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::cache::{Cache, GRAPH, WEIGHTS};
use super::digest::Key;
use super::level::Level;
use super::library::Library;
use super::options::Options;

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
}

impl Kept {
    /// `None` where nothing is kept: nobody wants it, there is nothing to gain, or it cannot be, which is logged.
    pub(super) fn of(library: &Library, spec: &LoadSpec, options: &Options) -> Option<Self> {
        let folder = spec.cache.as_ref().filter(|_| options.level != Level::Disable)?;
        let made_by = [&library.version, ort::info(), "cpu", options.level.name()];
        let kept = Cache::open(folder).and_then(|cache| {
            let key = Key::of(&files(&spec.file), &made_by).map_err(|error| error.to_string())?;
            Ok(Self { cache, key })
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
        if let Some(graph) = self.cache.find(&self.key) {
            match open(&graph, Graph::Ready) {
                Ok(session) => return Ok((session, true)),
                Err(error) => self.cache.remove(&self.key, error.message()),
            }
        }
        let made = match self.cache.begin() {
            Ok(made) => made,
            Err(error) => {
                cannot(file, &error.to_string());
                return Ok((open(file, Graph::AsAsked)?, false));
            }
        };
        let graph = made.path().join(GRAPH);
        match open(file, Graph::Written { graph: &graph, weights: Some(WEIGHTS) }) {
            Ok(session) => {
                if let Err(error) = self.cache.keep(made, &self.key) {
                    cannot(file, &error.to_string());
                }
                Ok((session, false))
            }
            // It may be the file's fault or that of the disk: the file's is told by opening it alone.
            Err(error) => {
                let session = open(file, Graph::AsAsked)?;
                cannot(file, error.message());
                Ok((session, false))
            }
        }
    }
}

fn cannot(file: &Path, reason: &str) {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    log::warn!(
        "{name}: its optimised graph is not kept: {}",
        reason.lines().next().unwrap_or_default()
    );
}

/// The network's file and those of its weights.
fn files(network: &Path) -> Vec<PathBuf> {
    vec![network.to_owned()]
}
