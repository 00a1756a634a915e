//! One response, as every protocol takes it from a handler.

use bytes::Bytes;
use serde::Serialize;

use crate::{Error, ErrorCode, Header, Result};

/// What the client gets.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status; other protocols map it.
    pub status: u16,
    /// The content type; sent only where it is given, as TorchServe does.
    pub content_type: Option<String>,
    /// Headers of the handler's own.
    pub headers: Vec<Header>,
    /// The bytes on the wire.
    pub body: Bytes,
}

impl Response {
    /// Bytes of this content type, status 200.
    pub fn bytes(content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: Some(content_type.into()),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// A value as JSON, status 200.
    ///
    /// # Errors
    /// [`ErrorCode::PredictionFailed`] where the value has no JSON form.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| {
            Error::new(ErrorCode::PredictionFailed, "the answer has no JSON form").caused_by(error)
        })?;
        Ok(Self::bytes("application/json", body))
    }
}
