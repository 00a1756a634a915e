//! What an ONNX file says that its network takes and gives.

use std::fs::File;
use std::path::Path;

use mar_handler::{Error, Result, Signature};

use crate::Network;

/// The signature of the network in a file; empty where it is no ONNX file.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) where the file cannot be read.
pub fn signature(file: &Path) -> Result<Signature> {
    let opened = File::open(file).map_err(|error| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Error::invalid_model(format!("{name} cannot be read: {error}"))
    })?;
    // Where it is no ONNX file, opening it says so.
    Ok(Network::read(opened).map(|network| network.signature()).unwrap_or_default())
}
