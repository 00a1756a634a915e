//! From a file to a session: what it is told, who runs it, and what is done where they cannot.

use mar_handler::{LoadSpec, Result};
use ort::session::{Session, builder::SessionBuilder};

use super::error::not_onnx;
use super::library::Library;
use super::options::Options;
use super::providers::{Providers, Registered};
use super::report::Report;

/// A session of a file, and who runs it.
pub(super) fn open(library: &Library, spec: &LoadSpec) -> Result<(Session, Report)> {
    let providers = Providers::read(spec)?;
    let options = Options::new(&spec.options, spec.intra_op_threads)?;
    let builder = || -> Result<SessionBuilder, ort::Error> {
        let builder = options.apply(Session::builder(&library.environment)?)?;
        Report::remember(builder)
    };
    let failed = |error| not_onnx(&spec.file, error);
    let mut asked = builder().map_err(failed)?;
    let registered = providers.register(&mut asked, &library.cuda)?;
    let report = match asked.commit_from_file(&spec.file) {
        Ok(session) => {
            let report = Report::of(&session, &providers, registered);
            (session, report)
        }
        Err(error) if providers.may_fall_back() && !registered.kinds.is_empty() => {
            // Where the processor cannot open it either, its reason is the one to be told.
            let session = builder()
                .and_then(|mut plain| plain.commit_from_file(&spec.file))
                .map_err(failed)?;
            let report = Report::of(&session, &providers, Registered::default());
            let reason = not_onnx(&spec.file, error);
            (session, report.fallen_back(&providers, reason.message()))
        }
        Err(error) => return Err(failed(error)),
    };
    report.1.check()?;
    Ok(report)
}
