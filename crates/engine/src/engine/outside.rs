//! What somebody who finds networks outside of archives asks the engine about them, and tells it of those that
//! cannot be served.

use std::path::Path;
use std::sync::Arc;

use mar_handler::{Error, Result, Signature};

use super::{Engine, LoadRequest};
use crate::version::ModelVersion;

/// A network's file, looked into before it is served.
#[derive(Clone, Debug, Default)]
pub struct NetworkFile {
    /// The name of the runtime that opens it.
    pub runtime: &'static str,
    /// The CUDA devices that its workers may have.
    pub cuda_devices: usize,
    /// What the file says of inputs and outputs.
    pub signature: Signature,
}

impl Engine {
    /// Looks into a network's file, without serving it. Blocks while the file is read.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel) where no runtime opens it, or the file says
    /// that it cannot be run.
    pub fn look_into(&self, file: &Path) -> Result<NetworkFile> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let runtime = self.opener.runtime(&name)?;
        let cuda_devices = runtime.cuda_devices();
        Ok(NetworkFile {
            runtime: runtime.name(),
            cuda_devices: self
                .config
                .max_cuda_devices
                .map_or(cuda_devices, |n| n.min(cuda_devices)),
            signature: runtime.signature(file)?,
        })
    }

    /// Registers a version that cannot be served, so that whoever asks for it learns why.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`](crate::ErrorCode::Conflict) where that name and version is taken.
    pub fn load_failed(
        &self,
        request: &LoadRequest,
        (name, version): (&str, &str),
        reason: &Error,
    ) -> Result<Arc<ModelVersion>> {
        let version = self.version_of(request, name.to_owned(), version.to_owned());
        self.registry.add(Arc::clone(&version))?;
        version.become_failed(reason);
        Ok(version)
    }
}
