//! The files that a network lies in, and whether they are still those that were looked at.

use std::path::{Path, PathBuf};

use mar_handler::{Error, Result};
use mar_onnx::{Network, beside};

use crate::cache::{Stamps, name};

/// A network's file, and those of its weights. They are found by reading the network, which for a large one takes its
/// time: so once a load.
#[derive(Clone, Debug)]
pub(super) struct Files {
    network: PathBuf,
    /// Those of its weights, from its folder on; or why there is no telling.
    weights: Result<Vec<PathBuf>, String>,
}

impl Files {
    /// Those of a network, looked at before ONNX Runtime is handed any of their names.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) where one with weights is missing, is cut off,
    /// or leads out of the network's folder.
    pub(super) fn checked(file: &Path) -> Result<Self> {
        let weights = match Network::open(file) {
            Ok(network) => {
                if let Some(problem) = network.check_weights(&beside(file)).problems.first() {
                    let name = name(file);
                    let message = format!("{name} does not open as ONNX: {problem}");
                    return Err(Error::invalid_model(message));
                }
                let external = network.external().into_iter();
                Ok(external.map(|file| file.location.into()).collect())
            }
            // What cannot be read at all is left to ONNX Runtime: that it does not open says enough.
            Err(error) => Err(error.message().to_owned()),
        };
        Ok(Self { network: file.to_owned(), weights })
    }

    /// Those of the weights, from the network's folder on.
    ///
    /// # Errors
    /// Where only ONNX Runtime can read the network: why.
    pub(super) fn weights(&self) -> Result<&[PathBuf], &str> {
        self.weights.as_deref().map_err(String::as_str)
    }

    /// All of them, the network's first.
    ///
    /// # Errors
    /// As [`Self::weights`].
    pub(super) fn all(&self) -> Result<Vec<PathBuf>, &str> {
        let beside = self.network.parent().unwrap_or(Path::new(""));
        let weights = self.weights()?.iter().map(|file| beside.join(file));
        Ok([self.network.clone()].into_iter().chain(weights).collect())
    }

    /// What they are now.
    pub(super) fn stamps(&self) -> Stamps {
        // What only ONNX Runtime can read has no weights elsewhere that anybody here knows of.
        let files = self.all().unwrap_or_else(|_| vec![self.network.clone()]);
        Stamps::of(&files)
    }
}
