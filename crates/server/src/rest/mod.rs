//! REST as TorchServe has it: a listener for predictions, one for management.

mod body;
mod common;
mod error;
mod health;
mod inference;
mod instances;
mod json;
mod management;
mod openapi;
mod predictions;
mod sagemaker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, HttpServer, web};
use mar_engine::Engine;

use crate::settings::{Address, Endpoint, Envelope, Settings};

/// What every request handler is given.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    /// Largest request body, bytes.
    pub(crate) max_request_size: usize,
    /// Largest body of a prediction's response, bytes.
    pub(crate) max_response_size: usize,
    /// How a JSON body wraps the inputs of predictions.
    pub(crate) envelope: Envelope,
}

/// An address that is being answered.
#[derive(Debug)]
pub(crate) struct Listener {
    /// As clients write it, with the real port where 0 was asked for.
    pub(crate) url: String,
    pub(crate) handle: ServerHandle,
}

/// Predictions and health.
pub(crate) fn inference(settings: &Settings, engine: Arc<Engine>) -> io::Result<Listener> {
    listen(settings, engine, &settings.inference, inference::mount)
}

/// What is loaded.
pub(crate) fn management(settings: &Settings, engine: Arc<Engine>) -> io::Result<Listener> {
    listen(settings, engine, &settings.management, |config| {
        openapi::mount(config, openapi::management);
        management::mount(config);
    })
}

fn listen(
    settings: &Settings,
    engine: Arc<Engine>,
    endpoint: &Endpoint,
    mount: fn(&mut web::ServiceConfig),
) -> io::Result<Listener> {
    let shared = Shared {
        engine,
        max_request_size: settings.max_request_size,
        max_response_size: settings.max_response_size,
        envelope: settings.envelope,
    };
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
    .shutdown_timeout(settings.grace_period.as_secs().max(1));
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
