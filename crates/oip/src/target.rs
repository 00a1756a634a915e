//! Which network or handler a name means: `m` is a model's network, `m@handler` its handler.

use std::sync::Arc;

use mar_engine::{Error, ErrorCode, ModelVersion, Result};

use crate::Service;
use crate::quoted::Quoted;

/// What follows a model's name where its handler is meant.
pub const HANDLER_SUFFIX: &str = "@handler";
/// The input of every handler: encoded inputs, each an element of its own.
pub const HANDLER_INPUT: &str = "data";
/// The output of every handler: the body of each response.
pub const HANDLER_OUTPUT: &str = "output";

/// Longer names are nobody's, and are not looked for.
const LONGEST: usize = 1024;

/// What a request is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// The network of this version.
    Network(Arc<ModelVersion>),
    /// The handler of this version, and its network behind it.
    Handler(Arc<ModelVersion>),
}

impl Target {
    /// The version, either way.
    pub fn version(&self) -> &Arc<ModelVersion> {
        match self {
            Self::Network(version) | Self::Handler(version) => version,
        }
    }
}

impl Service {
    /// What a name and a version mean; the default version where none is named. A whole number finds the
    /// version that an archive calls `N.0`, because Triton's clients know no others.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`].
    pub fn target(&self, model: &str, version: Option<&str>) -> Result<Target> {
        let too_long = model.len().max(version.map_or(0, str::len)) > LONGEST;
        if too_long {
            let message = format!("no model {}: the name is too long", Quoted(model));
            return Err(Error::new(ErrorCode::ModelNotFound, message));
        }
        let version = version.filter(|version| !version.is_empty());
        match (self.version(model, version), model.strip_suffix(HANDLER_SUFFIX)) {
            (Ok(found), _) => Ok(Target::Network(found)),
            (Err(error), Some(of)) if error.code() == ErrorCode::ModelNotFound => {
                let found = self.version(of, version).ok().filter(|found| has_handler(found));
                found.map(Target::Handler).ok_or(error)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn version(&self, model: &str, version: Option<&str>) -> Result<Arc<ModelVersion>> {
        let found = self.engine().version(model, version);
        let Some(number) = version.filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
        else {
            return found;
        };
        found.or_else(|error| {
            let other = self.engine().version(model, Some(&format!("{number}.0")));
            other.map_err(|_| error)
        })
    }
}

/// Whether there is a handler between clients and the network.
fn has_handler(_: &ModelVersion) -> bool {
    true
}
