//! A client of gRPC for the tests, which block.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use mar_proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use mar_proto::torchserve::inference::inference_ap_is_service_client::InferenceApIsServiceClient;
use mar_proto::torchserve::management::management_ap_is_service_client::ManagementApIsServiceClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// No answer takes so long, unless it never comes.
const LONGEST: Duration = Duration::from_mins(1);

/// A connection, and what drives it.
pub(crate) struct Client {
    runtime: Runtime,
    pub(crate) channel: Channel,
}

pub(crate) type Oip = GrpcInferenceServiceClient<Channel>;
pub(crate) type Predictions = InferenceApIsServiceClient<Channel>;
pub(crate) type Management = ManagementApIsServiceClient<Channel>;

/// A client of the Open Inference Protocol over a connection of its own.
pub(crate) async fn connected(address: SocketAddr) -> Oip {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    Oip::new(endpoint.connect().await.unwrap())
}

impl Client {
    pub(crate) fn of(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, channel }
    }

    pub(crate) fn oip(&self) -> Oip {
        Oip::new(self.channel.clone())
    }

    pub(crate) fn predictions(&self) -> Predictions {
        Predictions::new(self.channel.clone())
    }

    pub(crate) fn management(&self) -> Management {
        Management::new(self.channel.clone())
    }

    /// Waits for something, which has to come.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(LONGEST, work).await.unwrap() })
    }

    /// Waits for an answer's message, or the code and the message of a failure.
    pub(crate) fn ask<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, (Code, String)> {
        let answer = self.wait(call).map(Response::into_inner);
        answer.map_err(|status| (status.code(), status.message().to_owned()))
    }
}
