//! `marserve optimize`: an archive whose network its runtime has rewritten ahead of any load, as a new archive.
//!
//! Ends with 0 where it was made, with 2 where it was not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use mar_engine::{OptimiseRequest, OptimisedArchive, Runtime, optimise};

use super::{NOTHING_DONE, parse, report_failure, say, warn_of};
use crate::logging::one_line;

/// The first argument that asks for it.
pub(super) const COMMAND: &str = "optimize";

/// Makes an archive whose ONNX network ONNX Runtime has rewritten, so that no server does so at every start. All
/// else of the archive stays; the manifest notes what made it.
///
/// Exit status: 0 made, 2 not made.
#[derive(Debug, Parser)]
#[command(name = "marserve optimize", bin_name = "marserve optimize")]
struct Args {
    /// The archive: a .mar, a .tar.gz or a folder
    archive: PathBuf,

    /// The archive to be made; its ending says the form: .mar, .tar.gz, or a folder
    #[arg(long, value_name = "ARCHIVE")]
    out: PathBuf,

    /// How far the network is rewritten
    #[arg(long, default_value = "extended")]
    level: Level,

    /// Replace an archive of that name
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    /// What is never needed goes: constants are worked out, operations without an effect are left out
    Basic,
    /// The same, and operations are put together for ONNX Runtime, on every processor
    Extended,
    /// The same, laid out for processors of this kind
    Layout,
    /// Whatever ONNX Runtime knows, for processors of this kind
    All,
}

/// Runs the command; `arguments` are those after its name.
pub(super) fn run(
    arguments: &[OsString],
    runtimes: impl FnOnce() -> Vec<Arc<dyn Runtime>>,
) -> ExitCode {
    let args: Args = match parse(COMMAND, arguments) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let level = args.level.to_possible_value().map(|level| level.get_name().to_owned());
    let request = OptimiseRequest {
        archive: args.archive,
        out: args.out,
        force: args.force,
        options: [("graph_optimization_level".to_owned(), level.into())].into_iter().collect(),
        temp_dir: std::env::temp_dir(),
    };
    match optimise(&request, runtimes()) {
        Ok(made) => {
            for warning in &made.warnings {
                warn_of(warning);
            }
            say(&told(&made));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            report_failure(&anyhow!("not optimised: {}", one_line(format_args!("{error:#}"))));
            ExitCode::from(NOTHING_DONE)
        }
    }
}

fn told(made: &OptimisedArchive) -> String {
    let OptimisedArchive { path, model, bytes: (before, after), .. } = made;
    one_line(format_args!(
        "{}: {model}, its network optimised, {before} bytes before and {after} after",
        path.display()
    ))
}
