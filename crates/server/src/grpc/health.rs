//! The health service: whether the server is ready, told to whoever asks or watches.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use mar_engine::Engine;
use mar_oip::Readiness;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{oip, torchserve};
use crate::rest::Shared;

/// The service's name.
pub(super) const NAME: &str = "grpc.health.v1.Health";

/// How soon one who watches is told of a change.
const PERIOD: Duration = Duration::from_millis(200);

/// The service of one address.
pub(super) fn service(shared: &Shared) -> HealthServer<impl Health> {
    HealthServer::new(Probe { engine: Arc::clone(&shared.engine) })
}

#[derive(Clone, Debug)]
struct Probe {
    engine: Arc<Engine>,
}

impl Probe {
    fn status(&self) -> ServingStatus {
        if Readiness::of(&self.engine).is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

/// Whether the server has such a service; `""` is the whole of it.
fn is_known(service: &str) -> bool {
    ["", NAME, oip::NAME, torchserve::INFERENCE, torchserve::MANAGEMENT].contains(&service)
}

#[tonic::async_trait]
impl Health for Probe {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !is_known(&service) {
            return Err(Status::not_found(format!("there is no service \"{service}\"")));
        }
        Ok(Response::new(told(self.status())))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// The status now, and each time that it changes. What is not known may come to be, as gRPC has it.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = is_known(&request.into_inner().service);
        let changes = unfold((self.clone(), None), move |(probe, last)| async move {
            loop {
                let now = if known { probe.status() } else { ServingStatus::ServiceUnknown };
                if Some(now) != last {
                    return Some((Ok(told(now)), (probe, Some(now))));
                }
                tokio::time::sleep(PERIOD).await;
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}
