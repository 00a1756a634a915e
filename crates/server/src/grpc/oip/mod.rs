//! The Open Inference Protocol's service. What its messages mean is [`mar_oip::Service`]'s business; here they
//! are turned into what that is asked, and back.

mod about;
mod infer;
mod parameters;

use std::sync::Arc;

use futures_util::stream::BoxStream;
use mar_engine::Error;
use mar_oip::{Quoted, Service};
use mar_proto::inference::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use mar_proto::inference::{
    CudaSharedMemoryRegisterRequest, CudaSharedMemoryRegisterResponse,
    CudaSharedMemoryStatusRequest, CudaSharedMemoryStatusResponse,
    CudaSharedMemoryUnregisterRequest, CudaSharedMemoryUnregisterResponse, LogSettingsRequest,
    LogSettingsResponse, ModelConfigRequest, ModelConfigResponse, ModelInferRequest,
    ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse,
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse, SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryRegisterResponse, SystemSharedMemoryStatusRequest,
    SystemSharedMemoryStatusResponse, SystemSharedMemoryUnregisterRequest,
    SystemSharedMemoryUnregisterResponse, TraceSettingRequest, TraceSettingResponse,
};
use tonic::{Request, Response, Status, Streaming};

use super::call::Call;
use super::front::mended;
use super::{error, ordered};
use crate::rest::Shared;

/// The service's name.
pub(super) const NAME: &str = "inference.GRPCInferenceService";

/// A header by which a client asks that the first failure ends a stream, with a status.
const STRICT: &str = "triton_grpc_error";

/// The service of one address.
pub(super) fn service(shared: &Shared) -> GrpcInferenceServiceServer<impl GrpcInferenceService> {
    bounded!(GrpcInferenceServiceServer::new(Protocol { shared: shared.clone() }), shared)
}

#[derive(Clone, Debug)]
struct Protocol {
    shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

/// An answer, or the status of a failure.
fn answer<T>(result: Result<T, Error>) -> Answer<T> {
    result.map(Response::new).map_err(|error| error::oip(&error))
}

/// A version that is named.
fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Protocol {
    fn service(&self) -> &Arc<Service> {
        &self.shared.oip
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Protocol {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.service().server_ready() }))
    }

    /// Not ready, rather than an error, where there is no such model: Triton's clients ask in a loop.
    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let asked = request.into_inner();
        let ready = self.service().model_ready(&asked.name, given(&asked.version));
        Ok(Response::new(ModelReadyResponse { ready: ready.unwrap_or(false) }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(about::server(self.service().server_metadata())))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Answer<ModelMetadataResponse> {
        let asked = request.into_inner();
        let metadata = self.service().model_metadata(&asked.name, given(&asked.version));
        answer(metadata.map(about::model))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let call = Call::of(&request)?;
        let (metadata, _, message) = request.into_parts();
        let admission = self.shared.engine.admit().map_err(|error| error::oip(&error))?;
        call.is_for(&message.model_name);
        infer::answered(&self.shared, &admission, (&call.id, &metadata), message)
            .await
            .map(Response::new)
    }

    type ModelStreamInferStream = BoxStream<'static, Result<ModelStreamInferResponse, Status>>;

    /// Each request's answer or failure, in their order. A failure does not end the stream, unless the client
    /// asks for that, or the server is going down.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let call = Call::of(&request)?;
        let (metadata, _, requests) = request.into_parts();
        let strict = metadata.get(STRICT).is_some_and(|value| value == "true");
        let (shared, metadata) = (self.shared.clone(), Arc::new(metadata));
        let answers =
            ordered::answers(requests, move |message: ModelInferRequest| {
                let (shared, metadata, call) =
                    (shared.clone(), Arc::clone(&metadata), call.clone());
                async move {
                    let admission = match shared.engine.admit() {
                        Ok(admission) => admission,
                        Err(error) => return (Err(error::oip(&error)), None),
                    };
                    call.is_for(&message.model_name);
                    let asked = infer::identity(&message);
                    let answer =
                        match infer::answered(&shared, &admission, (&call.id, &metadata), message)
                            .await
                        {
                            Ok(response) => Ok(infer::in_stream(response)),
                            Err(status) if strict => Err(status),
                            Err(status) => Ok(ModelStreamInferResponse {
                                error_message: mended(status).message().to_owned(),
                                infer_response: Some(asked),
                            }),
                        };
                    (answer, Some(admission))
                }
            });
        Ok(Response::new(answers))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Answer<ModelConfigResponse> {
        let asked = request.into_inner();
        let config = self.service().model_config(&asked.name, given(&asked.version));
        answer(config.map(|config| ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let asked = request.into_inner();
        let statistics = self.service().statistics(given(&asked.name), given(&asked.version));
        answer(statistics.map(about::statistics))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let index = self.service().index(request.into_inner().ready).await;
        answer(index.map(about::index))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let asked = request.into_inner();
        let model_name = about::model_of(asked.repository_name, asked.model_name);
        let parameters = parameters::of_repository(asked.parameters);
        let loaded = self.service().load(&model_name, &parameters).await;
        answer(loaded.map(|()| RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let asked = request.into_inner();
        let model_name = about::model_of(asked.repository_name, asked.model_name);
        let parameters = parameters::of_repository(asked.parameters);
        let unloaded = self.service().unload(&model_name, &parameters).await;
        answer(unloaded.map(|()| RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<SystemSharedMemoryStatusRequest>,
    ) -> Answer<SystemSharedMemoryStatusResponse> {
        let status = self.service().shared_memory().status(given(&request.get_ref().name));
        answer(status.map(about::regions))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Answer<SystemSharedMemoryRegisterResponse> {
        let region = about::region(request.into_inner());
        let memory = Arc::clone(self.service().shared_memory());
        // It opens a file, which may lie anywhere.
        let registered = tokio::task::spawn_blocking(move || memory.register(region)).await;
        let registered = registered.map_err(|_| Status::internal("the request was cut off"))?;
        answer(registered.map(|()| SystemSharedMemoryRegisterResponse {}))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<SystemSharedMemoryUnregisterResponse> {
        self.service().shared_memory().unregister(given(&request.get_ref().name));
        Ok(Response::new(SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Answer<CudaSharedMemoryStatusResponse> {
        Ok(Response::new(CudaSharedMemoryStatusResponse::default()))
    }

    async fn cuda_shared_memory_register(
        &self,
        request: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Answer<CudaSharedMemoryRegisterResponse> {
        Err(Status::unimplemented(format!(
            "region {}: there is no CUDA shared memory; use system shared memory",
            Quoted(&request.get_ref().name)
        )))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<CudaSharedMemoryUnregisterResponse> {
        Ok(Response::new(CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Answer<TraceSettingResponse> {
        let call = Call::of(&request)?;
        let TraceSettingRequest { settings, model_name } = request.into_inner();
        if !settings.is_empty() {
            call.must_manage()?;
        }
        let changes = settings.iter().map(|(name, values)| (name.as_str(), &values.value[..]));
        let settings = self.service().set_trace_settings(given(&model_name), changes);
        answer(settings.map(about::trace))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Answer<LogSettingsResponse> {
        let call = Call::of(&request)?;
        let LogSettingsRequest { settings } = request.into_inner();
        if settings.is_empty() {
            return Ok(Response::new(about::log(self.service().log_settings())));
        }
        call.must_manage()?;
        let changed =
            about::log_changes(settings).and_then(|it| self.service().set_log_settings(&it));
        answer(changed.map(about::log))
    }
}
