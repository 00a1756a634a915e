//! The body of a request, in one piece, as it was before a client compressed it.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_ENCODING;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt;
use mar_oip::AlignedBuffer;

use super::encoding::{self, Encoding};
use super::error;
use crate::rest::body::{announced, not_whole};

/// Reads a body of at most `limit` bytes, also once it is inflated, so that its byte at `aligned` can be read as
/// numbers of any width.
///
/// # Errors
/// The response to send instead.
pub(super) async fn whole(
    request: &HttpRequest,
    mut payload: web::Payload,
    limit: usize,
    aligned: usize,
) -> Result<Bytes, HttpResponse> {
    let encodings = request.headers().get_all(CONTENT_ENCODING);
    let encoding = Encoding::of_request(encodings).map_err(|()| error::unknown_encoding())?;
    let announced = announced(request.headers());
    if announced > limit {
        return Err(error::too_large(limit));
    }
    let mut body = AlignedBuffer::new(aligned, announced);
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|reason| error::body(StatusCode::BAD_REQUEST, &not_whole(&reason)))?;
        if body.len() + chunk.len() > limit {
            return Err(error::too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    let body = body.freeze();
    let Some(encoding) = encoding else { return Ok(body) };
    let inflated = web::block(move || encoding::inflated(encoding, &body, limit, aligned)).await;
    match inflated {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(error::too_large(limit)),
        Ok(Err(reason)) => Err(error::body(
            StatusCode::BAD_REQUEST,
            &format!("the body is not what its Content-Encoding says: {reason}"),
        )),
        Err(_) => Err(error::body(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")),
    }
}
