//! A request of tensors over HTTP: its body becomes tensors, and the answer's tensors a body.

use actix_web::body::SizedStream;
use actix_web::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, VARY,
};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use mar_engine::{Admission, Error, ErrorCode, Header, Timing};
use mar_oip::{BinaryOutputs, Encoded, InferRequest};

use super::encoding::{self, Encoding};
use super::{ModelPath, body, error};
use crate::rest::Shared;
use crate::rest::common::{ModelName, RequestId, apart};

/// How many of a body's bytes are JSON, where tensors follow them.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Bodies up to this are read and written where they arrive; larger ones elsewhere, so that no other request of
/// the same thread waits for them.
const SHORT: usize = 64 << 10;
/// Tensors that come and go as bytes are looked at, not copied: as many of them take less time than another thread
/// takes to begin.
const SHORT_BINARY: usize = 1 << 20;

/// Answers it.
pub(super) async fn infer(
    shared: &Shared,
    path: ModelPath,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    answered(shared, path, request, payload).await.unwrap_or_else(|refused| refused)
}

async fn answered(
    shared: &Shared,
    path: ModelPath,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, HttpResponse> {
    let ModelPath { model, version } = path;
    let request_id = RequestId::of(request);
    let refused = |error: Error| {
        super::super::error::log_failure(&error, &model, &request_id);
        error::response(&error)
    };
    let admission: Admission = shared.engine.admit().map_err(refused)?;
    // Before the body is read: a model that is not there costs no upload.
    let found = shared.oip.find(&model, version.as_deref()).map_err(refused)?;
    request.extensions_mut().insert(ModelName(model.clone()));
    let json = json_length(request).map_err(refused)?;
    let limit = shared.settings.max_request_size;
    let body = body::whole(request, payload, limit, json.unwrap_or(0)).await?;
    let decoded = match json {
        Some(0) => {
            let interface = found.version.interface().cloned().unwrap_or_default();
            mar_oip::decode_raw(body, &interface)
        }
        json => {
            let json_bytes = json.unwrap_or(body.len()).min(body.len());
            let size = Size { json: json_bytes, binary: body.len() - json_bytes };
            apart_if_long(size, move || mar_oip::decode(&body, json)).await
        }
    };
    let most = shared.settings.max_response_size;
    let asked = InferRequest {
        request_id: request_id.clone(),
        model: model.clone(),
        version,
        // Only a handler looks at them.
        headers: if found.handler { headers(request) } else { Vec::new() },
        max_response_bytes: Some(most),
        ..decoded.map_err(refused)?
    };
    let binary = BinaryOutputs::of(&asked).map_err(refused)?;
    let response = shared.oip.infer(&admission, asked).await.map_err(refused)?;
    let timing = response.timing;
    let (as_json, as_binary) = binary.bytes(&response);
    let size = Size { json: as_json, binary: as_binary };
    let encoded = apart_if_long(size, move || mar_oip::encode(&response, &binary)).await;
    let encoded = encoded.map_err(refused)?;
    if encoded.len() > most {
        return Err(refused(crate::rest::predictions::too_long(most)));
    }
    sent(request, encoded, timing).await.map_err(refused)
}

/// The encoded response as the client wants it: compressed where it says so.
async fn sent(
    request: &HttpRequest,
    encoded: Encoded,
    timing: Timing,
) -> Result<HttpResponse, Error> {
    let json = encoded.json;
    let accepted = Encoding::for_response(request.headers().get_all(ACCEPT_ENCODING));
    let mut response = match accepted {
        None => whole(encoded),
        Some(accepted) => {
            let deflated = apart_if_long(Size { json: encoded.len(), binary: 0 }, move || {
                encoding::deflated(accepted, &encoded.pieces)
                    .map_err(|error| Error::new(ErrorCode::Internal, error.to_string()))
            });
            let mut response = HttpResponse::Ok().body(deflated.await?);
            let name = HeaderValue::from_static(accepted.name());
            response.headers_mut().insert(CONTENT_ENCODING, name);
            response
        }
    };
    let kind = if json.is_some() { "application/octet-stream" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(json) = json {
        response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(json));
    }
    response.extensions_mut().insert(timing);
    Ok(response)
}

/// The pieces one after the other: tensors are not copied behind the JSON.
fn whole(encoded: Encoded) -> HttpResponse {
    let length = encoded.len();
    let mut pieces = encoded.pieces;
    if pieces.len() == 1 {
        return HttpResponse::Ok().body(pieces.remove(0));
    }
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let pieces = stream::iter(pieces.map(Ok::<Bytes, std::convert::Infallible>));
    HttpResponse::Ok().body(SizedStream::new(length as u64, pieces))
}

/// What the client says of the length of its JSON; 0 where the body is one tensor and nothing else.
fn json_length(request: &HttpRequest) -> Result<Option<usize>, Error> {
    let Some(value) = request.headers().get(JSON_LENGTH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length = if digits { text.parse().ok() } else { None };
    length.map(Some).ok_or_else(|| {
        Error::invalid_input("Inference-Header-Content-Length is not a number of bytes")
    })
}

/// The client's headers, of each name the last.
fn headers(request: &HttpRequest) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    for (name, value) in request.headers() {
        headers.retain(|(known, _)| known != name.as_str());
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.push((name.as_str().to_owned(), value));
    }
    headers
}

/// How many bytes there are to read or to write.
#[derive(Clone, Copy)]
struct Size {
    /// Those that are taken apart or made one by one: JSON, or what is compressed.
    json: usize,
    /// Those of tensors that stay as they are.
    binary: usize,
}

impl Size {
    fn is_short(self) -> bool {
        self.json <= SHORT && self.binary <= SHORT_BINARY
    }
}

/// Does work on so many bytes: here where they are few, else where no other request waits for it.
async fn apart_if_long<T: Send + 'static>(
    size: Size,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if size.is_short() { work() } else { apart(work).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_takes_another_thread_sooner_than_bytes() {
        let short = |json, binary| Size { json, binary }.is_short();
        assert!(short(SHORT, 0) && short(100, SHORT_BINARY));
        assert!(!short(SHORT + 1, 0) && !short(0, SHORT_BINARY + 1));
        assert!(short(0, SHORT + 1), "a picture's tensor as bytes stays where it is");
    }
}
