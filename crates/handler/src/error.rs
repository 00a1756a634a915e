//! One error type for everything that can go wrong between a request and its response.

use std::fmt;
use std::sync::Arc;

/// The result of anything a handler, a model or the engine does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure this is; each protocol maps every kind to its own status.
///
/// A closed list, so that a new kind does not compile until each protocol has said what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request itself is wrong: not an image, truncated, too large, a missing field.
    InvalidInput,
    /// No model of that name.
    ModelNotFound,
    /// The model exists, that version of it does not.
    VersionNotFound,
    /// That name and version is taken.
    Conflict,
    /// The archive or its configuration cannot be served as it is.
    InvalidModel,
    /// The version is its model's default and others are there, so it cannot go.
    DefaultVersion,
    /// Nothing can take the request now: model not ready, server draining.
    Unavailable,
    /// Too much waits already, or the request waited too long; the same request may do later.
    Overloaded,
    /// What was asked for goes on, but did not end in time.
    Timeout,
    /// Nothing here can do what was asked for.
    Unsupported,
    /// The handler or the model failed on this input.
    PredictionFailed,
    /// The worker went down while it held the request.
    WorkerDied,
    /// The device or the host ran out of memory.
    OutOfMemory,
    /// The device answers nothing any more until the process starts anew.
    DeviceLost,
    /// A fault of the server's own.
    Internal,
}

/// A failure: its kind, a message for the person who made the request, and what caused it.
///
/// Messages are lowercase, have no full stop, and name the thing and what to do. Cloning is cheap,
/// because one failed batch is told to every request in it.
#[derive(Clone)]
pub struct Error {
    code: ErrorCode,
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// A failure of this kind with this message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// The request is wrong, and this is how.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, message)
    }

    /// The archive or its configuration is wrong, and this is how.
    pub fn invalid_model(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidModel, message)
    }

    /// The network's answer is not what this kind of model gives, and this is how.
    pub fn prediction_failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::PredictionFailed, message)
    }

    /// The same failure, remembering what caused it.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of failure this is.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
