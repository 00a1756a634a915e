//! Answering an open address of gRPC, until the server ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::{Identity, Server, ServerTlsConfig};

use super::front::Front;
use super::{Opened, arrival, health, oip, torchserve};
use crate::rest::Shared;
use crate::settings::{GrpcService, GrpcSite, Tls};

/// Calls that one connection may have under way.
const STREAMS: u32 = 1024;

/// How much of one call's messages, and of one connection's, may be on the way: a tensor comes without waiting
/// for leave every few packets.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How often a connection on which nothing comes is asked whether its client is still there.
const KEEPALIVE: Duration = Duration::from_mins(2);

/// How long the answer to that may take, and a client's half of a handshake.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long clients have to close connections over which nothing goes any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// An address that is being answered.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Host and port, with the real one where 0 was asked for.
    pub(crate) address: SocketAddr,
    pub(crate) services: Vec<GrpcService>,
    /// Whether Triton's clients are expected there.
    pub(crate) triton: bool,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Ends it: no new connections, calls that still go on are ended, connections close.
    pub(crate) async fn stop(mut self) {
        self.closing.send_replace(true);
        if tokio::time::timeout(FAREWELL, &mut self.task).await.is_err() {
            // A client that does not close its connection is left behind.
            self.task.abort();
        }
    }
}

/// Answers an open address. Needs a tokio runtime around it.
pub(crate) fn answer(shared: &Shared, opened: Opened, tls: Option<&Tls>) -> Result<Listener> {
    let address = opened.address()?;
    let triton = opened.is_tritons();
    let Opened { site, listener } = opened;
    let (closing, closed) = watch::channel(false);
    let front = Front {
        keyring: Arc::clone(&shared.keyring),
        metrics: Arc::clone(&shared.metrics),
        services: site.services.clone().into(),
        longest: site
            .max_connection_age
            .zip(site.max_connection_age_grace)
            .and_then(|(age, grace)| age.checked_add(grace)),
        closing: closed.clone(),
    };
    let mut server = server(&site);
    if let Some(tls) = tls.filter(|_| site.endpoint.tls) {
        server = server.tls_config(identity(tls)?)?;
    }
    let routes = routes(shared, &site)?;
    let incoming = arrival::connections(listener)?;
    let mut ended = closed;
    let task = tokio::spawn(async move {
        let serving = server.layer(front).add_routes(routes);
        let signal = async move {
            ended.wait_for(|closing| *closing).await.ok();
        };
        if let Err(error) = serving.serve_with_incoming_shutdown(incoming, signal).await {
            log::error!("gRPC on {address} has ended: {error}");
        }
    });
    Ok(Listener { address, services: site.services, triton, closing, task })
}

fn server(site: &GrpcSite) -> Server {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        // Clients that open many calls and think better of it are no attack before there are so many.
        .http2_max_pending_accept_reset_streams(Some(STREAMS as usize))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(PATIENCE));
    match site.max_connection_age {
        Some(age) => server.max_connection_age(age),
        None => server,
    }
}

fn routes(shared: &Shared, site: &GrpcSite) -> Result<Routes> {
    let mut routes = RoutesBuilder::default();
    routes.add_service(health::service(shared));
    let mut names = vec![health::NAME];
    for service in &site.services {
        match service {
            GrpcService::Predictions => {
                routes.add_service(torchserve::inference(shared));
                names.push(torchserve::INFERENCE);
            }
            GrpcService::Management => {
                routes.add_service(torchserve::management(shared));
                names.push(torchserve::MANAGEMENT);
            }
            GrpcService::OpenInference => {
                routes.add_service(oip::service(shared));
                names.push(oip::NAME);
            }
        }
    }
    let described = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(mar_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.reflection.v1.ServerReflection");
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    routes.add_service(described().build_v1()?);
    routes.add_service(described().build_v1alpha()?);
    Ok(routes.routes())
}

/// The certificate and key; what is wrong with them was found where REST's were read.
fn identity(tls: &Tls) -> Result<ServerTlsConfig> {
    let read = |file: &std::path::Path| {
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
    };
    let identity = Identity::from_pem(read(&tls.certificate_file)?, read(&tls.private_key_file)?);
    Ok(ServerTlsConfig::new().identity(identity).timeout(PATIENCE))
}
