//! From a file to a session: what it is told, who runs it, and what is done where they cannot.

use std::path::Path;

use mar_handler::{LoadSpec, Result};
use ort::session::{Session, builder::SessionBuilder};
use serde_json::{Map, Value};

use super::error::not_onnx;
use super::files::Files;
use super::kept::{Graph, Kept};
use super::library::Library;
use super::options::{Options, Threads};
use super::providers::{Providers, Registered};
use super::report::Report;
use super::session::Network;

/// A session of a file, and how it came about.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) network: Network,
    pub(super) report: Report,
    pub(super) options: Options,
    /// Whether the graph was optimised before; `None` where nothing is kept.
    from_cache: Option<bool>,
    /// No other provider was asked for.
    on_processor: bool,
}

impl Opened {
    /// Whether another number of threads would make a difference: the processor runs it, on the worker's.
    pub(super) fn follows_threads(&self) -> bool {
        self.on_processor && matches!(self.options.threads, Threads::OfWorker(_))
    }

    /// What people may ask.
    pub(super) fn describe(&self) -> Map<String, Value> {
        let mut all = Map::new();
        self.report.describe(&mut all);
        all.extend(self.options.describe());
        if let Some(from_cache) = self.from_cache {
            all.insert("graph_from_cache".to_owned(), from_cache.into());
        }
        all
    }
}

/// Opens a file.
pub(super) fn open(library: &Library, spec: &LoadSpec, files: &Files) -> Result<Opened> {
    let providers = Providers::read(spec)?;
    let options = Options::new(&spec.options, spec.intra_op_threads)?;
    let builder = || -> Result<SessionBuilder, ort::Error> {
        let builder = options.apply(Session::builder(&library.environment)?)?;
        Report::remember(builder)
    };
    let commit = |mut builder: SessionBuilder| builder.commit_from_file(&spec.file);
    let failed = |error| not_onnx(&spec.file, error);
    if providers.are_the_processor() {
        let open = |file: &Path, graph: Graph<'_>| graph.apply(builder()?)?.commit_from_file(file);
        let (session, from_cache) = match Kept::of(library, spec, &options, files) {
            Some(kept) => {
                let (session, from_cache) = kept.open(&spec.file, open).map_err(failed)?;
                (session, Some(from_cache))
            }
            None => (open(&spec.file, Graph::AsAsked).map_err(failed)?, None),
        };
        let report = Report::of(&session, &providers, Registered::default());
        let network = Network::new(session).map_err(failed)?;
        return Ok(Opened { network, report, options, from_cache, on_processor: true });
    }
    let mut asked = builder().map_err(failed)?;
    let registered = providers.register(&mut asked, &library.cuda)?;
    let may_fall_back = providers.may_fall_back() && !registered.kinds.is_empty();
    let (session, report) = match commit(asked) {
        Ok(session) => {
            let report = Report::of(&session, &providers, registered);
            (session, report)
        }
        Err(error) if may_fall_back => {
            // Where the processor cannot open it either, its reason is the one to be told.
            let session = builder().and_then(commit).map_err(failed)?;
            let report = Report::of(&session, &providers, Registered::default());
            let reason = failed(error);
            (session, report.fallen_back(&providers, reason.message()))
        }
        Err(error) => return Err(failed(error)),
    };
    report.check()?;
    let network = Network::new(session).map_err(failed)?;
    Ok(Opened { network, report, options, from_cache: None, on_processor: false })
}
