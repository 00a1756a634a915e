//! The addresses that answer gRPC, and what each of them offers.

use std::net::ToSocketAddrs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Address, Endpoint};

/// TorchServe's port for predictions.
pub(super) const INFERENCE_PORT: u16 = 7070;

/// TorchServe's port for management.
pub(super) const MANAGEMENT_PORT: u16 = 7071;

/// An address that answers gRPC. Health and reflection are at each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcSite {
    /// Where.
    pub endpoint: Endpoint,
    /// What it offers beside them.
    pub services: Vec<GrpcService>,
    /// After how long a connection is asked to end, once its calls have; never where `None`.
    pub max_connection_age: Option<Duration>,
    /// How long calls may go on then; as long as they take where `None`.
    pub max_connection_age_grace: Option<Duration>,
    /// The key that chooses the address, for messages about it.
    pub key: &'static str,
}

/// A service of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcService {
    /// TorchServe's `InferenceAPIsService`.
    Predictions,
    /// TorchServe's `ManagementAPIsService`.
    Management,
    /// The Open Inference Protocol's `GRPCInferenceService`.
    OpenInference,
}

impl GrpcSite {
    /// What TorchServe has on the port of its predictions, and the Open Inference Protocol.
    pub fn inference(endpoint: Endpoint) -> Self {
        let services = vec![GrpcService::Predictions, GrpcService::OpenInference];
        Self::new(endpoint, services, "grpc_inference_port")
    }

    /// What TorchServe has on the port of its management.
    pub fn management(endpoint: Endpoint) -> Self {
        Self::new(endpoint, vec![GrpcService::Management], "grpc_management_port")
    }

    /// Some services at an address that this key chooses, whose connections stay as long as clients want.
    pub fn new(endpoint: Endpoint, services: Vec<GrpcService>, key: &'static str) -> Self {
        Self { endpoint, services, max_connection_age: None, max_connection_age_grace: None, key }
    }
}

/// gRPC as the keys ask for it.
#[derive(Clone, Debug)]
pub(crate) struct GrpcDraft {
    pub(crate) enabled: bool,
    pub(crate) tls: bool,
    pub(crate) inference: PortDraft,
    pub(crate) management: PortDraft,
}

/// One of the two addresses.
#[derive(Clone, Debug)]
pub(crate) struct PortDraft {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) max_connection_age: Option<Duration>,
    pub(crate) max_connection_age_grace: Option<Duration>,
}

impl Default for GrpcDraft {
    fn default() -> Self {
        let local = |port| PortDraft {
            host: "127.0.0.1".into(),
            port,
            max_connection_age: None,
            max_connection_age_grace: None,
        };
        Self {
            enabled: true,
            tls: false,
            inference: local(INFERENCE_PORT),
            management: local(MANAGEMENT_PORT),
        }
    }
}

impl GrpcDraft {
    /// The addresses to open; where both are one, it offers everything.
    ///
    /// # Errors
    /// Where a host does not resolve.
    pub(crate) fn sites(&self) -> Result<Vec<GrpcSite>> {
        if !self.enabled {
            return Ok(Vec::new());
        }
        let site = |draft: &PortDraft, site: fn(Endpoint) -> GrpcSite| -> Result<GrpcSite> {
            let address = Address::Tcp(resolve(&draft.host, draft.port)?);
            Ok(GrpcSite {
                max_connection_age: draft.max_connection_age,
                max_connection_age_grace: draft.max_connection_age_grace,
                ..site(Endpoint { address, tls: self.tls })
            })
        };
        let mut inference = site(&self.inference, GrpcSite::inference)?;
        let management = site(&self.management, GrpcSite::management)?;
        // Port 0 is another free one each time.
        if inference.endpoint == management.endpoint && self.inference.port != 0 {
            inference.services.extend(management.services);
            return Ok(vec![inference]);
        }
        Ok(vec![inference, management])
    }
}

/// The address of a host, which may be a name, and a port.
///
/// # Errors
/// Where there is no such host.
pub(crate) fn resolve(host: &str, port: u16) -> Result<std::net::SocketAddr> {
    let no_host = || format!("{host:?} is no host; give a name or an address, without a port");
    let mut found = (host, port).to_socket_addrs().with_context(no_host)?;
    found.next().with_context(no_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_or_one_for_both_or_none() {
        let draft = GrpcDraft::default();
        let sites = draft.sites().unwrap();
        let shown: Vec<_> = sites.iter().map(|site| site.endpoint.to_string()).collect();
        assert_eq!(shown, ["http://127.0.0.1:7070", "http://127.0.0.1:7071"]);

        let mut one = draft.clone();
        one.management.port = 7070;
        let sites = one.sites().unwrap();
        assert_eq!(sites.len(), 1);
        assert!(sites[0].services.contains(&GrpcService::Management));
        assert!(sites[0].services.contains(&GrpcService::Predictions));

        let mut free = draft.clone();
        (free.inference.port, free.management.port) = (0, 0);
        assert_eq!(free.sites().unwrap().len(), 2);
        assert_eq!(GrpcDraft { enabled: false, ..draft }.sites().unwrap(), []);
    }

    #[test]
    fn a_host_is_a_name_or_an_address_of_either_version() {
        assert_eq!(resolve("127.0.0.1", 1).unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(resolve("::1", 2).unwrap().to_string(), "[::1]:2");
        for wrong in ["", "127.0.0.1:7070", "http://127.0.0.1"] {
            let error = format!("{:#}", resolve(wrong, 0).unwrap_err());
            assert!(error.contains(&format!("{wrong:?} is no host")), "{error}");
        }
    }
}
