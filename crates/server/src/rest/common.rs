//! What every response has: TorchServe's headers, and a line in the log.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, EXPIRES, HeaderName, HeaderValue, PRAGMA};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, web};
use uuid::Uuid;

use super::Shared;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The server's identifier of a request: made afresh for each, whatever the client sent.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Gives the request its identifier, the response its headers, and the log a line.
pub(crate) async fn every_response(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let start = Instant::now();
    let id = Uuid::new_v4().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let line = format!("\"{} {} {:?}\"", request.method(), request.uri(), request.version());
    let peer = request.peer_addr();
    let draining =
        request.app_data::<web::Data<Shared>>().is_some_and(|shared| shared.engine.is_draining());

    let mut response = next.call(request).await?.map_into_boxed_body();
    let status = response.status();
    if status != StatusCode::PAYLOAD_TOO_LARGE {
        let headers = response.headers_mut();
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        // The semicolon is TorchServe's.
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-cache; no-store, must-revalidate, private"),
        );
        headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 UTC"));
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, value);
        }
    }
    // An answer that is an error ends the connection, as TorchServe's does.
    if status.as_u16() >= 400 || draining {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
    log::info!("{peer} {line} {} {} ms {id}", status.as_u16(), start.elapsed().as_millis());
    Ok(response)
}
