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

/// The variables, and what is set where the user set nothing. They are read before `main` begins or when a
/// library is opened, so they have to be there when the program starts.
const DEFAULTS: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    // ONNX Runtime's public builds for Linux write an identifier to disk and send events from 1.29 on. The one
    // that `scripts/setup` fetches does not; another may be given.
    ("ORT_DISABLE_TELEMETRY", "1"),
    (TUNABLES, MEMORY),
    // What the server itself allocates comes from mimalloc, which gives back what is free when more is asked of it,
    // a second later at the earliest: a server that has just loaded a network and waits would keep it.
    ("MIMALLOC_PURGE_DELAY", "0"),
];

/// What glibc, from 2.33 on, reads of its own settings.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// libtorch asks for each layer's memory anew. By default, blocks of that size go back to the system after every
/// pass and come again page by page. So blocks of up to 32 MiB, which is the most that glibc takes, come from the
/// heap, and up to 128 MiB may lie free at its end. One heap for all threads: what one worker leaves another takes,
/// and all of it can be given back, which the ends of threads' own heaps cannot. In large pages, where the system has them.
const MEMORY: &str = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=134217728\
                      :glibc.malloc.top_pad=16777216:glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1";

/// How glibc's settings of memory begin that have variables of their own. Whoever sets one means it.
const OF_MEMORY: &str = "MALLOC_";

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
