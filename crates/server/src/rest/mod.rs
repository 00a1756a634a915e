//! REST as TorchServe has it: a listener for predictions, one for management.

mod body;
mod common;
pub(crate) mod error;
mod health;
mod json;
mod management;
mod metrics;
mod predictions;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, HttpServer, web};
use mar_engine::Engine;

use crate::metrics::Metrics;
use crate::settings::{Address, Endpoint, Settings};

/// What every request handler is given.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<Metrics>,
    /// Headers for browsers, on every answer.
    pub(crate) cors: common::CorsHeaders,
}

impl Shared {
    /// Models, versions or workers are others from now on.
    pub(crate) fn changed(&self) {}
}

/// An address that is being answered.
#[derive(Debug)]
pub(crate) struct Listener {
    /// As clients write it, with the real port where 0 was asked for.
    pub(crate) url: String,
    pub(crate) handle: ServerHandle,
}

/// What every request handler of these settings is given.
///
/// # Errors
/// Where a header for browsers is none.
pub(crate) fn shared(
    settings: &Settings,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
) -> io::Result<Shared> {
    let cors = common::CorsHeaders::new(&settings.cors)?;
    Ok(Shared { engine, settings: Arc::new(settings.clone()), metrics, cors })
}

/// Predictions and health.
pub(crate) fn inference(shared: Shared) -> io::Result<Listener> {
    let endpoint = shared.settings.inference.clone();
    listen(shared, &endpoint, |config| {
        health::mount(config);
        predictions::mount(config);
    })
}

/// What is loaded.
pub(crate) fn management(shared: Shared) -> io::Result<Listener> {
    let endpoint = shared.settings.management.clone();
    listen(shared, &endpoint, management::mount)
}

/// What is measured.
pub(crate) fn metrics(shared: Shared) -> io::Result<Listener> {
    let endpoint = shared.settings.metrics.clone();
    listen(shared, &endpoint, metrics::mount)
}

fn listen(
    shared: Shared,
    endpoint: &Endpoint,
    mount: fn(&mut web::ServiceConfig),
) -> io::Result<Listener> {
    let grace_period = shared.settings.grace_period;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(shared.clone()))
            // Innermost first: the path is trimmed before it is matched, and the headers that every
            // answer has are added last.
            .wrap(NormalizePath::new(TrailingSlash::Trim))
            .wrap(from_fn(common::every_response))
            .configure(mount)
            .default_service(web::route().to(error::no_such_path))
    })
    .workers(cores.min(4))
    .keep_alive(Duration::from_secs(75))
    // A client that goes away takes its request along: what waits is dropped before it costs anything.
    .h1_allow_half_closed(false)
    // Signals are the launcher's: it drains the engine before it stops the listeners.
    .disable_signals()
    .shutdown_timeout(grace_period.as_secs().max(1));
    let bound = match &endpoint.address {
        Address::Tcp(address) => server.bind(address),
        Address::Unix(path) => server.bind_uds(path),
    };
    let server = bound.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {endpoint}: {error}"))
    })?;
    let url = match &endpoint.address {
        Address::Tcp(_) => Endpoint { address: Address::Tcp(server.addrs()[0]), ..*endpoint },
        Address::Unix(_) => endpoint.clone(),
    };
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Listener { url: url.to_string(), handle })
}
