//! One running server: bound listeners over one engine, from the first request to the last.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use jiff::Timestamp;
use mar_engine::Engine;
use mar_oip::triton::Repositories;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::MissedTickBehavior;

use crate::access::{Keyring, Surface};
use crate::metrics::Metrics;
use crate::rest::{self, CorsHeaders, Listener, Shared, plan, socket};
use crate::settings::snapshot::Kind;
use crate::settings::{GrpcService, Settings};
use crate::snapshots::Snapshots;
use crate::{fetch, grpc, oip, startup, tls};

/// Listeners that answer from [`Server::bind`] on, and the engine behind them; ready once
/// [`Server::load`] is done.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    keyring: Arc<Keyring>,
    listeners: Vec<Listener>,
    grpc: Vec<grpc::Listener>,
    metrics: Arc<Metrics>,
    settings: Arc<Settings>,
    snapshots: Arc<Snapshots>,
    repositories: Arc<Repositories>,
    /// Writes figures to the log now and then; ends with the server.
    logging: JoinSet<()>,
}

/// Where Triton's clients are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TritonUrls<'a> {
    /// The Open Inference Protocol over HTTP.
    pub http: Option<&'a str>,
    /// The same over gRPC: host and port.
    pub grpc: Option<SocketAddr>,
    /// The figures.
    pub metrics: Option<&'a str>,
}

impl Server {
    /// Binds the addresses and begins to answer. Tokens, where they are asked for, are written into
    /// `key_file.json` in the current folder. Needs a tokio runtime around it. The engine should have
    /// been made with the same metrics, so that they hear of it.
    ///
    /// # Errors
    /// Where an address is taken or not this machine's, a certificate or a key is of no use, or a
    /// file cannot be written; the message names it.
    pub fn bind(settings: &Settings, engine: Arc<Engine>, metrics: Arc<Metrics>) -> Result<Self> {
        Self::bind_in(settings, engine, metrics, Path::new("."))
    }

    /// As [`Server::bind`], with `key_file.json` in a folder.
    ///
    /// # Errors
    /// Those of [`Server::bind`].
    pub fn bind_in(
        settings: &Settings,
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
        keys: &Path,
    ) -> Result<Self> {
        fetch::check(&settings.store)?;
        let tls = tls::of(settings)?;
        let cors = CorsHeaders::new(&settings.cors)?;
        let mut open = Vec::new();
        for site in plan::sites(settings)? {
            let socket = socket::open(&site.endpoint)?;
            open.push((site, socket));
        }
        let open_grpc = grpc::open(settings)?;
        // Once the addresses are this server's own: the file of one that runs is not written over.
        let keyring = Arc::new(Keyring::new(&settings.access, keys, Timestamp::now())?);
        let shared_settings = Arc::new(settings.clone());
        let snapshots = Arc::new(Snapshots::new(settings));
        let repositories = Arc::new(Repositories::new(settings.store.folders()));
        let oip = oip::service(settings, &engine, &metrics, &snapshots, &repositories);
        let shared = Shared {
            oip: Arc::new(oip),
            engine: Arc::clone(&engine),
            settings: Arc::clone(&shared_settings),
            keyring: Arc::clone(&keyring),
            surfaces: Vec::new(),
            metrics: Arc::clone(&metrics),
            snapshots: Arc::clone(&snapshots),
            cors,
        };
        // Before anything answers, so that nobody takes a server without its models for one that is ready.
        engine.set_starting(true);
        let mut listeners = Vec::new();
        // Triton's clients expect room for larger bodies.
        let triton = Shared { settings: Arc::new(settings.for_triton()), ..shared.clone() };
        for (site, socket) in open {
            let shared = if site.triton { &triton } else { &shared };
            let shared = Shared { surfaces: site.surfaces.clone(), ..shared.clone() };
            listeners.push(rest::answer(shared, (site, socket), tls.as_ref())?);
        }
        let answered = open_grpc.into_iter();
        let answered = answered.map(|open| {
            let shared = if open.is_tritons() { &triton } else { &shared };
            grpc::answer(shared, open, settings.tls.as_ref())
        });
        let grpc = answered.collect::<Result<_>>()?;
        let mut logging = JoinSet::new();
        if let Some(interval) = metrics.log_interval() {
            logging.spawn(log_figures(interval, Arc::clone(&engine), Arc::clone(&metrics)));
        }
        Ok(Self {
            engine,
            keyring,
            listeners,
            grpc,
            metrics,
            settings: shared_settings,
            snapshots,
            repositories,
            logging,
        })
    }

