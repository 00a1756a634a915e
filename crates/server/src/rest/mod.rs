//! REST as TorchServe has it: addresses for predictions, for management and for the figures.

mod body;
mod columns;
mod common;
pub(crate) mod error;
pub(crate) mod health;
mod inference;
mod instances;
mod json;
mod key;
pub(crate) mod management;
mod metrics;
mod openapi;
pub(crate) mod plan;
mod predictions;
mod sagemaker;
pub(crate) mod socket;
mod surface;
mod unread;
mod v2;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::guard::fn_guard;
use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, HttpServer, web};
use mar_engine::Engine;
use mar_oip::Service;
use rustls::ServerConfig;

use crate::access::{Keyring, Surface};
use crate::metrics::Metrics;
use crate::settings::snapshot::Kind;
use crate::settings::{Address, Endpoint, Settings};
use crate::snapshots::Snapshots;
pub(crate) use common::CorsHeaders;
use plan::Site;
use socket::{Socket, SocketFile};

/// What every request handler is given.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    /// The Open Inference Protocol over the same engine.
    pub(crate) oip: Arc<Service>,
    pub(crate) settings: Arc<Settings>,
    /// Who may ask what.
    pub(crate) keyring: Arc<Keyring>,
    /// What the request's own address serves.
    pub(crate) surfaces: Vec<Surface>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Headers for browsers, on every answer.
    pub(crate) cors: CorsHeaders,
}

impl Shared {
    /// Models, versions or workers are others from now on. Blocks.
    pub(crate) fn changed(&self) {
        self.snapshots.write(&self.engine, Kind::Snapshot);
    }
}

/// An address that is being answered.
#[derive(Debug)]
pub(crate) struct Listener {
    /// As clients write it, with the real port where 0 was asked for.
    pub(crate) url: String,
    pub(crate) surfaces: Vec<Surface>,
    /// Whether Triton's clients are expected there.
    pub(crate) triton: bool,
    pub(crate) handle: ServerHandle,
    /// Removed with the listener.
    _file: Option<SocketFile>,
}

/// The routes of a surface.
fn routes(surface: Surface) -> fn(&mut web::ServiceConfig) {
    match surface {
        Surface::Inference => |config| {
            v2::mount(config);
            inference::mount(config);
        },
        Surface::Management => |config| {
            key::mount(config);
            openapi::mount(config, openapi::management);
            management::mount(config);
        },
        Surface::Metrics => |config| {
            openapi::mount(config, openapi::metrics);
            metrics::mount(config);
        },
    }
}

/// Answers an open address. Needs a tokio runtime around it.
pub(crate) fn answer(
    shared: Shared,
    (site, socket): (Site, Socket),
    tls: Option<&ServerConfig>,
) -> io::Result<Listener> {
    let Site { endpoint, surfaces, triton } = site;
    let grace_period = shared.settings.grace_period;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Figures are read every few seconds by one reader.
    let workers = if surfaces == [Surface::Metrics] { 1 } else { cores.min(4) };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(shared.clone()))
            // Innermost first: the path is trimmed before its key is asked for and it is matched, and
            // the headers that every answer has are added last.
            .wrap(from_fn(key::asked_for))
            .wrap(from_fn(unread::held))
            .wrap(NormalizePath::new(TrailingSlash::Trim))
            .wrap(from_fn(common::every_response))
            .configure(|config| mount(config, &shared.surfaces))
            .default_service(web::route().to(error::no_such_path))
    })
    .workers(workers)
    .keep_alive(Duration::from_secs(75))
    // Answers are written in large parts; the last one would wait for the client to say that it has the others.
    .tcp_nodelay(true)
    // Load balancers open connections ahead of the requests that go over them.
    .client_request_timeout(Duration::from_mins(1))
    // A client that goes away takes its request along: what waits is dropped before it costs anything.
    .h1_allow_half_closed(false)
    // Signals are the launcher's: it drains the engine before it stops the listeners.
    .disable_signals()
    .shutdown_timeout(grace_period.as_secs().max(1));
    let (server, address, file) = match socket {
        Socket::Tcp(listener) => {
            let address = Address::Tcp(listener.local_addr()?);
            let server = match tls.filter(|_| endpoint.tls) {
                Some(config) => server.listen_rustls_0_23(listener, config.clone())?,
                None => server.listen(listener)?,
            };
            (server, address, None)
        }
        Socket::Unix(listener, file) => {
            (server.listen_uds(listener)?, endpoint.address.clone(), Some(file))
        }
    };
    let url = Endpoint { address, ..endpoint }.to_string();
    Ok(Listener { url, surfaces, triton, handle: spawn(server.run()), _file: file })
}

/// Mounts the routes of each surface so that they answer its own requests alone.
fn mount(config: &mut web::ServiceConfig, surfaces: &[Surface]) {
    for &surface in surfaces {
        let own = fn_guard(move |context| context.req_data().get() == Some(&surface));
        config.service(web::scope("").guard(own).configure(routes(surface)));
    }
}

fn spawn(server: Server) -> ServerHandle {
    let handle = server.handle();
    tokio::spawn(server);
    handle
}
