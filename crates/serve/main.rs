//! `marserve`: chooses handlers and runtimes, and starts the server.
//!
//! To serve a handler of your own, write a `main` like this one with a line more in the list; see
//! `examples/custom_handler.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mar_server::run(std::env::args_os(), mar_handlers::all(), runtimes::all)
}

#[cfg(feature = "torch")]
mod runtimes {
    use std::sync::Arc;

    pub(super) fn all() -> Vec<Arc<dyn mar_server::Runtime>> {
        vec![Arc::new(mar_runtime::Torch::start())]
    }
}

#[cfg(not(feature = "torch"))]
mod runtimes {
    use std::sync::Arc;

    pub(super) fn all() -> Vec<Arc<dyn mar_server::Runtime>> {
        Vec::new()
    }
}