    /// Where predictions answer, with the real port where 0 was asked for.
    pub fn inference_url(&self) -> &str {
        self.url(Surface::Inference).unwrap_or_default()
    }

    /// Where `/models` answers.
    pub fn management_url(&self) -> &str {
        self.url(Surface::Management).unwrap_or_default()
    }

    /// Where `/metrics` answers, if it does.
    pub fn metrics_url(&self) -> Option<&str> {
        self.url(Surface::Metrics)
    }

    /// Host and port where gRPC answers a service, if it does.
    pub fn grpc_address(&self, service: GrpcService) -> Option<SocketAddr> {
        let serving = self.grpc.iter().filter(|listener| listener.services.contains(&service));
        serving.min_by_key(|listener| listener.services.len()).map(|listener| listener.address)
    }

    /// Where Triton's clients are answered, as far as they are.
    pub fn triton_urls(&self) -> TritonUrls<'_> {
        let url = |surface| {
            let mut tritons = self.listeners.iter().filter(|listener| listener.triton);
            tritons.find(|listener| listener.surfaces.contains(&surface)).map(|l| l.url.as_str())
        };
        TritonUrls {
            http: url(Surface::Inference),
            grpc: self.grpc.iter().find(|listener| listener.triton).map(|l| l.address),
            metrics: url(Surface::Metrics),
        }
    }

    /// The address of a surface; one of its own before one that it shares.
    fn url(&self, surface: Surface) -> Option<&str> {
        let serving = self.listeners.iter().filter(|l| l.surfaces.contains(&surface));
        serving.min_by_key(|listener| listener.surfaces.len()).map(|l| l.url.as_str())
    }

    /// Loads the models that the settings name, one after the other, and makes the default versions what
    /// they say. Comes to whether all of them serve.
    pub fn load(&self) -> JoinHandle<bool> {
        let (engine, settings) = (Arc::clone(&self.engine), Arc::clone(&self.settings));
        let snapshots = Arc::clone(&self.snapshots);
        let repositories = Arc::clone(&self.repositories);
        spawn_blocking(move || {
            let all = startup::load(&engine, &settings, &repositories);
            engine.set_starting(false);
            snapshots.write(&engine, Kind::Startup);
            all
        })
    }

    /// The engine behind the listeners.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Ends the server: not ready from now on, requests on their way finish within the grace period,
    /// then the listeners close. `Err` with the number of requests that did not finish.
    ///
    /// # Errors
    /// Where the grace period was not enough.
    pub async fn shut_down(mut self) -> Result<(), usize> {
        let (engine, snapshots) = (Arc::clone(&self.engine), Arc::clone(&self.snapshots));
        let written = spawn_blocking(move || snapshots.write(&engine, Kind::Shutdown)).await;
        if let Err(error) = written {
            log::error!("no snapshot was written: {error}");
        }
        let drained = self.engine.drain(self.settings.grace_period).await;
        // The answers are written by now, or the time for them is over.
        let graceful = drained.is_ok();
        let rest = join_all(self.listeners.iter().map(|listener| listener.handle.stop(graceful)));
        let grpc = join_all(std::mem::take(&mut self.grpc).into_iter().map(grpc::Listener::stop));
        futures_util::future::join(rest, grpc).await;
        self.logging.shutdown().await;
        if self.metrics.log_interval().is_some() {
            // What was counted since the last time.
            self.metrics.log(&self.engine);
        }
        self.engine.remove_files();
        drained
    }
}

impl Drop for Server {
    /// However the server ends, its keys do not stay behind.
    fn drop(&mut self) {
        self.keyring.remove_file();
    }
}

/// Writes the figures to the log at every interval.
async fn log_figures(interval: Duration, engine: Arc<Engine>, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The first tick is now, when there is nothing to tell.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (engine, metrics) = (Arc::clone(&engine), Arc::clone(&metrics));
        if let Err(error) = spawn_blocking(move || metrics.log(&engine)).await {
            log::error!("the metrics were not written to the log: {error}");
        }
    }
}
