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

mod agreement;
mod answer;
mod contest;
mod convert;
mod cuda;
mod epilogue;
mod error;
mod form;
mod kept;
mod model;
mod options;
mod report;
mod script;
mod sharing;
mod torchvision;
mod trials;
mod tuning;

use std::path::Path;
use std::sync::Arc;

use mar_handler::{LoadSpec, Model, Result, Runtime, Signature, Variant};

use form::Form;

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

    fn section(&self) -> Option<&'static str> {
        Some("torch")
    }

    fn check_options(&self, spec: &LoadSpec) -> Result<()> {
        options::Options::of(spec).map(drop)
    }

    fn tries_inputs(&self) -> bool {
        true
    }

    fn keeps_files(&self) -> bool {
        true
    }

    /// The network as it was exported, and what can be made of it.
    fn variants(&self) -> Vec<Variant> {
        let variant = |form: Form| {
            let name = match form {
                Form::Plain => self.name().to_owned(),
                Form::Frozen => format!("{}, frozen", self.name()),
                Form::ChannelsLast => format!("{}, channels last", self.name()),
                Form::Inference => format!("{}, for inference", self.name()),
            };
            let options = [(options::OPTIMIZE.to_owned(), form.name().into())];
            Variant { name, options: options.into_iter().collect() }
        };
        Form::ALL.into_iter().map(variant).collect()
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
