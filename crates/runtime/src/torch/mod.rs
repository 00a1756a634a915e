//! libtorch as a runtime: TorchScript files become [`Model`]s.
//!
//! It calls libtorch through the `f_*` and `Result` forms alone, because a C++ exception is an answer to a
//! client, never a panic.
#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "libtorch counts in i64 what lies in memory, so every size fits i64 and usize alike"
)]

mod answer;
mod convert;
mod cuda;
mod epilogue;
mod error;
mod model;
mod options;
mod script;
mod sharing;
mod torchvision;

use std::path::Path;
use std::sync::Arc;

use mar_handler::{LoadSpec, Model, Result, Runtime, Signature};

/// libtorch.
#[derive(Debug)]
pub struct Torch {
    cuda_devices: usize,
}

impl Torch {
    /// Starts libtorch, with CUDA where the library and the machine have it.
    pub fn start() -> Self {
        cuda::open_beside_libtorch();
        torchvision::register();
        let cuda_devices = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
        log::info!("libtorch {}: {cuda_devices} CUDA devices", version());
        Self { cuda_devices }
    }
}

/// The libtorch release this crate is bound to; tch 0.24 stands for it.
pub fn version() -> &'static str {
    "2.11.0"
}

impl Runtime for Torch {
    fn name(&self) -> &'static str {
        "libtorch"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["pt", "pth", "ts", "torchscript"]
    }

    fn cuda_devices(&self) -> usize {
        self.cuda_devices
    }

    fn load(&self, spec: &LoadSpec) -> Result<Arc<dyn Model>> {
        Ok(Arc::new(model::TorchModel::load(spec)?))
    }

    fn signature(&self, file: &Path) -> Result<Signature> {
        // What is no TorchScript fails where it is loaded, with libtorch's own words.
        Ok(script::Script::read(file).unwrap_or_default().signature())
    }

    fn release_memory(&self) {
        crate::memory::give_back();
    }
}
