//! What the libraries of the runtimes, and the C library, read of the environment before they begin: how threads wait
//! for each other, which memory is kept, and whether they report to their makers.
//!
//! libtorch splits an operation among OpenMP threads, which by default spin until the last one is done.
//! The cores are also those that decode and encode images, so a spinning thread takes the time of the
//! one it waits for: forward passes took four to five times as long on busy cores.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::defaults::{DEFAULTS, OF_MEMORY, TUNABLES};

/// Starts this program afresh, as the same process, with the variables set. Returns where they are set
/// already, by that or by the user, or by what `crates/serve` has the linker do before `main` where it can.
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
    DEFAULTS
        .into_iter()
        .filter(|(name, _)| is_unset(name, std::env::vars_os().map(|(name, _)| name)))
}

/// Whether none of the variables that are set says what this one is for.
fn is_unset(name: &str, mut set: impl Iterator<Item = OsString>) -> bool {
    let begins = |set: &OsStr| set.as_encoded_bytes().starts_with(OF_MEMORY.as_bytes());
    !set.any(|set| set == name || (name == TUNABLES && begins(&set)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_says_of_memory_comes_first() {
        let unset = |name, set: &[&str]| is_unset(name, set.iter().map(OsString::from));
        assert!(unset(TUNABLES, &["PATH", "OMP_WAIT_POLICY"]));
        assert!(!unset(TUNABLES, &["PATH", TUNABLES]));
        assert!(!unset(TUNABLES, &["MALLOC_ARENA_MAX"]));
        assert!(unset("OMP_WAIT_POLICY", &["MALLOC_ARENA_MAX", TUNABLES]));
    }
}
