//! What is wrong with a file in words of this project, which name the cause and what to do.

use std::path::Path;

use mar_handler::{Error, Result};
use mar_onnx::{Network, beside};

/// Looks at the files in which a network's weights lie, before ONNX Runtime is handed any of their names.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) where one is missing, is cut off, or leads out of
/// the network's folder.
pub(super) fn check_weights(file: &Path) -> Result<()> {
    // What cannot be read at all is left to ONNX Runtime: that it does not open says enough.
    let Ok(network) = Network::open(file) else { return Ok(()) };
    match network.check_weights(&beside(file)).problems.into_iter().next() {
        None => Ok(()),
        Some(problem) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Err(Error::invalid_model(format!("{name} does not open as ONNX: {problem}")))
        }
    }
}

/// Why a file that ONNX Runtime does not take is none that it could; `None` where nothing is known to be wrong.
pub(super) fn cause(file: &Path) -> Option<String> {
    match Network::open(file) {
        Err(error) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let cause = error.message();
            Some(cause.strip_prefix(&format!("{name}: ")).unwrap_or(cause).to_owned())
        }
        Ok(network) => network.check(&beside(file)).problems.into_iter().next(),
    }
}
