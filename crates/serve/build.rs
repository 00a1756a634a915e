//! What the runtime's build script does, for the server's own binaries and tests.

#[path = "../runtime/build.rs"]
mod runtime;

fn main() {
    if std::env::var_os("CARGO_FEATURE_TORCH").is_some() {
        runtime::main();
    }
}
