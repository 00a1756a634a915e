//! What is wrong with a file in words of this project, which name the cause and what to do.

use std::path::Path;

use mar_onnx::{Network, beside};

use crate::cache::name;

/// Why a file that ONNX Runtime does not take is none that it could; `None` where nothing is known to be wrong.
pub(super) fn cause(file: &Path) -> Option<String> {
    match Network::open(file) {
        Err(error) => {
            let cause = error.message();
            Some(cause.strip_prefix(&format!("{}: ", name(file))).unwrap_or(cause).to_owned())
        }
        Ok(network) => network.check(&beside(file)).problems.into_iter().next(),
    }
}
