//! How clients name what they ask: a model by its name, its handler by `@handler` behind that, a version by
//! its number.

use std::sync::Arc;

use mar_engine::{Error, ErrorCode, ModelVersion, Result};

use crate::Service;
use crate::quoted::Quoted;

/// What stands behind a model's name where its handler is meant, rather than its network.
pub const HANDLER: &str = "@handler";
/// The input of every handler: encoded inputs, each an element of its own.
pub const HANDLER_INPUT: &str = "data";
/// The output of every handler: the body of each response.
pub const HANDLER_OUTPUT: &str = "output";

/// Longer names are nobody's, and are not looked for.
const LONGEST: usize = 1024;

/// What a client's name and version stand for.
#[derive(Clone, Debug)]
pub struct Named {
    /// The version that answers.
    pub version: Arc<ModelVersion>,
    /// Whether its handler is meant, which takes encoded input, rather than its network.
    pub handler: bool,
}

impl Service {
    /// Finds what a client names: a model, or its handler, of a version or the default one. A version
    /// without points finds the one that ends with `.0` too, as clients know none but whole numbers.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::VersionNotFound`].
    pub fn find(&self, name: &str, version: Option<&str>) -> Result<Named> {
        self.look_up(name, version).map_err(|error| match error.code() {
            // Triton's words, which scripts look for, before what is to be done about it.
            ErrorCode::ModelNotFound | ErrorCode::VersionNotFound => {
                Error::new(error.code(), format!("Request for unknown model: {}", error.message()))
            }
            _ => error,
        })
    }

    fn look_up(&self, name: &str, version: Option<&str>) -> Result<Named> {
        if name.len().max(version.map_or(0, str::len)) > LONGEST {
            let message = format!("no model {}: the name is too long", Quoted(name));
            return Err(Error::new(ErrorCode::ModelNotFound, message));
        }
        let (model, handler) = self.split(name);
        let Some(asked) = version.filter(|version| !version.is_empty()) else {
            return self.named(model, None, handler);
        };
        let versions = self.engine().model(model)?.versions;
        let is = |asked: &str| versions.iter().any(|known| known.version() == asked);
        if is(asked) || !asked.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.named(model, Some(asked), handler);
        }
        let whole = versions.iter().find(|known| whole(known.version()) == asked);
        self.named(model, Some(whole.map_or(asked, |known| known.version())), handler)
    }

    /// The model of a name, and whether the name is of its handler. A model that is called so itself goes
    /// first.
    pub(crate) fn split<'a>(&self, name: &'a str) -> (&'a str, bool) {
        match name.strip_suffix(HANDLER) {
            Some(model) if self.engine().model(name).is_err() => (model, true),
            _ => (name, false),
        }
    }

    /// The model that is loaded or unloaded where a client names it or its handler, which come and go together.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`] where it is loaded and has no handler.
    pub(crate) fn changed_with<'a>(&self, name: &'a str) -> Result<&'a str> {
        let (model, handler) = self.split(name);
        if handler && self.engine().model(model).is_ok() {
            self.named(model, None, true)?;
        }
        Ok(model)
    }

    fn named(&self, model: &str, version: Option<&str>, handler: bool) -> Result<Named> {
        let version = self.engine().version(model, version)?;
        if handler && !has_handler(&version) {
            let message = format!(
                "model \"{model}\" has no handler of its own; ask for \"{model}\", which takes tensors"
            );
            return Err(Error::new(ErrorCode::ModelNotFound, message));
        }
        Ok(Named { version, handler })
    }
}

/// Whether a version came with a handler, which is a model of its own to the protocol's clients.
pub(crate) fn has_handler(version: &ModelVersion) -> bool {
    version.network().is_none()
}

/// A version without the `.0` at its end.
fn whole(version: &str) -> &str {
    version.strip_suffix(".0").map_or(version, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_ends_with_is_left_out_where_it_says_nothing() {
        for (version, expected) in [
            ("1.0", "1"),
            ("1.0.0", "1"),
            ("1", "1"),
            ("1.10", "1.10"),
            ("10", "10"),
            ("1.0.1", "1.0.1"),
        ] {
            assert_eq!(whole(version), expected);
        }
    }
}
