//! ONNX Runtime as a runtime: ONNX files become [`Model`]s.
//!
//! The library is opened when the server starts, from where `scripts/setup` put it or `ORT_DYLIB_PATH` says.
//! A server without it serves everything but ONNX files, and says so where one is loaded.

mod binding;
mod cuda;
mod error;
mod explain;
mod files;
mod following;
mod items;
mod kept;
mod level;
mod library;
mod maps;
mod model;
mod offered;
mod opening;
mod optimised;
mod options;
mod ports;
mod providers;
mod report;
mod session;
mod steps;
mod values;

use std::path::Path;
use std::sync::Arc;

use mar_handler::{
    Error, ErrorCode, LoadSpec, Model, Optimised, Result, Runtime, Signature, Variant,
};
use serde_json::Map;

use files::Files;
use library::Library;

/// ONNX Runtime, or the reason why it is not here.
#[derive(Debug)]
pub struct Onnx(Result<Library, String>);

impl Onnx {
    /// Opens ONNX Runtime. Where it cannot be had, models do not load, and their errors say what to do.
    pub fn start() -> Self {
        let library = Library::start();
        if let Err(reason) = &library {
            log::info!("ONNX files will not load: {reason}");
        }
        Self(library)
    }

    /// The library, which a file needs.
    fn library(&self, file: &Path) -> Result<&Library> {
        self.0.as_ref().map_err(|reason| {
            let file = crate::cache::name(file);
            Error::new(ErrorCode::Unsupported, format!("{file} needs ONNX Runtime: {reason}"))
        })
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

    fn check_options(&self, spec: &LoadSpec) -> Result<()> {
        options::Options::new(&spec.options, spec.intra_op_threads)?;
        // What the library offers is asked of it; where it is not here, nothing loads anyway.
        if self.0.is_ok() { providers::Providers::read(spec).map(drop) } else { Ok(()) }
    }

    fn keeps_files(&self) -> bool {
        true
    }

    /// The graph as ONNX Runtime rewrites it, and as the file has it.
    fn variants(&self) -> Vec<Variant> {
        let as_exported = [("graph_optimization_level".to_owned(), "disable".into())];
        vec![
            Variant { name: self.name().to_owned(), options: Map::new() },
            Variant {
                name: format!("{}, not optimised", self.name()),
                options: Map::from_iter(as_exported),
            },
        ]
    }

    /// Those that the driver shows, where this ONNX Runtime was built for CUDA. Why there are none is told where a
    /// model asks for one.
    fn cuda_devices(&self) -> usize {
        self.0.as_ref().ok().and_then(|library| library.cuda.clone().ok()).unwrap_or_default()
    }

    fn load(&self, spec: &LoadSpec) -> Result<Arc<dyn Model>> {
        let library = self.library(&spec.file)?;
        let files = Files::checked(&spec.file)?;
        Ok(Arc::new(model::OnnxModel::load(library, spec, files)?))
    }

    fn optimise(&self, spec: &LoadSpec, folder: &Path) -> Result<Optimised> {
        let library = self.library(&spec.file)?;
        optimised::write(library, spec, &Files::checked(&spec.file)?, folder)
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
