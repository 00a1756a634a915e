//! What blocks, on a thread that may.

use mar_engine::{Error, ErrorCode, Result};

/// Runs what blocks on a thread of its own kind, so that no async thread is held up.
///
/// # Errors
/// [`ErrorCode::Internal`] where it was cut off.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        let message = "the request was cut off; the server's log says why";
        Error::new(ErrorCode::Internal, message).caused_by(error)
    })
}
