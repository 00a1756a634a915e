//! A prediction over REST: from the request to the engine, and from the handler's response to the client.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use mar_engine::{Admission, Answered, Error, ErrorCode, Header, Part, Request, Response};

use super::common::{ModelName, RequestId};
use super::inference::{Call, Form};
use super::instances::{self, Holds};
use super::{Shared, body, columns, error, openapi, sagemaker};
use crate::settings::Envelope;

/// Answers a request for a prediction.
pub(super) async fn predict(
    shared: &Shared,
    call: Call,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    admitted(shared, call, request, payload).await.unwrap_or_else(|refused| refused)
}

/// Describes the model that a request means, which `OPTIONS` asks for.
pub(super) fn describe(shared: &Shared, call: &Call, request: &HttpRequest) -> HttpResponse {
    let Some(model) = call.model.clone().or_else(|| sagemaker::model(&shared.engine, request))
    else {
        return error::response(&sagemaker::no_model());
    };
    match shared.engine.version(&model, call.version.as_deref()) {
        Ok(version) => openapi::model(version.name(), version.version()),
        Err(error) => error::response(&error),
    }
}

/// An admitted request whose model is known and there.
pub(super) struct Asked<'a> {
    pub(super) shared: &'a Shared,
    pub(super) admission: &'a Admission,
    pub(super) model: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) id: &'a str,
    pub(super) url_path: &'a str,
    /// The query's parameters.
    pub(super) query: Vec<(String, String)>,
    /// Inputs that come from the query.
    pub(super) query_parts: Vec<Part>,
}

impl Asked<'_> {
    /// What the engine makes of these inputs, which come after the query's.
    pub(super) async fn answered(
        &self,
        headers: Vec<Header>,
        parts: Vec<Part>,
    ) -> Result<Answered, Error> {
        let mut inputs = self.query_parts.clone();
        inputs.extend(parts);
        let request = Request {
            id: self.id.to_owned(),
            url_path: self.url_path.to_owned(),
            headers,
            query: self.query.clone(),
            parts: inputs,
            max_response_bytes: Some(self.shared.settings.max_response_size),
            ..Request::default()
        };
        self.shared.engine.predict(self.admission, self.model, self.version, request).await
    }

    /// The answer to a failure, which the log hears of too.
    pub(super) fn refused(&self, error: &Error) -> HttpResponse {
        error::log_failure(error, self.model, self.id);
        error::response(error)
    }
}

async fn admitted(
    shared: &Shared,
    call: Call,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, HttpResponse> {
    let Call { model, version, url_path, form } = call;
    let engine = &shared.engine;
    let id = RequestId::of(request);
    let model = model.or_else(|| sagemaker::model(engine, request));
    let refused = |error: Error| {
        error::log_failure(&error, model.as_deref().unwrap_or("no model"), &id);
        error::response(&error)
    };
    let admission = engine.admit().map_err(refused)?;
    let there = |model: &str| engine.version(model, version.as_deref());
    // Before the body is read: a model that is not there costs no upload.
    if let Some(model) = &model {
        there(model).map_err(refused)?;
    }
    if form.explains() {
        return Err(refused(Error::new(
            ErrorCode::Unsupported,
            "explanations are computed by Captum, which needs Python; ask for the prediction instead",
        )));
    }
    let parts = body::parts(request, payload, shared.settings.max_request_size).await?;
    let model = match &model {
        Some(model) => model.clone(),
        None => sagemaker::model_of_body(&parts).map_err(refused)?,
    };
    let version_there = there(&model).map_err(refused)?;
    request.extensions_mut().insert(ModelName(model.clone()));
    let asked = Asked {
        shared,
        admission: &admission,
        model: &model,
        version: version.as_deref(),
        id: &id,
        url_path: &url_path,
        query: body::parameters(request),
        query_parts: if form.takes_query() { body::query(request) } else { Vec::new() },
    };
    let headers = headers(request, form, &url_path);
    let may_hold_many = form == Form::KServe || shared.settings.envelope == Envelope::Instances;
    if let Some(whole) = body::sole(&parts).filter(|_| may_hold_many) {
        // A network that came without a handler takes both forms as tensors.
        let is_network = version_there.network().is_some();
        let holds = if is_network { Ok(Holds::of_network(whole)) } else { Holds::of(whole) };
        match holds.map_err(|error| asked.refused(&error))? {
            Holds::Columns => {
                return columns::predict(&asked, &version_there, whole.data.clone()).await;
            }
            Holds::Instances(instances) => {
                return instances::predict(&asked, &headers, &instances).await;
            }
            Holds::Anything => {}
        }
    }
    let answered = asked.answered(headers, parts).await.map_err(|error| asked.refused(&error))?;
    let timing = answered.timing;
    let mut response = answer(answered.response, shared.settings.max_response_size)
        .map_err(|error| asked.refused(&error))?;
    response.extensions_mut().insert(timing);
    Ok(response)
}

/// The client's headers, of each name the last; then those that TorchServe adds for the handler.
fn headers(request: &HttpRequest, form: Form, url_path: &str) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    let mut set = |name: &str, value: String| {
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), value));
    };
    for (name, value) in request.headers() {
        set(name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    if matches!(form, Form::Predictions | Form::KServe) {
        set("explain", "False".into());
    }
    if form == Form::Predictions {
        set("url_path", url_path.to_owned());
    }
    headers
}

/// A handler's response; no content type where the handler gave none.
fn answer(response: Response, limit: usize) -> Result<HttpResponse, Error> {
    let fault = |message: String| Error::new(ErrorCode::Internal, message);
    if response.body.len() > limit {
        return Err(too_long(limit));
    }
    let status = StatusCode::from_u16(response.status).ok().filter(|s| !s.is_informational());
    let status = status.ok_or_else(|| {
        fault(format!("the handler answered with {}, which is no status", response.status))
    })?;
    let mut answer = HttpResponse::new(status);
    let typed = response.content_type.map(|value| (CONTENT_TYPE.to_string(), value));
    for (name, value) in response.headers.into_iter().chain(typed) {
        let (Ok(key), Ok(text)) = (HeaderName::try_from(&name), HeaderValue::try_from(&value))
        else {
            return Err(fault(format!(
                "the handler set the header {name:?} to {value:?}, which HTTP cannot carry"
            )));
        };
        // There is one type, and the response's own comes last.
        if key == CONTENT_TYPE {
            answer.headers_mut().insert(key, text);
        } else {
            answer.headers_mut().append(key, text);
        }
    }
    // These two have no body, whatever the handler made; bytes after them would be taken for the next answer.
    let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(if bare { answer } else { answer.set_body(response.body).map_into_boxed_body() })
}

/// The answer would be larger than the server sends.
pub(super) fn too_long(limit: usize) -> Error {
    Error::new(
        ErrorCode::Internal,
        format!("the answer is larger than max_response_size, which is {limit} bytes"),
    )
}
