//! Writes the place of libtorch into what is linked, so that it runs with no variable set. Linker arguments do not travel
//! to dependents: the server's build script writes them too.

use std::{env, path::Path, path::PathBuf};

/// The folder of libtorch, or nothing after saying that there is none.
pub(crate) fn write() -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let folder = PathBuf::from(env::var_os("LIBTORCH").unwrap_or_default());
    let Ok(real) = Path::new(&folder).join("lib").canonicalize() else {
        println!("cargo::error=libtorch not found: run scripts/setup");
        return None;
    };
    // The link first: it may be led elsewhere without a new build. What lies behind it now is for a binary that
    // outlives its checkout. As a RUNPATH, so that LD_LIBRARY_PATH goes before both.
    println!("cargo::rustc-link-arg=-Wl,--enable-new-dtags");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}/lib", folder.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", real.display());
    Some(folder)
}
