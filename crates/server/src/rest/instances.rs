//! `{"instances": [...]}` in, `{"predictions": [...]}` out: KServe's first protocol, TensorFlow Serving's
//! row format, and TorchServe's envelopes `json` and `kserve`.
//!
//! Each instance is a request of its own to the engine, so that they share batches with each other and
//! with everybody else's. JSON is passed through as it is written, never through numbers of another width.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use mar_engine::{Answered, Error, Header, Part, Response, Timing};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error;
use super::predictions::{Asked, too_long};

/// The part that holds an instance that has no columns.
const DATA: &str = "data";
const JSON: &str = "application/json";
/// What stands around the predictions.
const START: &[u8] = br#"{"predictions": ["#;
const END: &[u8] = b"]}\n";

/// The members of a body that mean something here; others, such as `signature_name`, do not.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    instances: Option<&'a RawValue>,
    #[serde(borrow)]
    inputs: Option<&'a RawValue>,
}

/// What a body is.
pub(super) enum Holds<'a> {
    /// Inputs, each a request to the handler.
    Instances(Vec<&'a RawValue>),
    /// The network's inputs as tensors.
    Columns,
    /// Nothing of these forms: it goes to the handler as it is.
    Anything,
}

impl<'a> Holds<'a> {
    /// What a body to a handler holds.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where it is announced as JSON and is
    /// none, holds both forms, or instances that are no array.
    pub(super) fn of(body: &'a Part) -> Result<Self, Error> {
        let announced = is_announced(body);
        if body.data.trim_ascii_start().first() != Some(&b'{') && !announced {
            return Ok(Self::Anything);
        }
        let wrapped = match serde_json::from_slice::<&RawValue>(&body.data) {
            Ok(json) if json.get().starts_with('{') => {
                serde_json::from_str::<Wrapped<'_>>(json.get())
            }
            Ok(_) => return Ok(Self::Anything),
            Err(_) if !announced => return Ok(Self::Anything),
            Err(reason) => Err(reason),
        };
        let wrapped = wrapped
            .map_err(|reason| Error::invalid_input(format!("the body is not JSON: {reason}")))?;
        let instances = match wrapped {
            Wrapped { instances: None, inputs: None } => return Ok(Self::Anything),
            Wrapped { instances: None, inputs: Some(_) } => return Ok(Self::Columns),
            Wrapped { instances: Some(_), inputs: Some(_) } => {
                return Err(Error::invalid_input(
                    "instances and inputs are given; send one of them",
                ));
            }
            Wrapped { instances: Some(instances), inputs: None } => instances,
        };
        let instances = serde_json::from_str(instances.get());
        instances.map(Self::Instances).map_err(|_| {
            Error::invalid_input("instances is not an array; send {\"instances\": [...]}")
        })
    }

    /// What a body to a network that came without a handler holds.
    pub(super) fn of_network(body: &Part) -> Self {
        let is_object = body.data.trim_ascii_start().first() == Some(&b'{');
        if is_object || is_announced(body) { Self::Columns } else { Self::Anything }
    }
}

fn is_announced(body: &Part) -> bool {
    body.content_type.as_deref().is_some_and(|it| it.eq_ignore_ascii_case(JSON))
}

/// Answers all instances or, where one fails, with its error.
pub(super) async fn predict(
    asked: &Asked<'_>,
    headers: &[Header],
    instances: &[&RawValue],
) -> Result<HttpResponse, HttpResponse> {
    let version = asked.shared.engine.version(asked.model, asked.version);
    let version = version.map_err(|error| asked.refused(&error))?;
    // At most half of what the queue has room for at once: one request never fills it, however many
    // instances it holds, and leaves places to others.
    let (_, room) = version.queue_load();
    let limit = asked.shared.settings.max_response_size;
    let answers = stream::iter(instances.iter().enumerate())
        .map(async |(index, instance)| {
            let answered = match parts(instance) {
                Ok(parts) => asked.answered(headers.to_vec(), parts).await,
                Err(error) => Err(error),
            };
            let answered = answered.map_err(|error| asked.refused(&numbered(index, &error)));
            answered.map(|answered| (index, answered))
        })
        .buffered((room / 2).max(1));
    let start = (START.to_vec(), Timing::default());
    let (mut body, timing) = std::pin::pin!(answers)
        .try_fold(start, async |(mut body, timing), (index, answered)| {
            let Answered { response, timing: this } = answered;
            if index > 0 {
                body.extend_from_slice(b", ");
            }
            write(&mut body, &response).map_err(|()| failed(index, &response))?;
            if body.len() + END.len() > limit {
                return Err(asked.refused(&too_long(limit)));
            }
            // The slowest stands for all: they ran side by side.
            Ok((body, if this.total > timing.total { this } else { timing }))
        })
        .await?;
    body.extend_from_slice(END);
    let mut response = HttpResponse::Ok().content_type(JSON).body(body);
    response.extensions_mut().insert(timing);
    Ok(response)
}

