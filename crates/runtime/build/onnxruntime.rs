//! Writes the place of ONNX Runtime into what is built: the link that `scripts/setup` makes, and what lies behind it now,
//! for a binary that outlives its checkout. Neither has to be there: the library is opened when it is needed.

use std::{env, path::Path};

pub(crate) fn write() {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    let link = root.canonicalize().unwrap_or(root).join(".onnxruntime");
    // Cargo would run this script for every build if it were told of a link that is not there.
    if link.exists() {
        println!("cargo::rerun-if-changed={}", link.display());
    }
    println!("cargo::rustc-env=MARSERVE_ONNXRUNTIME_LINK={}", link.display());
    println!(
        "cargo::rustc-env=MARSERVE_ONNXRUNTIME={}",
        link.canonicalize().unwrap_or(link).display()
    );
}
