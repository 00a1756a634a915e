//! Options of runtimes, which come as texts from Triton's configuration and as values from an archive's.

use std::borrow::Cow;

use mar_handler::{Error, Result};
use serde_json::Value;

/// A text, number or boolean as it is written.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) for a list or a mapping.
pub(crate) fn text<'a>(name: &str, value: &'a Value) -> Result<Cow<'a, str>> {
    match value {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Ok(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Error::invalid_model(format!("{name} has to be a text, a number or a boolean")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        for (value, read) in [(json!("2"), "2"), (json!(2), "2"), (json!(true), "true")] {
            assert_eq!(text("x", &value).unwrap(), read);
        }
        for value in [json!(null), json!([1]), json!({})] {
            assert!(text("threads", &value).unwrap_err().message().starts_with("threads has"));
        }
    }
}
