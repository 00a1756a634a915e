//! What every response has: TorchServe's headers, its place in the counts, and a line in the log.

use std::fmt::Write;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL, EXPIRES, HeaderMap, HeaderName, HeaderValue, PRAGMA,
};
use actix_web::http::{ConnectionType, StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, web};
use futures_util::FutureExt;
use mar_engine::{Error, ErrorCode, Timing};
use uuid::Uuid;

use super::{Shared, error};
use crate::logging;
use crate::settings::Cors;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The server's identifier of a request: made afresh for each, whatever the client sent.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// The identifier of a request; empty before it has one.
    pub(crate) fn of(request: &HttpRequest) -> String {
        request.extensions().get::<Self>().map(|id| id.0.clone()).unwrap_or_default()
    }
}

/// The model that a request turned out to be for. Put into its extensions, it is in the log's line.
#[derive(Clone, Debug)]
pub(crate) struct ModelName(pub(crate) String);

/// Does work that takes long, or blocks, where no other request waits for it.
///
/// # Errors
/// Those of the work; [`ErrorCode::Internal`] where it was given up.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    web::block(work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorCode::Internal, "the request was given up; the server's log says why"))
    })
}

/// Headers that tell browsers what pages of other sites may do.
#[derive(Clone, Debug)]
pub(crate) struct CorsHeaders(Arc<[(HeaderName, HeaderValue)]>);

impl CorsHeaders {
    /// The headers that are given and not empty.
    ///
    /// # Errors
    /// Where a value cannot stand in a header; the message names it.
    pub(crate) fn new(cors: &Cors) -> io::Result<Self> {
        let Cors { origin, methods, headers } = cors;
        let given = [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "cors_allowed_origin", origin),
            (ACCESS_CONTROL_ALLOW_METHODS, "cors_allowed_methods", methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, "cors_allowed_headers", headers),
        ];
        let headers: io::Result<_> = given
            .into_iter()
            .filter_map(|(name, key, value)| {
                let value = value.as_deref().filter(|value| !value.is_empty())?;
                let refused = |_| {
                    let message = format!("{key} is {value:?}, which no header can hold");
                    io::Error::new(io::ErrorKind::InvalidInput, message)
                };
                Some(HeaderValue::from_str(value).map(|value| (name, value)).map_err(refused))
            })
            .collect();
        Ok(Self(headers?))
    }
}

/// Gives the request its identifier, the response its headers, and the log a line.
pub(crate) async fn every_response(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let start = Instant::now();
    let id = Uuid::new_v4().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let uri = request.uri().clone();
    let upgrade = request.head().upgrade();
    let version = request.version();
    let peer = request.peer_addr();
    let shared = request.app_data::<web::Data<Shared>>().cloned();
    let draining = shared.as_ref().is_some_and(|shared| shared.engine.is_draining());

    let Ok(answered) = AssertUnwindSafe(next.call(request)).catch_unwind().await else {
        return Err(panicked(
            &id,
            shared.as_deref().map(AsRef::as_ref),
            &format!("{method} {}", path(&uri)),
        ));
    };
    let mut response = answered?.map_into_boxed_body();
    let status = response.status();
    let timing = response.response().extensions().get::<Timing>().copied();
    if status != StatusCode::PAYLOAD_TOO_LARGE {
        let cors = shared.as_ref().map(|shared| &shared.cors);
        set_headers(response.headers_mut(), &id, cors, timing.as_ref());
    }
    // An answer that is an error ends the connection, as TorchServe's does. So does one to a client that
    // offered another protocol, as Java's does: actix would close the connection and not say so.
    if status.as_u16() >= 400 || draining || upgrade {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if let Some(shared) = shared {
        shared.metrics.replied(status.as_u16());
    }
    if !logging::Access::is_wanted() {
        return Ok(response);
    }
    let asked = response.request();
    let extensions = asked.extensions();
    let model = extensions.get::<ModelName>().map(|model| model.0.as_str());
    logging::Access {
        method: method.as_str(),
        // A quote would end the request in the line before its time.
        path: &path(&uri).replace('"', "%22"),
        protocol: &format!("{version:?}"),
        status: status.as_u16(),
        duration: start.elapsed(),
        request_id: &id,
        peer: &peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
        model: model.or_else(|| asked.match_info().get("model")),
    }
    .log();
    drop(extensions);
    Ok(response)
}

/// Nothing should panic where requests are answered. Where something does, its client is told, instead of
/// seeing the connection end without a word.
fn panicked(request_id: &str, shared: Option<&Shared>, asked: &str) -> actix_web::Error {
    log::error!(request_id; "the server panicked while it answered {asked}");
    let mut refusal = error::internal("the server panicked; its log says where");
    set_headers(refusal.headers_mut(), request_id, shared.map(|shared| &shared.cors), None);
    refusal.head_mut().set_connection_type(ConnectionType::Close);
    if let Some(shared) = shared {
        shared.metrics.replied(refusal.status().as_u16());
    }
    InternalError::from_response("panicked", refusal).into()
}

/// What was asked for: HTTP/2 and proxies have the address before it, which belongs to the client's view.
fn path(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.to_string(), ToString::to_string)
}

