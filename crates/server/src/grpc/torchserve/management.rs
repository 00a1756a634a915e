//! Management: which models there are, and who may come, grow and go. The sentences are REST's.

use mar_engine::{Error, ErrorCode};
use mar_proto::torchserve::management::management_ap_is_service_server::{
    ManagementApIsService, ManagementApIsServiceServer,
};
use mar_proto::torchserve::management::{
    DescribeModelRequest, ListModelsRequest, ManagementResponse, RegisterModelRequest,
    ScaleWorkerRequest, SetDefaultRequest, UnregisterModelRequest,
};
use serde::Serialize;
use tonic::{Code, Request, Response, Status};

use crate::fetch::FetchError;
use crate::grpc::call::Call;
use crate::grpc::error::{self, class};
use crate::rest::Shared;
use crate::rest::management::parameters::Parameters;
use crate::rest::management::scale::Scale;
use crate::rest::management::{Answer, Asked, Refused, describe, list, register, scale, versions};

/// The service's name.
pub(in crate::grpc) const NAME: &str = "org.pytorch.serve.grpc.management.ManagementAPIsService";

/// The service of one address.
pub(in crate::grpc) fn service(
    shared: &Shared,
) -> ManagementApIsServiceServer<impl ManagementApIsService> {
    bounded!(ManagementApIsServiceServer::new(Management { shared: shared.clone() }), shared)
}

#[derive(Clone, Debug)]
struct Management {
    shared: Shared,
}

type Answered = Result<Response<ManagementResponse>, Status>;

#[tonic::async_trait]
impl ManagementApIsService for Management {
    async fn describe_model(&self, request: Request<DescribeModelRequest>) -> Answered {
        let call = Call::of(&request)?;
        let DescribeModelRequest { model_name, model_version, customized } = request.into_inner();
        call.is_for(&model_name);
        let version = given(model_version);
        let engine = &self.shared.engine;
        match describe::versions(engine, &model_name, version.as_deref(), customized) {
            Ok(described) => json(&described),
            Err(failure) => Err(error::management(&failure)),
        }
    }

    /// A limit that is not given is 0, and lists none, as TorchServe has it.
    async fn list_models(&self, request: Request<ListModelsRequest>) -> Answered {
        let ListModelsRequest { limit, next_page_token } = request.into_inner();
        let (limit, token) = (Some(limit.into()), Some(next_page_token.into()));
        json(&list::page(&self.shared.engine, limit, token))
    }

    async fn register_model(&self, request: Request<RegisterModelRequest>) -> Answered {
        let call = Call::of(&request)?;
        let asked = asked(&call, "RegisterModel");
        let parameters = parameters(request.into_inner(), &call.id);
        answered(register::registered(&self.shared, &parameters, &asked).await)
    }

    async fn scale_worker(&self, request: Request<ScaleWorkerRequest>) -> Answered {
        let call = Call::of(&request)?;
        let wanted = request.into_inner();
        call.is_for(&wanted.model_name);
        let above_0 = |number: i32| Some(i64::from(number)).filter(|number| *number > 0);
        let wanted = Scale {
            version: given(wanted.model_version),
            // What is not given is 0, so that nobody can ask for none.
            min: above_0(wanted.min_worker).unwrap_or(1),
            max: above_0(wanted.max_worker),
            devices: usize::try_from(wanted.number_gpu).ok().filter(|number| *number > 0),
            synchronous: wanted.synchronous,
            model: wanted.model_name,
        };
        answered(scale::scaled(&self.shared, wanted, &asked(&call, "ScaleWorker")).await)
    }

    async fn set_default(&self, request: Request<SetDefaultRequest>) -> Answered {
        let call = Call::of(&request)?;
        let SetDefaultRequest { model_name, model_version } = request.into_inner();
        call.is_for(&model_name);
        let target = (model_name, model_version);
        answered(versions::default_set(&self.shared, target, &asked(&call, "SetDefault")).await)
    }

    async fn unregister_model(&self, request: Request<UnregisterModelRequest>) -> Answered {
        let call = Call::of(&request)?;
        let UnregisterModelRequest { model_name, model_version } = request.into_inner();
        if model_name.is_empty() {
            // TorchServe's word for it, though it means the model's name.
            return Err(error::torchserve(
                Code::InvalidArgument,
                "Parameter url is required.",
                class::BAD_REQUEST,
            ));
        }
        call.is_for(&model_name);
        let target = (model_name, given(model_version));
        let asked = asked(&call, "UnregisterModel");
        answered(versions::unregistered(&self.shared, target, &asked).await)
    }
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn asked(call: &Call, method: &str) -> Asked {
    Asked { path: method.to_owned(), id: call.id.to_string() }
}

/// A registration's parameters as REST's query has them: those that are given, and a number where it is above 0.
fn parameters(sent: RegisterModelRequest, id: &str) -> Parameters {
    let numbers = [
        ("batch_size", sent.batch_size),
        ("initial_workers", sent.initial_workers),
        ("max_batch_delay", sent.max_batch_delay),
        ("response_timeout", sent.response_timeout),
        ("startup_timeout", sent.startup_timeout),
    ];
    let texts = [
        ("handler", sent.handler),
        ("model_name", sent.model_name),
        ("runtime", sent.runtime),
        ("url", sent.url),
    ];
    let flags = [("synchronous", sent.synchronous), ("s3_sse_kms", sent.s3_sse_kms)];
    let numbers = numbers.into_iter().filter(|(_, number)| *number > 0);
    let numbers = numbers.map(|(name, number)| (name, number.to_string()));
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let flags = flags.map(|(name, flag)| (name, flag.to_string()));
    Parameters::of_pairs(numbers.chain(texts).chain(flags), id)
}

fn answered(done: Result<Answer, Refused>) -> Answered {
    match done {
        Ok((_, msg)) => Ok(Response::new(ManagementResponse { msg })),
        Err(Refused::NotAllowed(message)) => {
            Err(error::torchserve(Code::PermissionDenied, message, class::NOT_ALLOWED))
        }
        Err(Refused::Fetch(failure)) => Err(not_fetched(&failure)),
        Err(Refused::Failed(failure)) => Err(error::management(&failure)),
    }
}

fn not_fetched(failure: &FetchError) -> Status {
    let (code, class) = match failure {
        FetchError::NotFound(_) => (Code::NotFound, class::NO_MODEL),
        FetchError::Download { .. } => (Code::InvalidArgument, class::DOWNLOAD),
        FetchError::Exists { .. } | FetchError::Io { .. } => (Code::Internal, class::INTERNAL),
    };
    error::torchserve(code, &failure.to_string(), class)
}

/// The JSON that REST answers with.
fn json(value: &impl Serialize) -> Answered {
    let text = serde_json::to_string_pretty(value).map_err(|failure| {
        error::management(&Error::new(ErrorCode::Internal, failure.to_string()))
    })?;
    Ok(Response::new(ManagementResponse { msg: text }))
}