/// The same error, of which instance it is.
fn numbered(index: usize, error: &Error) -> Error {
    let named = Error::new(error.code(), format!("instance {index}: {}", error.message()));
    named.caused_by(error.clone())
}

/// The handler itself answered an instance with a failure.
fn failed(index: usize, response: &Response) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).ok();
    let status = status.filter(|status| status.is_client_error() || status.is_server_error());
    let said = String::from_utf8_lossy(&response.body);
    let message = format!("instance {index}: the handler answered {}: {said}", response.status);
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error::body(status, "InternalServerException", &message)
}

/// An instance as the parts that a handler reads.
fn parts(instance: &RawValue) -> Result<Vec<Part>, Error> {
    let text = instance.get();
    let part = |name: &str, (data, content_type): (Bytes, Option<&str>)| Part {
        name: name.to_owned(),
        content_type: content_type.map(str::to_owned),
        data,
    };
    if encoded(text).is_none()
        && let Ok(columns) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text)
        && columns.values().any(|column| encoded(column.get()).is_some())
    {
        return columns
            .into_iter()
            .map(|(name, column)| Ok(part(&name, value(column.get())?)))
            .collect();
    }
    Ok(vec![part(DATA, value(text)?)])
}

/// The bytes of a value, and their type where they are JSON: what `b64` stands for, a string's own, else
/// the JSON text.
fn value(text: &str) -> Result<(Bytes, Option<&'static str>), Error> {
    if let Some(encoded) = encoded(text) {
        let bytes = BASE64_STANDARD.decode(encoded.as_bytes()).map_err(|reason| {
            Error::invalid_input(format!("b64 does not hold base64: {reason}"))
        })?;
        return Ok((bytes.into(), None));
    }
    if let Ok(string) = serde_json::from_str::<String>(text) {
        return Ok((string.into(), None));
    }
    Ok((Bytes::copy_from_slice(text.as_bytes()), Some(JSON)))
}

/// What stands in `{"b64": "..."}`.
fn encoded(text: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Encoded<'a> {
        #[serde(borrow)]
        b64: Cow<'a, str>,
    }
    let object = text.starts_with('{');
    object.then(|| serde_json::from_str::<Encoded<'_>>(text).ok()).flatten().map(|it| it.b64)
}

