//! KServe's first protocol and TensorFlow Serving's over tensors: `{"inputs": ...}` by columns for every model,
//! `{"instances": [...]}` by rows for a network that has no handler of its own.

use actix_web::HttpResponse;
use bytes::Bytes;
use mar_engine::{Error, ModelVersion};
use mar_oip::{InferRequest, decode_predict, encode_predict};

use super::common::apart;
use super::predictions::{Asked, too_long};

/// Answers it past any handler.
pub(super) async fn predict(
    asked: &Asked<'_>,
    version: &ModelVersion,
    body: Bytes,
) -> Result<HttpResponse, HttpResponse> {
    answered(asked, version, body).await.map_err(|error| asked.refused(&error))
}

async fn answered(
    asked: &Asked<'_>,
    version: &ModelVersion,
    body: Bytes,
) -> Result<HttpResponse, Error> {
    let most = asked.shared.settings.max_response_size;
    let interface = version.interface().cloned().unwrap_or_default();
    let (request, form) = apart(move || decode_predict(&body, &interface)).await?;
    let request = InferRequest {
        request_id: asked.id.to_owned(),
        // It is in what is said of the inputs, and in no answer of this protocol.
        id: Some(asked.id.to_owned()),
        model: asked.model.to_owned(),
        version: asked.version.map(str::to_owned),
        max_response_bytes: Some(most),
        ..request
    };
    let response = asked.shared.oip.infer(asked.admission, request).await?;
    let timing = response.timing;
    let body = apart(move || encode_predict(&response, form)).await?;
    if body.len() > most {
        return Err(too_long(most));
    }
    let mut response = HttpResponse::Ok().content_type("application/json").body(body);
    response.extensions_mut().insert(timing);
    Ok(response)
}
