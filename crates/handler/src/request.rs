//! One request, as every protocol hands it to a handler.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{Error, Result};

/// A header of the request: name as the client wrote it, and value.
pub type Header = (String, String);

/// One named piece of a request's body: a form field, a file, or the whole body under `body`.
#[derive(Clone, Debug)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// Its content type, where the client gave one.
    pub content_type: Option<String>,
    /// Its bytes, shared with the connection's buffer.
    pub data: Bytes,
}

impl Part {
    /// A field of a form: a value without a type.
    pub fn field(name: String, value: String) -> Self {
        Self { name, content_type: None, data: value.into() }
    }
}

/// What a client sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The server's identifier of this request.
    pub id: String,
    /// What follows the model and version in the path, without a leading slash.
    pub url_path: String,
    /// The client's headers.
    pub headers: Vec<Header>,
    /// The parameters of the query, in order, decoded: what the client wants of the answer.
    pub query: Vec<(String, String)>,
    /// The body's pieces, in order.
    pub parts: Vec<Part>,
    /// The most bytes that the protocol carries back, where it has a bound. A handler whose answers can be
    /// large refuses what would be larger before it makes it.
    pub max_response_bytes: Option<usize>,
    /// What `preprocess` keeps for `postprocess`.
    pub kept: Kept,
}

/// A value that a handler's `preprocess` learns and its `postprocess` needs, such as the size of an image
/// before it was scaled. It travels with the request, so a handler holds nothing of a request itself.
#[derive(Clone, Default)]
pub struct Kept(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Kept {
    /// Keeps a value. The first one stays, where `preprocess` runs again.
    pub fn set<T: Any + Send + Sync>(&self, value: T) {
        self.0.get_or_init(|| Arc::new(value));
    }

    /// The value, where one of this type was kept.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "Kept(something)" } else { "Kept(nothing)" })
    }
}

impl Request {
    /// The last part of this name: the last of several form fields wins, as in TorchServe.
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().rev().find(|part| part.name == name)
    }

    /// The part that carries the input: `data`, else `body`, as TorchServe's handlers have it.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](crate::ErrorCode::InvalidInput) naming the fields that are there.
    pub fn payload(&self) -> Result<&Part> {
        self.part("data").or_else(|| self.part("body")).ok_or_else(|| {
            let names: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
            Error::invalid_input(format!(
                "no field \"data\" or \"body\" in the form; found: {}",
                if names.is_empty() { "none".into() } else { names.join(", ") }
            ))
        })
    }

    /// Refuses an answer of at least so many bytes where it is more than can be sent, and says what to do instead.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`](crate::ErrorCode::InvalidInput) with both sizes and `instead`.
    pub fn check_response_bytes(&self, bytes: u64, instead: &str) -> Result<()> {
        match self.max_response_bytes {
            Some(most) if bytes > most as u64 => Err(Error::invalid_input(format!(
                "the answer would have {bytes} bytes or more, and {most} can be sent (max_response_size); {instead}"
            ))),
            _ => Ok(()),
        }
    }

    /// The value of a query's parameter; the last of several wins.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let named = self.query.iter().rev().find(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The value of a header, whatever the case of its name; the last of several wins.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, data: &'static str) -> Part {
        Part { name: name.into(), content_type: None, data: Bytes::from_static(data.as_bytes()) }
    }

    #[test]
    fn data_comes_before_body_and_the_last_field_wins() {
        let request = Request {
            parts: vec![part("body", "b"), part("data", "first"), part("data", "last")],
            ..Request::default()
        };
        assert_eq!(request.payload().unwrap().data, "last");
        let request = Request { parts: vec![part("body", "b")], ..Request::default() };
        assert_eq!(request.payload().unwrap().data, "b");
    }

    #[test]
    fn a_form_without_an_input_names_its_fields() {
        let request =
            Request { parts: vec![part("file", "x"), part("k", "y")], ..Request::default() };
        assert!(request.payload().unwrap_err().to_string().ends_with("found: file, k"));
        assert!(Request::default().payload().unwrap_err().to_string().ends_with("found: none"));
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let request =
            Request { headers: vec![("Accept".into(), "a".into())], ..Request::default() };
        assert_eq!(request.header("accept"), Some("a"));
        assert_eq!(request.header("x"), None);
    }

    #[test]
    fn the_last_parameter_of_a_name_wins() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = vec![pair("format", "rle"), pair("format", "png"), pair("k", "")];
        let request = Request { query, ..Request::default() };
        assert_eq!(request.parameter("format"), Some("png"));
        assert_eq!(request.parameter("k"), Some(""));
        assert_eq!(request.parameter("Format"), None);
    }

    #[test]
    fn an_answer_that_cannot_be_sent_is_refused_before_it_is_made() {
        let bounded = Request { max_response_bytes: Some(9), ..Request::default() };
        assert!(bounded.check_response_bytes(9, "").is_ok());
        let error = bounded.check_response_bytes(10, "ask for format=png").unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::InvalidInput);
        assert!(error.message().contains("10 bytes or more, and 9 can"), "{error}");
        assert!(error.message().ends_with("ask for format=png"), "{error}");
        assert!(Request::default().check_response_bytes(u64::MAX, "").is_ok());
    }

    #[test]
    fn what_is_kept_comes_back_as_the_type_it_was() {
        let request = Request::default();
        assert_eq!(request.kept.get::<u32>(), None);
        request.kept.set(7_u32);
        request.kept.set(8_u32);
        assert_eq!(request.kept.get::<u32>(), Some(&7));
        assert_eq!(request.kept.get::<i64>(), None);
    }
}