fn set_headers(
    headers: &mut HeaderMap,
    id: &str,
    cors: Option<&CorsHeaders>,
    timing: Option<&Timing>,
) {
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    // The semicolon is TorchServe's.
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache; no-store, must-revalidate, private"),
    );
    headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 UTC"));
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    for (name, value) in cors.iter().flat_map(|cors| cors.0.iter()) {
        // A handler's own word goes before the server's.
        if !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    if let Some(Ok(value)) = timing.map(|timing| HeaderValue::from_str(&server_timing(timing))) {
        headers.insert(SERVER_TIMING, value);
    }
}

/// Where a prediction's time went, in milliseconds.
fn server_timing(timing: &Timing) -> String {
    let Timing { preprocess, queue, inference, postprocess, total, .. } = *timing;
    let stages = [
        ("queue", queue),
        ("preprocess", preprocess),
        ("inference", inference),
        ("postprocess", postprocess),
        ("total", total),
    ];
    let mut told = String::with_capacity(128);
    for (name, time) in stages {
        // Whole microseconds, which need no floating point to be written.
        let micros = (time.as_nanos() + 500) / 1000;
        let separator = if told.is_empty() { "" } else { ", " };
        // A text takes whatever is written to it.
        write!(told, "{separator}{name};dur={}.{:03}", micros / 1000, micros % 1000).ok();
    }
    told
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::body::to_bytes;
    use actix_web::dev::Service;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service};
    use actix_web::{App, HttpResponse};

    use super::*;

    fn cors(origin: &str) -> Cors {
        Cors { origin: Some(origin.into()), methods: Some(String::new()), headers: None }
    }

    fn with(headers: &mut HeaderMap, cors: &Cors) {
        set_headers(headers, "id", Some(&CorsHeaders::new(cors).unwrap()), None);
    }

    #[test]
    fn headers_for_browsers_are_set_where_they_are_given_and_the_handler_has_none() {
        let mut headers = HeaderMap::new();
        with(&mut headers, &cors("*"));
        assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), "*");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS), "an empty one is not given");
        assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));

        let own = HeaderValue::from_static("https://example.org");
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, own.clone());
        with(&mut headers, &cors("*"));
        assert_eq!(headers.get(ACCESS_CONTROL_ALLOW_ORIGIN), Some(&own));
    }

    #[test]
    fn a_value_that_would_end_the_header_is_refused_by_name() {
        let error = CorsHeaders::new(&cors("a\r\nx: y")).unwrap_err().to_string();
        assert!(error.contains("cors_allowed_origin"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_path_is_told_without_the_address_before_it() {
        for uri in ["/a/b?c=d", "https://127.0.0.1:8443/a/b?c=d"] {
            assert_eq!(path(&uri.parse().unwrap()), "/a/b?c=d");
        }
        assert_eq!(path(&"host:1".parse().unwrap()), "host:1");
    }

    #[tokio::test]
    async fn a_panic_is_answered() {
        async fn broken() -> HttpResponse {
            panic!("as asked")
        }
        let app = App::new().wrap(from_fn(every_response)).route("/", web::get().to(broken));
        let app = init_service(app).await;
        let refused = app.call(TestRequest::get().to_request()).await.unwrap_err();
        let refused = refused.error_response();
        assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(refused.headers().contains_key("x-request-id"));
        let body = to_bytes(refused.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "InternalServerException");
    }

    #[test]
    fn timing_is_told_in_milliseconds() {
        let timing = Timing {
            preprocess: Duration::from_micros(1500),
            queue: Duration::from_millis(20),
            inference: Duration::from_secs(1),
            postprocess: Duration::ZERO,
            total: Duration::from_nanos(1_021_500_700),
            ..Timing::default()
        };
        let mut headers = HeaderMap::new();
        set_headers(&mut headers, "id", None, Some(&timing));
        assert_eq!(
            headers.get("server-timing").unwrap(),
            "queue;dur=20.000, preprocess;dur=1.500, inference;dur=1000.000, postprocess;dur=0.000, total;dur=1021.501"
        );
    }
}
