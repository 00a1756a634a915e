//! What the libraries of the runtimes read of the environment before they begin: how their threads wait for
//! each other, and whether they report to their makers.
//!
//! libtorch splits an operation among OpenMP threads, which by default spin until the last one is done.
//! The cores are also those that decode and encode images, so a spinning thread takes the time of the
//! one it waits for: forward passes took four to five times as long on busy cores.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

/// The variables, and what is set where the user set nothing. They are read before `main` begins or when a
/// library is opened, so they have to be there when the program starts.
const DEFAULTS: [(&str, &str); 2] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    // ONNX Runtime's public builds for Linux write an identifier to disk and send events from 1.29 on. The one
    // that `scripts/setup` fetches does not; another may be given.
    ("ORT_DISABLE_TELEMETRY", "1"),
];

/// Starts this program afresh, as the same process, with the variables set. Returns where they are set
/// already, by that or by the user.
pub(super) fn set_for_libraries(arguments: &[OsString]) -> Result<()> {
    if unset().next().is_none() {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let mut again = Command::new(program);
    again.args(arguments.iter().skip(1)).envs(unset());
    Err(anyhow!(again.exec()).context("cannot start this program afresh"))
}

/// Sets the variables for a server that is about to be started.
pub(super) fn for_child(command: &mut Command) {
    command.envs(unset());
}

fn unset() -> impl Iterator<Item = (&'static str, &'static str)> {
    DEFAULTS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none())
}
