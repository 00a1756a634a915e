//! Parameters as TorchServe reads them: from the query or from JSON, and where a number does not parse, the
//! default.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use serde_json::Value;

use crate::rest::common::RequestId;

/// Names and values; the last of several of one name counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters {
    values: BTreeMap<String, String>,
    /// Whose they are, for the log.
    request_id: String,
}

impl Parameters {
    /// Those of a request's query.
    pub(in crate::rest) fn of_query(request: &HttpRequest) -> Self {
        let values = serde_urlencoded::from_str(request.query_string()).unwrap_or_default();
        Self { values, request_id: RequestId::of(request) }
    }

    /// Those of another protocol.
    pub(crate) fn of_pairs(
        pairs: impl IntoIterator<Item = (&'static str, String)>,
        request_id: &str,
    ) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { values, request_id: request_id.to_owned() }
    }

    /// The members of the JSON object that is a request's body.
    ///
    /// # Errors
    /// Where it is none, in words.
    pub(super) fn of_json(request: &HttpRequest, body: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not JSON: {error}; send an object"))?;
        let Value::Object(members) = value else {
            return Err("the body is JSON, but no object; send {\"url\": \"model.mar\"}".into());
        };
        let text = |value: Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        let values =
            members.into_iter().filter_map(|(key, value)| Some((key, text(value)?))).collect();
        Ok(Self { values, request_id: RequestId::of(request) })
    }

    pub(in crate::rest) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A number; `None` where it is missing, or does not parse, which is logged. One of more than 32 bits
    /// does not, as in TorchServe: as seconds, it would lie beyond what a clock can tell.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let text = self.text(name)?;
        let number = text.trim().parse::<i32>().ok().map(i64::from);
        if number.is_none() {
            let request_id = self.request_id.as_str();
            log::warn!(request_id; "{name} is {text:?}, which is no whole number of 32 bits; its default is taken");
        }
        number
    }

    /// A number above zero, or `None` for the default.
    pub(super) fn positive(&self, name: &str) -> Option<usize> {
        self.number(name).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0)
    }

    /// Whether it says `true`, in any case; `default` where it is missing.
    pub(super) fn truth(&self, name: &str, default: bool) -> bool {
        self.text(name).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_query_and_json_are_read_alike() {
        let query = "/?url=first&url=a%20b.mar&batch_size=4&synchronous=TRUE&x=&n=-1&d=1.5";
        let request = TestRequest::with_uri(query).to_http_request();
        let query = Parameters::of_query(&request);
        let json = Parameters::of_json(
            &request,
            br#"{"url": "a b.mar", "batch_size": 4, "synchronous": true, "x": "", "n": "-1", "d": 1.5, "z": null}"#,
        )
        .unwrap();
        for parameters in [query, json] {
            assert_eq!(parameters.text("url"), Some("a b.mar"));
            assert_eq!(parameters.positive("batch_size"), Some(4));
            assert!(parameters.truth("synchronous", false));
            assert!(!parameters.truth("x", true), "anything but true is false");
            assert!(parameters.truth("missing", true));
            assert_eq!((parameters.number("n"), parameters.positive("n")), (Some(-1), None));
            assert_eq!(parameters.number("d"), None, "no whole number: the default");
            assert_eq!(parameters.text("z"), None);
        }
    }

    #[test]
    fn what_is_no_json_object_says_so() {
        for body in [&b""[..], b"{", b"[1]", b"null"] {
            let request = TestRequest::default().to_http_request();
            assert!(Parameters::of_json(&request, body).is_err());
        }
    }
}
