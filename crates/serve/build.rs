//! What the runtime's build script writes of libtorch's place, for the server's own binaries and tests, and what
//! runs before their libraries are started.

use std::path::PathBuf;
use std::{env, fs};

#[path = "../server/src/launch/defaults.rs"]
mod defaults;
#[path = "../runtime/build/run_path.rs"]
mod run_path;

/// What sets the variables, and what it takes in of them.
const BEFORE_MAIN: &str = "crates/serve/before_main.c";
const HEADER: &str = "environment.h";

fn main() {
    if env::var_os("CARGO_FEATURE_TORCH").is_some() {
        run_path::write();
    }
    println!("cargo::rerun-if-changed={BEFORE_MAIN}");
    println!("cargo::rerun-if-changed=crates/server/src/launch/defaults.rs");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        run_before_main();
    }
}

/// Links it to the binaries alone: what is started before `main` belongs to a program, not to a library of it.
fn run_before_main() {
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(folder.join(HEADER), header()).expect("the build's folder can be written to");
    let objects = cc::Build::new().file(BEFORE_MAIN).include(&folder).compile_intermediates();
    for object in objects {
        println!("cargo::rustc-link-arg-bins={}", object.display());
    }
}

/// The table in C. No name or value has a quote or a backslash.
fn header() -> String {
    let variable = |(name, value): &(&str, &str)| {
        let unless = if *name == defaults::TUNABLES { defaults::OF_MEMORY } else { "" };
        format!("    {{\"{name}=\", \"{name}={value}\", \"{unless}\"}},\n")
    };
    let rows: String = defaults::DEFAULTS.iter().map(variable).collect();
    format!(
        "static const struct {{ const char *name, *set, *unless; }} VARIABLES[] = {{\n{rows}}};\n"
    )
}
