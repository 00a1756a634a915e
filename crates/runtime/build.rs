//! Compiles torchvision's operations against the libtorch that torch-sys uses, and says where that lies.

use std::env;

#[path = "build/run_path.rs"]
mod run_path;

const OPERATIONS: &str = "cpp/torchvision.cpp";

fn main() {
    let Some(libtorch) = run_path::write() else { return };
    println!("cargo::rerun-if-changed={OPERATIONS}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    // The standard and the ABI are those of torch-sys, which passes tensors to the same libtorch.
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
    let include = libtorch.join("include");
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .define("GLOG_USE_GLOG_EXPORT", None)
        // libtorch's own headers warn; what is in them is not ours to mend.
        .flag("-isystem")
        .flag(&include)
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include"))
        // Tests run it as well as servers, and the sums are loops over numbers.
        .opt_level(2)
        .file(OPERATIONS)
        .compile("mar_torchvision");
}
