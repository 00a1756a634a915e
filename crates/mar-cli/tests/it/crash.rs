//! kill -9: what a killed run leaves is no archive, and is in nobody's way.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mar::Archive;

use crate::bench::{Bench, tree};

/// Large enough that a run is still writing when it is killed.
const BIG: u64 = 256 << 20;
const DEADLINE: Duration = Duration::from_mins(1);

fn bench_with_big_weights() -> Bench {
    let bench = Bench::with_model();
    // Sparse: it costs nothing to make, and reads as zeros.
    File::create(bench.path("big.pt")).unwrap().set_len(BIG).unwrap();
    bench
}

fn leftovers(bench: &Bench) -> Vec<PathBuf> {
    let names = bench.names().into_iter().filter(|name| name.starts_with('.'));
    names.map(|name| bench.path(&name)).collect()
}

/// Bytes in a hidden file, or in the files of a hidden folder.
fn written(path: &Path) -> u64 {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            let children = fs::read_dir(path).into_iter().flatten().flatten();
            children.map(|child| child.metadata().map_or(0, |about| about.len())).sum()
        }
        Ok(about) => about.len(),
        Err(_) => 0,
    }
}

/// Starts a run and kills it when so many bytes are in its hidden file. Returns whether it was
/// killed, rather than done before.
fn kill_at(bench: &Bench, arguments: &[&str], bytes: u64) -> bool {
    let mut child: Child =
        bench.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if leftovers(bench).iter().any(|path| written(path) >= bytes) {
            child.kill().unwrap();
            return child.wait().unwrap().code().is_none();
        }
        assert!(started.elapsed() < DEADLINE, "nothing was written in {DEADLINE:?}");
        std::thread::yield_now();
    }
}

fn check(form: &str, file: &str) {
    let bench = bench_with_big_weights();
    let arguments = [
        "pack",
        "--model-name",
        "big",
        "-v",
        "1",
        "--handler",
        "tensor",
        "--serialized-file",
        "big.pt",
        "--archive-format",
        form,
        "--force",
    ];
    let mut killed = 0;
    for bytes in [0, 1 << 20, BIG / 2] {
        killed += i32::from(kill_at(&bench, &arguments, bytes));
        let path = bench.path(file);
        if path.exists() {
            let ran = bench.mar(&["verify", path.to_str().unwrap()]);
            assert_eq!(ran.status, 0, "{}", ran.err);
        }
    }
    assert!(killed > 0, "every run was done before it could be killed");
    let ran = bench.mar(&arguments);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(leftovers(&bench).is_empty(), "the next run of the same name sweeps");
    let archive = Archive::open(&bench.path(file)).unwrap();
    assert!(archive.entries().iter().any(|entry| entry.size == BIG));
}

#[test]
fn a_killed_zip_leaves_no_archive() {
    check("default", "big.mar");
}

#[test]
fn a_killed_folder_leaves_no_folder() {
    check("no-archive", "big");
}

#[test]
fn a_killed_unpack_leaves_no_folder() {
    let bench = bench_with_big_weights();
    bench.pack(&["--serialized-file", "big.pt"]);
    let arguments = ["unpack", "m.mar", "--to", "out"];
    let killed = kill_at(&bench, &arguments, 1 << 20);
    assert_eq!(bench.path("out").exists(), !killed);
    if killed {
        assert_eq!(leftovers(&bench).len(), 1);
        assert_eq!(bench.mar(&arguments).status, 0);
    }
    assert!(leftovers(&bench).is_empty());
    assert_eq!(tree(&bench.path("out")).len(), 2);
}

#[test]
fn a_failed_run_cleans_up_at_once() {
    let bench = Bench::with_model();
    bench.pack(&["--serialized-file", "weights.pt"]);
    let mut bytes = fs::read(bench.path("m.mar")).unwrap();
    let at = bytes.windows(10).position(|window| window == b"weights.pt").unwrap() + 100;
    bytes[at] ^= 1;
    let before = bench.names();
    bench.write("m.mar", &bytes);
    let ran = bench.mar(&["unpack", "m.mar", "--to", "out"]);
    assert!(ran.status == 1 && ran.err.contains("\"weights.pt\" is damaged"), "{}", ran.err);
    assert_eq!(bench.names(), before);
}
