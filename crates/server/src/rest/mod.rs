//! REST as TorchServe has it: a listener for predictions, one for management.

mod body;
mod common;
mod error;
mod health;
mod json;
mod management;
mod predictions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, HttpServer, web};
use mar_engine::Engine;

use crate::settings::Settings;

/// What every request handler is given.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    /// Largest request body, bytes.
    pub(crate) max_request_size: usize,
}

/// A bound address that is being answered.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) handle: ServerHandle,
}

/// Predictions and health.
pub(crate) fn inference(settings: &Settings, engine: Arc<Engine>) -> io::Result<Listener> {
    listen(settings, engine, settings.inference_address, |config| {
        health::mount(config);
        predictions::mount(config);
    })
}

/// What is loaded.
pub(crate) fn management(settings: &Settings, engine: Arc<Engine>) -> io::Result<Listener> {
    listen(settings, engine, settings.management_address, management::mount)
}

fn listen(
    settings: &Settings,
    engine: Arc<Engine>,
    address: SocketAddr,
    mount: fn(&mut web::ServiceConfig),
) -> io::Result<Listener> {
    let shared = Shared { engine, max_request_size: settings.max_request_size };
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
    .shutdown_timeout(settings.grace_period.as_secs().max(1))
    .bind(address)
    .map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Listener { address, handle })
}
