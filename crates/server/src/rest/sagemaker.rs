//! SageMaker's `/invocations`: which model is meant where the path does not say.
//!
//! `/models/{model}/invoke`, the way of multi-model endpoints, names it and needs nothing of this.

use std::borrow::Cow;

use actix_web::HttpRequest;
use mar_engine::{Engine, Error, ModelEntry, Part};
use serde::Deserialize;

use super::body;

/// The parameter, form field or member that names the model.
const MODEL_NAME: &str = "model_name";

/// The model that is known before the body is read: the query's, else the only one there is.
pub(super) fn model(engine: &Engine, request: &HttpRequest) -> Option<String> {
    let named = body::query(request).into_iter().rev().find(|part| part.name == MODEL_NAME);
    let named = named.map(|part| String::from_utf8_lossy(&part.data).into_owned());
    named.filter(|name| !name.is_empty()).or_else(|| only_model(engine))
}

/// The model that was loaded when the server started, where it is one alone.
fn only_model(engine: &Engine) -> Option<String> {
    let at_startup = |(_, model): &(String, ModelEntry)| {
        model.versions.iter().any(|version| version.loaded_at_startup())
    };
    let mut models = engine.models().into_iter().filter(at_startup);
    let (name, _) = models.next()?;
    models.next().is_none().then_some(name)
}

/// The model that the body names: a form's field, or a member of a JSON object.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where it names none.
pub(super) fn model_of_body(parts: &[Part]) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        model_name: Cow<'a, str>,
    }
    let field = parts.iter().rev().find(|part| part.name == MODEL_NAME);
    let field = field.map(|part| String::from_utf8_lossy(&part.data).into_owned());
    let member = || {
        let body = body::sole(parts)?;
        let named: Named<'_> = serde_json::from_slice(&body.data).ok()?;
        Some(named.model_name.into_owned())
    };
    field.or_else(member).filter(|name| !name.is_empty()).ok_or_else(no_model)
}

/// Nothing says which model is meant.
pub(super) fn no_model() -> Error {
    Error::invalid_input(
        "model_name is required, as not exactly one model was loaded at start-up; add ?model_name=NAME to the path, or a form field or JSON member of that name",
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn part(name: &str, data: &'static str) -> Part {
        Part { name: name.into(), content_type: None, data: Bytes::from_static(data.as_bytes()) }
    }

    #[test]
    fn a_field_or_a_member_names_the_model() {
        let form = [part("model_name", "first"), part("data", "x"), part("model_name", "last")];
        assert_eq!(model_of_body(&form).unwrap(), "last");
        let json = [part("body", r#"{"data": 1, "model_name": "a\"b"}"#)];
        assert_eq!(model_of_body(&json).unwrap(), "a\"b");
    }

    #[test]
    fn a_body_that_names_none_is_told_how() {
        for body in ["", "\u{1}raw", "[1]", r#"{"model_name": 5}"#, r#"{"model_name": ""}"#] {
            let error = model_of_body(&[part("body", body)]).unwrap_err();
            assert!(error.message().starts_with("model_name is required"), "{body}: {error}");
        }
    }
}
