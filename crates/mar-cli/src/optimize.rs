//! `mar optimize`: hands its arguments to `marserve optimize`, because a runtime is needed and `mar` has none.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

/// The program that has the runtimes.
const SERVER: &str = "marserve";

/// Make an archive whose ONNX network is optimised ahead of any start; needs marserve
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct OptimizeArgs {
    /// Arguments of marserve optimize: ARCHIVE --out ARCHIVE [--level LEVEL] [--force]; --help tells more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &OptimizeArgs) -> Result<ExitCode> {
    let server = beside().unwrap_or_else(|| SERVER.into());
    match Command::new(&server).arg("optimize").args(&args.arguments).status() {
        // One that was killed has none.
        Ok(status) => {
            Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "marserve, which has ONNX Runtime, is neither beside mar nor on the PATH; build it with cargo build -p marserve, or put its folder on the PATH"
        ),
        Err(error) => Err(error).with_context(|| format!("{} does not run", server.display())),
    }
}

/// The server that was built with this program.
fn beside() -> Option<PathBuf> {
    let server = std::env::current_exe().ok()?.parent()?.join(SERVER);
    server.is_file().then_some(server)
}
