//! What the runtime's build script writes of libtorch's place, for the server's own binaries and tests.

#[path = "../runtime/build/run_path.rs"]
mod run_path;

fn main() {
    if std::env::var_os("CARGO_FEATURE_TORCH").is_some() {
        run_path::write();
    }
}
