//! ONNX Runtime as a runtime: ONNX files become [`Model`]s.
//!
//! The library is opened when the server starts, from where `scripts/setup` put it or `ORT_DYLIB_PATH` says.
//! A server without it serves everything but ONNX files, and says so where one is loaded.

mod epilogue;
mod error;
mod library;
mod model;
mod options;
mod ports;
mod session;
mod values;

use std::path::Path;
use std::sync::Arc;

use mar_handler::{Error, ErrorCode, LoadSpec, Model, Result, Runtime, Signature};
use ort::environment::Environment;
use serde_json::{Map, Value};

/// ONNX Runtime, or the reason why it is not here.
#[derive(Debug)]
pub struct Onnx(Result<Environment, String>);

impl Onnx {
    /// Opens ONNX Runtime. Where it cannot be had, models do not load, and their errors say what to do.
    pub fn start() -> Self {
        let environment = library::environment();
        if let Err(reason) = &environment {
            log::info!("ONNX files will not load: {reason}");
        }
        Self(environment)
    }
}

impl Runtime for Onnx {
    fn name(&self) -> &'static str {
        "ONNX Runtime"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["onnx"]
    }

    fn section(&self) -> Option<&'static str> {
        Some("onnx")
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<()> {
        options::Options::new(options, 1).map(drop)
    }

    fn keeps_files(&self) -> bool {
        true
    }

    /// None: only the processor's execution provider is used.
    fn cuda_devices(&self) -> usize {
        0
    }

    fn load(&self, spec: &LoadSpec) -> Result<Arc<dyn Model>> {
        let environment = self.0.as_ref().map_err(|reason| {
            let file = spec.file.file_name().unwrap_or_default().to_string_lossy();
            Error::new(ErrorCode::InvalidModel, format!("{file} needs ONNX Runtime: {reason}"))
        })?;
        Ok(Arc::new(model::OnnxModel::load(environment, spec)?))
    }

    fn signature(&self, file: &Path) -> Result<Signature> {
        mar_onnx::signature(file)
    }

    fn release_memory(&self) {
        crate::memory::give_back();
    }
}

#[cfg(test)]
mod tests;
