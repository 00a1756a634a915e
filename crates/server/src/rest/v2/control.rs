//! What clients change over HTTP: which models are loaded, what is logged and traced. What changes something
//! needs the management key; see `rest/surface.rs`.

use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use mar_engine::{Error, ErrorCode};
use mar_oip::{LogChanges, Parameter, Parameters, Quoted};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{body, error};
use crate::rest::Shared;
use crate::rest::common::ModelName;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    Index,
    Load(String),
    Unload(String),
    /// Any of them, of a repository with a name.
    NamedRepository,
    Log,
    /// Of one model, or of all.
    Trace(Option<String>),
}

/// Which entries of the index are wanted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct IndexRequest {
    ready: bool,
}

/// What a load or an unload says beside the model's name.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ControlRequest {
    parameters: Map<String, Value>,
}

#[derive(Serialize)]
struct Loaded<'a> {
    name: &'a str,
    load: bool,
}

#[derive(Serialize)]
struct Unloaded<'a> {
    name: &'a str,
    unload: bool,
}

impl Call {
    /// What a path below `/v2` asks for; `None` where it is nothing of this kind.
    pub(super) fn of(segments: &[&str]) -> Option<Self> {
        Some(match *segments {
            ["repository", "index"] => Self::Index,
            ["repository", "models", model, "load"] => Self::Load(model.to_owned()),
            ["repository", "models", model, "unload"] => Self::Unload(model.to_owned()),
            ["repository", _, "index"] | ["repository", _, "models", _, "load" | "unload"] => {
                Self::NamedRepository
            }
            ["logging"] => Self::Log,
            ["trace", "setting"] => Self::Trace(None),
            ["models", model, "trace", "setting"] => Self::Trace(Some(model.to_owned())),
            _ => return None,
        })
    }

    /// The methods that it is asked with, as the header `Allow` has them.
    pub(super) fn allow(&self) -> &'static str {
        match self {
            Self::Log | Self::Trace(_) => "GET, POST",
            _ => "POST",
        }
    }
}

/// Answers it.
pub(super) async fn answer(
    shared: &Shared,
    call: Call,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    if *request.method() == Method::GET {
        let told = match call {
            Call::Trace(model) => {
                let told = shared.oip.trace_settings(model.as_deref());
                told.map(|told| HttpResponse::Ok().json(told))
            }
            _ => Ok(HttpResponse::Ok().json(shared.oip.log_settings())),
        };
        return told.unwrap_or_else(|failure| error::response(&failure));
    }
    let body = match body::whole(request, payload, shared.settings.max_request_size, 0).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let done = match call {
        Call::Index => index(shared, &body).await,
        Call::Load(model) => load(shared, request, &model, &body).await,
        Call::Unload(model) => unload(shared, request, &model, &body).await,
        Call::NamedRepository => Err(Error::new(
            ErrorCode::Unsupported,
            "repositories have no names here; leave the name out of the path",
        )),
        Call::Log => log(shared, &body),
        Call::Trace(model) => trace(shared, model.as_deref(), &body),
    };
    done.unwrap_or_else(|failure| error::response(&failure))
}

async fn index(shared: &Shared, body: &[u8]) -> mar_engine::Result<HttpResponse> {
    let IndexRequest { ready } = parsed(body)?;
    Ok(HttpResponse::Ok().json(shared.oip.index(ready).await?))
}

async fn load(
    shared: &Shared,
    request: &HttpRequest,
    name: &str,
    body: &[u8],
) -> mar_engine::Result<HttpResponse> {
    let parameters = parameters(body)?;
    shared.oip.load(name, &parameters).await?;
    named(request, name);
    Ok(HttpResponse::Ok().json(Loaded { name, load: true }))
}

async fn unload(
    shared: &Shared,
    request: &HttpRequest,
    name: &str,
    body: &[u8],
) -> mar_engine::Result<HttpResponse> {
    let parameters = parameters(body)?;
    shared.oip.unload(name, &parameters).await?;
    named(request, name);
    Ok(HttpResponse::Ok().json(Unloaded { name, unload: true }))
}

/// The log's line has the model.
fn named(request: &HttpRequest, name: &str) {
    request.extensions_mut().insert(ModelName(name.to_owned()));
}

fn log(shared: &Shared, body: &[u8]) -> mar_engine::Result<HttpResponse> {
    let changes: LogChanges = parsed(body)?;
    Ok(HttpResponse::Ok().json(shared.oip.set_log_settings(&changes)?))
}

