//! Triton's three addresses beside the server's own, and who decides which models are loaded.

use std::net::SocketAddr;

use super::{Address, Endpoint, GrpcService, GrpcSite, MAX_BODY_SIZE, Settings};

/// The largest body that Triton takes by default, in bytes.
const MAX_REQUEST: usize = 64 << 20;

/// The largest answer that Triton's clients take over gRPC; over HTTP it knows no bound.
const MAX_ANSWER: usize = i32::MAX as usize;

/// The server as clients and scripts of Triton expect it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Triton {
    /// Whether the log tells of models and addresses in Triton's form too.
    pub told: bool,
    /// Where the Open Inference Protocol answers over HTTP, as everything that is not management.
    pub http: Option<Endpoint>,
    /// Where the figures answer.
    pub metrics: Option<Endpoint>,
    /// The largest body of a request on its addresses, in bytes.
    pub max_request_size: usize,
    /// The largest body of an answer.
    pub max_response_size: usize,
}

/// Who decides which models are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelControl {
    /// The start alone, and TorchServe's management.
    #[default]
    None,
    /// Clients of the Open Inference Protocol too.
    Explicit,
}

/// An address that may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Triton's own where there is `triton`, else none.
    #[default]
    Usual,
    /// None.
    Off,
    /// This one.
    At(Endpoint),
}

/// What is asked for, key by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct TritonDraft {
    pub(crate) enabled: bool,
    pub(crate) http: Place,
    pub(crate) grpc: Place,
    pub(crate) metrics: Place,
}

impl Place {
    fn endpoint(&self, enabled: bool, port: u16) -> Option<Endpoint> {
        match self {
            Self::Usual if enabled => {
                let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
                Some(Endpoint { address, tls: false })
            }
            Self::Usual | Self::Off => None,
            Self::At(endpoint) => Some(endpoint.clone()),
        }
    }
}

impl TritonDraft {
    /// Adds the addresses to the settings.
    pub(crate) fn finish(&self, settings: &mut Settings) {
        let http = self.http.endpoint(self.enabled, 8000);
        let metrics = self.metrics.endpoint(self.enabled, 8002);
        // Whoever set a size meant it for every address.
        let size = |set: usize, usual| if set == MAX_BODY_SIZE { usual } else { set };
        let max_request_size = size(settings.max_request_size, MAX_REQUEST);
        let max_response_size = size(settings.max_response_size, MAX_ANSWER);
        let grpc = self.grpc.endpoint(self.enabled, 8001);
        let told = self.enabled || http.is_some() || grpc.is_some() || metrics.is_some();
        settings.triton = Triton { told, http, metrics, max_request_size, max_response_size };
        if let Some(endpoint) = grpc {
            let services = vec![GrpcService::OpenInference];
            settings.grpc.push(GrpcSite::new(endpoint, services, GRPC_KEY));
        }
    }
}

/// The key of Triton's address for gRPC.
pub(crate) const GRPC_KEY: &str = "triton_grpc_address";

impl Settings {
    /// Whether clients of the Open Inference Protocol may load and unload models.
    pub(crate) fn explicit_control(&self) -> bool {
        self.model_control == ModelControl::Explicit || self.access.model_api
    }

    /// The same settings for Triton's addresses: with the sizes of bodies that its clients expect.
    pub(crate) fn for_triton(&self) -> Self {
        let Triton { max_request_size, max_response_size, .. } = self.triton;
        Self { max_request_size, max_response_size, ..self.clone() }
    }
}
