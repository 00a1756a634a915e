//! How the threads of a runtime wait for each other.
//!
//! libtorch splits an operation among OpenMP threads, which by default spin until the last one is done.
//! The cores are also those that decode and encode images, so a spinning thread takes the time of the
//! one it waits for: forward passes took four to five times as long on busy cores.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

/// Read by OpenMP before `main` begins, so it has to be there when the program starts.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";
const WITHOUT_SPINNING: &str = "PASSIVE";

/// Starts this program afresh, as the same process, with the variable set. Returns where it is set
/// already, by that or by the user.
pub(super) fn wait_without_spinning(arguments: &[OsString]) -> Result<()> {
    if std::env::var_os(WAIT_POLICY).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let mut again = Command::new(program);
    again.args(arguments.iter().skip(1)).env(WAIT_POLICY, WITHOUT_SPINNING);
    Err(anyhow!(again.exec()).context("cannot start this program afresh"))
}

/// Sets the variable for a server that is about to be started.
pub(super) fn for_child(command: &mut Command) {
    if std::env::var_os(WAIT_POLICY).is_none() {
        command.env(WAIT_POLICY, WITHOUT_SPINNING);
    }
}