fn trace(shared: &Shared, model: Option<&str>, body: &[u8]) -> mar_engine::Result<HttpResponse> {
    let settings: Map<String, Value> = parsed(body)?;
    let changes = settings.iter().map(|(name, value)| Ok((name.as_str(), values(name, value)?)));
    let changes: Vec<(&str, Vec<String>)> = changes.collect::<mar_engine::Result<_>>()?;
    let changes = changes.iter().map(|(name, values)| (*name, values.as_slice()));
    Ok(HttpResponse::Ok().json(shared.oip.set_trace_settings(model, changes)?))
}

/// A trace setting's values: none where it is to be put back.
fn values(name: &str, value: &Value) -> mar_engine::Result<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let values = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        value => one(value).map(|value| vec![value]),
    };
    values.ok_or_else(|| {
        let name = Quoted(name);
        Error::invalid_input(format!("{name} is neither a string nor a list of strings nor null"))
    })
}

/// The parameters of a load or an unload.
fn parameters(body: &[u8]) -> mar_engine::Result<Parameters> {
    let ControlRequest { parameters } = parsed(body)?;
    let parameter = |(name, value): (String, Value)| {
        let value = match &value {
            Value::Bool(value) => Parameter::Bool(*value),
            Value::String(text) => Parameter::Text(text.clone()),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Parameter::Int(number),
                (None, Some(number)) => Parameter::UInt(number),
                (None, None) => Parameter::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(Error::invalid_input(format!(
                    "parameter {} is neither a string nor a number nor a boolean",
                    Quoted(&name)
                )));
            }
        };
        Ok((name, value))
    };
    parameters.into_iter().map(parameter).collect()
}

/// A body of JSON, which may be left out.
fn parsed<T: DeserializeOwned + Default>(body: &[u8]) -> mar_engine::Result<T> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    object(body)
}

/// A body that is an object of JSON.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> mar_engine::Result<T> {
    // An object first: to serde a list is one as well.
    let object = serde_json::from_slice::<Map<String, Value>>(body);
    object.and_then(|object| T::deserialize(Value::Object(object))).map_err(|reason| {
        // The reason repeats what a client wrote.
        let reason: String = reason.to_string().chars().take(200).collect();
        Error::invalid_input(format!("the body is not the JSON that is wanted here: {reason}"))
    })
}

/// A number for each kind of call, for the test of what is described. That repositories have no names is not.
#[cfg(test)]
pub(super) fn kind(call: &Call) -> usize {
    match call {
        Call::Index => 0,
        Call::Load(_) => 1,
        Call::Unload(_) => 2,
        Call::Log => 3,
        Call::Trace(_) => 4,
        Call::NamedRepository => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ask_for_the_repository_the_log_or_traces() {
        let of = |path: &str| Call::of(&path.split('/').collect::<Vec<_>>());
        for (asked, call) in [
            ("repository/index", Call::Index),
            ("repository/models/m/load", Call::Load("m".into())),
            ("repository/models/m/unload", Call::Unload("m".into())),
            ("repository/other/index", Call::NamedRepository),
            ("repository/other/models/m/load", Call::NamedRepository),
            ("logging", Call::Log),
            ("trace/setting", Call::Trace(None)),
            ("models/m/trace/setting", Call::Trace(Some("m".into()))),
        ] {
            assert_eq!(of(asked), Some(call), "{asked}");
        }
        for nowhere in ["repository", "repository/models/m", "logging/x", "trace", "models/m/trace"]
        {
            assert_eq!(of(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn a_body_may_be_left_out_and_says_what_is_wrong_with_it() {
        assert!(parameters(b"").unwrap().is_empty());
        assert!(parameters(b" {} ").unwrap().is_empty());
        let read = parameters(br#"{"parameters": {"a": "x", "b": true, "c": -1, "d": 18446744073709551615, "e": 0.5}}"#);
        let read: Vec<Parameter> = read.unwrap().into_values().collect();
        let expected = [
            Parameter::Text("x".into()),
            Parameter::Bool(true),
            Parameter::Int(-1),
            Parameter::UInt(u64::MAX),
            Parameter::Double(0.5),
        ];
        assert_eq!(read, expected);
        for (body, words) in [
            (&b"{"[..], "EOF"),
            (b"[]", "the JSON that is wanted"),
            (br#"{"parameters": {"a": [1]}}"#, "parameter \"a\""),
            (br#"{"parameters": 1}"#, "invalid type"),
        ] {
            let error = parameters(body).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn a_trace_settings_value_may_be_one_several_or_none() {
        let read = |text: &str| values("trace_level", &serde_json::from_str(text).unwrap());
        assert_eq!(read("null").unwrap(), Vec::<String>::new());
        assert_eq!(read("\"OFF\"").unwrap(), ["OFF"]);
        assert_eq!(read("[\"OFF\", 1]").unwrap(), ["OFF", "1"]);
        assert!(read("{}").unwrap_err().message().contains("trace_level"));
    }
}
