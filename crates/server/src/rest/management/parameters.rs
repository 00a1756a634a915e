//! Parameters as TorchServe reads them: from the query or from JSON, and where a number does not parse, the
//! default.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names and values; the last of several of one name counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Those of a query string.
    pub(super) fn of_query(query: &str) -> Self {
        Self(serde_urlencoded::from_str(query).unwrap_or_default())
    }

    /// The members of a JSON object.
    ///
    /// # Errors
    /// Where it is none, in words.
    pub(super) fn of_json(body: &[u8]) -> Result<Self, String> {
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
        Ok(Self(members.into_iter().filter_map(|(key, value)| Some((key, text(value)?))).collect()))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number; `None` where it is missing, or does not parse, which is logged.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let text = self.text(name)?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            log::warn!("{name} is {text:?}, which is no whole number; its default is taken");
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
    use super::*;

    #[test]
    fn a_query_and_json_are_read_alike() {
        let query =
            Parameters::of_query("url=a%20b.mar&batch_size=4&synchronous=TRUE&x=&n=-1&d=1.5");
        let json = Parameters::of_json(
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
            assert!(Parameters::of_json(body).is_err());
        }
    }
}