/// A response as a JSON value: the JSON it is, a string where it is text, else `{"b64": "..."}`. `Err`
/// where its status is no success.
fn write(out: &mut Vec<u8>, response: &Response) -> Result<(), ()> {
    if !(200..300).contains(&response.status) {
        return Err(());
    }
    let is_text = response.content_type.as_deref().is_some_and(|kind| kind.starts_with("text/"));
    let text = std::str::from_utf8(&response.body).ok().filter(|_| is_text);
    if let Some(text) = text {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    } else if let Ok(json) = serde_json::from_slice::<&RawValue>(&response.body) {
        out.extend_from_slice(json.get().as_bytes());
    } else {
        let encoded = BASE64_STANDARD.encode(&response.body);
        out.extend_from_slice(format!(r#"{{"b64": "{encoded}"}}"#).as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(content_type: Option<&str>, data: &str) -> Part {
        let data = Bytes::copy_from_slice(data.as_bytes());
        Part { name: "body".into(), content_type: content_type.map(str::to_owned), data }
    }

    fn texts(content_type: Option<&str>, data: &str) -> Result<Option<Vec<String>>, String> {
        let body = body(content_type, data);
        match Holds::of(&body).map_err(|error| error.to_string())? {
            Holds::Instances(all) => Ok(Some(all.iter().map(|one| one.get().to_owned()).collect())),
            Holds::Columns => Err("columns".into()),
            Holds::Anything => Ok(None),
        }
    }

    #[test]
    fn instances_are_taken_apart_as_they_are_written() {
        let long = "123456789012345678901234567890.10";
        let sent =
            format!(r#" {{"signature_name": "s", "instances": [{long}, [1, 2], {{"a":1}}]}}"#);
        let instances = vec![long.to_owned(), "[1, 2]".to_owned(), r#"{"a":1}"#.to_owned()];
        assert_eq!(texts(None, &sent), Ok(Some(instances)));
        assert_eq!(texts(Some(JSON), r#"{"instances": []}"#), Ok(Some(vec![])));
    }

    #[test]
    fn a_body_without_instances_goes_on_as_it_is() {
        for sent in ["", "\u{89}PNG", "{", "{no json}", r#"{"a": 1}"#, r#"{"instances": null}"#] {
            assert_eq!(texts(None, sent), Ok(None), "{sent}");
        }
        assert_eq!(texts(Some(JSON), "[1]"), Ok(None));
    }

    #[test]
    fn a_body_of_another_form_is_told_which_one_is_taken() {
        for (sent, words) in [
            ("{", "the body is not JSON: EOF"),
            (r#"{"instances": 5}"#, "instances is not an array"),
            (r#"{"inputs": [1]}"#, "columns"),
            (r#"{"inputs": [1], "instances": [1]}"#, "send one of them"),
            (r#"{"instances": [1], "instances": [2]}"#, "duplicate field `instances`"),
        ] {
            let error = texts(Some("Application/JSON"), sent).unwrap_err();
            assert!(error.contains(words), "{sent}: {error}");
        }
    }

    #[test]
    fn an_instance_becomes_the_parts_that_a_handler_reads() {
        let told = |instance: &str| -> Vec<(String, Option<String>, Vec<u8>)> {
            let raw: &RawValue = serde_json::from_str(instance).unwrap();
            let parts = parts(raw).unwrap().into_iter();
            parts.map(|part| (part.name, part.content_type, part.data.to_vec())).collect()
        };
        let one = |name: &str, json: Option<&str>, data: &[u8]| {
            (name.to_owned(), json.map(str::to_owned), data.to_vec())
        };
        // "/wD+" is the bytes ff 00 fe (RFC 4648, table 1).
        assert_eq!(told(r#"{"b64": "/wD+"}"#), [one("data", None, b"\xff\x00\xfe")]);
        assert_eq!(told(r#"{"image": {"b64": "/wD+"}}"#), [one("image", None, b"\xff\x00\xfe")]);
        assert_eq!(
            told(r#"{"data": {"b64": "/wD+"}, "key": "k", "n": 1.50}"#),
            [
                one("data", None, b"\xff\x00\xfe"),
                one("key", None, b"k"),
                one("n", Some(JSON), b"1.50")
            ]
        );
        assert_eq!(told(r#""a\n\u00e9""#), [one("data", None, "a\n\u{e9}".as_bytes())]);
        for json in ["1.50", "[1, [2]]", "null", r#"{"a": "b"}"#, r#"{"b64": 5}"#, "{}"] {
            assert_eq!(told(json), [one("data", Some(JSON), json.as_bytes())]);
        }
    }

    #[test]
    fn broken_base64_is_said_to_be_so() {
        let raw: &RawValue = serde_json::from_str(r#"{"b64": "*"}"#).unwrap();
        let error = parts(raw).unwrap_err();
        assert!(error.message().starts_with("b64 does not hold base64: "), "{error}");
    }

    #[test]
    fn a_response_becomes_a_json_value() {
        let written = |content_type: &str, body: &'static [u8]| {
            let mut out = Vec::new();
            write(&mut out, &Response::bytes(content_type, body)).map(|()| String::from_utf8(out))
        };
        for (content_type, body, json) in [
            (JSON, &b" {\"a\": 1.50}\n"[..], r#"{"a": 1.50}"#),
            ("", b"[1, 2]", "[1, 2]"),
            ("text/plain", b"say \"1\"", r#""say \"1\"""#),
            ("text/plain", b"1", r#""1""#),
            ("image/png", b"\xff\x00\xfe", r#"{"b64": "/wD+"}"#),
            ("", b"", r#"{"b64": ""}"#),
        ] {
            assert_eq!(written(content_type, body), Ok(Ok(json.into())), "{content_type}");
        }
    }
}
