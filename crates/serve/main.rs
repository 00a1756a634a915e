//! `marserve`: chooses handlers and runtimes, and starts the server.
//!
//! To serve a handler of your own, write a `main` like this one with a line more in the list; see
//! `examples/custom_handler.rs`.

use std::process::ExitCode;
use std::sync::Arc;

/// What the server itself allocates comes from here; its runtimes' memory comes from the C library's heap.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mar_server::run(std::env::args_os(), mar_handlers::all(), runtimes)
}

/// The libraries that run networks, of those that this build has.
fn runtimes() -> Vec<Arc<dyn mar_server::Runtime>> {
    vec![
        #[cfg(feature = "torch")]
        Arc::new(mar_runtime::Torch::start()),
        #[cfg(feature = "onnx")]
        Arc::new(mar_runtime::Onnx::start()),
    ]
}
