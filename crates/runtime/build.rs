//! Compiles what is written in C++ against the libtorch that torch-sys uses, and says where the libraries lie.

#[path = "build/onnxruntime.rs"]
#[cfg(feature = "onnx")]
mod onnxruntime;
#[path = "build/run_path.rs"]
#[cfg(feature = "torch")]
mod run_path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    #[cfg(feature = "onnx")]
    onnxruntime::write();
    #[cfg(feature = "torch")]
    compile();
}

#[cfg(feature = "torch")]
fn compile() {
    const FILES: [&str; 2] = ["cpp/torchvision.cpp", "cpp/tuning.cpp"];
    let Some(libtorch) = run_path::write() else { return };
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
    // The standard and the ABI are those of torch-sys, which passes tensors to the same libtorch.
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());
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
        .files(FILES)
        .compile("mar_libtorch");
}
