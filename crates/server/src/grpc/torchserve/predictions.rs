//! Predictions: a form's parts in, the body of the handler's response out.

use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, once};
use mar_engine::{Admission, Error, ErrorCode, Part, Request as Asked};
use mar_proto::google::rpc::{ErrorInfo, Status as ItemStatus};
use mar_proto::torchserve::inference::inference_ap_is_service_server::{
    InferenceApIsService, InferenceApIsServiceServer,
};
use mar_proto::torchserve::inference::{
    PredictionResponse, PredictionsRequest, TorchServeHealthResponse,
};
use prost::Message;
use prost_types::Any;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::grpc::call::Call;
use crate::grpc::error::{self, class};
use crate::grpc::{headers, ordered};
use crate::rest::{Shared, health};

/// The service's name.
pub(in crate::grpc) const NAME: &str = "org.pytorch.serve.grpc.inference.InferenceAPIsService";

/// The service of one address.
pub(in crate::grpc) fn service(
    shared: &Shared,
) -> InferenceApIsServiceServer<impl InferenceApIsService> {
    bounded!(InferenceApIsServiceServer::new(Predictions { shared: shared.clone() }), shared)
}

#[derive(Clone, Debug)]
struct Predictions {
    shared: Shared,
}

type Responses = BoxStream<'static, Result<PredictionResponse, Status>>;

#[tonic::async_trait]
impl InferenceApIsService for Predictions {
    async fn ping(&self, _: Request<()>) -> Result<Response<TorchServeHealthResponse>, Status> {
        let health = serde_json::to_string_pretty(&health::health(&self.shared.engine));
        let health = health.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(TorchServeHealthResponse { health }))
    }

    async fn predictions(
        &self,
        request: Request<PredictionsRequest>,
    ) -> Result<Response<PredictionResponse>, Status> {
        let call = Call::of(&request)?;
        let (metadata, _, message) = request.into_parts();
        let admission = self.admitted()?;
        self.predicted(&admission, (&call, &metadata), message).await.map(Response::new)
    }

    type StreamPredictionsStream = Responses;

    /// The one response that a handler gives, as a stream.
    async fn stream_predictions(
        &self,
        request: Request<PredictionsRequest>,
    ) -> Result<Response<Responses>, Status> {
        let call = Call::of(&request)?;
        let (metadata, _, message) = request.into_parts();
        let admission = self.admitted()?;
        let response = self.predicted(&admission, (&call, &metadata), message).await?;
        Ok(Response::new(once(async { Ok(response) }).boxed()))
    }

    type StreamPredictions2Stream = Responses;

    /// The response to each request, in their order. A request that fails has its failure in the response.
    async fn stream_predictions2(
        &self,
        request: Request<Streaming<PredictionsRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let call = Call::of(&request)?;
        let (metadata, _, requests) = request.into_parts();
        let (predictions, metadata) = (self.clone(), Arc::new(metadata));
        let answers = ordered::answers(requests, move |message: PredictionsRequest| {
            let (predictions, metadata) = (predictions.clone(), Arc::clone(&metadata));
            let call = call.clone();
            async move {
                let admission = match predictions.admitted() {
                    Ok(admission) => admission,
                    Err(status) => return (Err(status), None),
                };
                let sequence_id = message.sequence_id.clone();
                let answered = predictions.predicted(&admission, (&call, &metadata), message).await;
                let response = answered.unwrap_or_else(|status| PredictionResponse {
                    status: Some(in_item(&status)),
                    ..PredictionResponse::default()
                });
                (Ok(PredictionResponse { sequence_id, ..response }), Some(admission))
            }
        });
        Ok(Response::new(answers))
    }
}

impl Predictions {
    fn admitted(&self) -> Result<Admission, Status> {
        self.shared.engine.admit().map_err(|_| going_down())
    }

    async fn predicted(
        &self,
        admission: &Admission,
        (call, metadata): (&Call, &MetadataMap),
        message: PredictionsRequest,
    ) -> Result<PredictionResponse, Status> {
        let PredictionsRequest { model_name, model_version, input, sequence_id } = message;
        let Shared { engine, settings, .. } = &self.shared;
        call.is_for(&model_name);
        if model_name.is_empty() {
            let message = "Parameter model_name is required.";
            return Err(error::torchserve(
                tonic::Code::Internal,
                message,
                "BadRequestException.()",
            ));
        }
        let part = |(name, data)| Part { name, content_type: None, data };
        let mut parts: Vec<Part> = input.into_iter().map(part).collect();
        // A map comes in no order; handlers are told the same one every time.
        parts.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let asked = Asked {
            id: call.id.to_string(),
            headers: headers(metadata),
            parts,
            max_response_bytes: Some(settings.max_response_size),
            ..Asked::default()
        };
        let version = Some(model_version.as_str()).filter(|version| !version.is_empty());
        let answered = engine.predict(admission, &model_name, version, asked).await;
        let response =
            answered.map_err(|failure| self.failed(&failure, &model_name, call))?.response;
        if let Some(code) = error::of_http(response.status) {
            let body = String::from_utf8_lossy(&response.body);
            return Err(error::torchserve(code, &body, class::INTERNAL));
        }
        let answer = PredictionResponse { prediction: response.body, sequence_id, status: None };
        let (bytes, limit) = (answer.encoded_len(), settings.max_response_size);
        if bytes > limit {
            return Err(error::too_long(bytes, limit));
        }
        Ok(answer)
    }

    fn failed(&self, failure: &Error, model: &str, call: &Call) -> Status {
        crate::rest::error::log_failure(failure, model, &call.id);
        if failure.code() == ErrorCode::Unavailable && self.shared.engine.is_draining() {
            return going_down();
        }
        error::prediction(failure)
    }
}

/// What clients and load balancers try elsewhere.
fn going_down() -> Status {
    error::torchserve(tonic::Code::Unavailable, "the server is shutting down", class::UNAVAILABLE)
}

/// A failure inside a response, as TorchServe writes it there.
fn in_item(status: &Status) -> ItemStatus {
    let (message, reason) = status.message().rsplit_once('\n').unwrap_or((status.message(), ""));
    let reason = ErrorInfo { reason: reason.to_owned(), ..ErrorInfo::default() };
    ItemStatus {
        code: i32::from(status.code()),
        message: message.to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: reason.encode_to_vec(),
        }],
    }
}
