//! An HTTP request's body as the named parts that a handler reads.

use actix_multipart::Multipart;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use mar_engine::Part;

use super::error;

/// The type of a file that a client gave none, as TorchServe has it.
const UNTYPED: &str = "application/octet-stream";

/// The part that holds a body which is no form.
const BODY: &str = "body";

/// Reads a body of at most `limit` bytes and takes it apart.
///
/// # Errors
/// The response to send instead: 413 where it is larger, 400 where it does not arrive or parse.
pub(crate) async fn parts(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
) -> Result<Vec<Part>, HttpResponse> {
    let headers = request.headers();
    let body = whole_body(headers, payload, limit).await?;
    let media_type = media_type(headers);
    let is = |name| media_type.is_some_and(|given| given.eq_ignore_ascii_case(name));
    if is("multipart/form-data") {
        multipart(headers, body).await
    } else if is("application/x-www-form-urlencoded") {
        Ok(urlencoded(body))
    } else {
        Ok(vec![whole(media_type, body)])
    }
}

/// A body's content type, without parameters such as its character set.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// The query's parameters, as the parts that they are where a query is an input.
pub(crate) fn query(request: &HttpRequest) -> Vec<Part> {
    let part = |(name, value): (String, String)| Part::field(name, value);
    parameters(request).into_iter().map(part).collect()
}

/// The query's parameters, decoded.
pub(crate) fn parameters(request: &HttpRequest) -> Vec<(String, String)> {
    // Whatever is there has this form: what is not UTF-8 or not percent-encoded is replaced.
    serde_urlencoded::from_str(request.query_string()).unwrap_or_default()
}

/// The body, where it is no form and stands alone.
pub(crate) fn sole(parts: &[Part]) -> Option<&Part> {
    parts.iter().find(|part| part.name == BODY).filter(|_| parts.len() == 1)
}

/// The length that a body is announced to have; 0 where it is not.
pub(crate) fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// What is told of a body that does not arrive.
pub(crate) fn not_whole(reason: &PayloadError) -> String {
    let reason = match reason {
        PayloadError::Incomplete(_) => {
            "the connection ended before it, or a chunk of it is malformed".to_owned()
        }
        other => other.to_string(),
    };
    format!("the body did not arrive whole: {reason}")
}

/// The body in one piece.
pub(crate) async fn whole_body(
    headers: &HeaderMap,
    mut payload: web::Payload,
    limit: usize,
) -> Result<Bytes, HttpResponse> {
    let announced = announced(headers);
    if announced > limit {
        return Err(error::too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|reason| error::bad_request(&not_whole(&reason)))?;
        if body.len() + chunk.len() > limit {
            return Err(error::too_large());
        }
        if body.is_empty() {
            // Once some of it is there, so that a client which announces much and sends nothing holds nothing.
            body.reserve(announced);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn whole(content_type: Option<&str>, data: Bytes) -> Part {
    Part { name: BODY.into(), content_type: content_type.map(str::to_owned), data }
}

/// The fields of a form. A body that is no form after all is handed over whole: `curl -d` and
/// `--data-binary` send this content type with anything.
fn urlencoded(body: Bytes) -> Vec<Part> {
    // In a form, a bracket or brace would be percent-encoded: this is JSON.
    let is_json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    let is_text = body.is_ascii() && !body.iter().any(u8::is_ascii_control);
    let is_form = body.contains(&b'=') && is_text && !is_json;
    let form = if is_form { fields(&body) } else { None };
    form.unwrap_or_else(|| vec![whole(None, body)])
}

/// What `name=value&...` holds, decoded.
fn fields(text: &[u8]) -> Option<Vec<Part>> {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(text).ok()?;
    Some(fields.into_iter().map(|(name, value)| Part::field(name, value)).collect())
}

async fn multipart(headers: &HeaderMap, body: Bytes) -> Result<Vec<Part>, HttpResponse> {
    let refused = |reason: &dyn std::fmt::Display| {
        error::bad_request(&format!("the multipart form does not parse: {reason}"))
    };
    let chunks = stream::once(async move { Ok(body) });
    let mut form = Multipart::new(headers, chunks);
    let mut parts = Vec::new();
    while let Some(field) = form.next().await {
        let mut field = field.map_err(|reason| refused(&reason))?;
        let name = field.name().unwrap_or_default().to_owned();
        let disposition = field.content_disposition();
        let is_file = disposition
            .is_some_and(|it| it.get_filename().is_some() || it.get_filename_ext().is_some());
        // A field that is no file has no type, as TorchServe has it, whatever the client wrote.
        let content_type = is_file
            .then(|| field.content_type().map_or_else(|| UNTYPED.to_owned(), ToString::to_string));
        let mut data = BytesMut::new();
        while let Some(chunk) = field.next().await {
            data.extend_from_slice(&chunk.map_err(|reason| refused(&reason))?);
        }
        parts.push(Part { name, content_type, data: data.freeze() });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_apart(body: &'static [u8]) -> Vec<(String, Vec<u8>)> {
        let parts = urlencoded(Bytes::from_static(body));
        parts.into_iter().map(|part| (part.name, part.data.to_vec())).collect()
    }

    #[test]
    fn a_form_is_taken_apart_and_anything_else_stays_whole() {
        assert_eq!(
            taken_apart(b"data=a%20b&k=v"),
            [("data".into(), b"a b".to_vec()), ("k".into(), b"v".to_vec())]
        );
        for body in [
            &b"{\"a\":1}"[..],
            b" {\"b64\":\"aGk=\"}",
            b"[\"=\"]",
            b"",
            b"\x89PNG=\r\n",
            b"\xff\xd8=\xff",
        ] {
            assert_eq!(taken_apart(body), [("body".into(), body.to_vec())]);
        }
    }
}
