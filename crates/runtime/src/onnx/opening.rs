//! From a file to a session: what it is told, who runs it, and what is done where they cannot.

use mar_handler::{LoadSpec, Result};
use ort::session::{Session, builder::SessionBuilder};

use super::error::not_onnx;
use super::library::Library;
use super::options::Options;
use super::providers::{Providers, Registered};
use super::report::Report;

/// A session of a file.
pub(super) struct Opened {
    pub(super) session: Session,
    /// What it was told.
    pub(super) options: Options,
    /// Who runs it.
    pub(super) report: Report,
}

/// Opens a file, on the providers that the model asks for.
pub(super) fn open(library: &Library, spec: &LoadSpec) -> Result<Opened> {
    let providers = Providers::read(spec)?;
    let options = Options::new(&spec.options, spec.intra_op_threads)?;
    let builder = || -> Result<SessionBuilder, ort::Error> {
        let builder = options.apply(Session::builder(&library.environment)?)?;
        Report::remember(builder)
    };
    let commit = |mut builder: SessionBuilder| builder.commit_from_file(&spec.file);
    let failed = |error| not_onnx(&spec.file, error);
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
    Ok(Opened { session, options, report })
}
