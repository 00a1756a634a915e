//! One running server: bound listeners over one engine, from the first request to the last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mar_engine::Engine;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;
use crate::rest::{self, Listener};
use crate::settings::Settings;

/// Listeners that answer from [`Server::bind`] on, and the engine behind them.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    settings: Settings,
    inference: Listener,
    management: Listener,
    figures: Option<Listener>,
    measured: Arc<Metrics>,
    /// Writes figures to the log now and then; ends with the server.
    logging: JoinSet<()>,
}

impl Server {
    /// Binds the addresses and begins to answer. Needs a tokio runtime around it. The engine should have
    /// been made with these metrics, so that they hear of it.
    ///
    /// # Errors
    /// Where an address is taken or not this machine's; the message names it.
    pub fn bind(
        settings: &Settings,
        engine: Arc<Engine>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let shared = rest::shared(settings, Arc::clone(&engine), Arc::clone(&metrics))?;
        let inference = rest::inference(shared.clone())?;
        let management = rest::management(shared.clone())?;
        let figures = settings.measuring.endpoint.then(|| rest::metrics(shared)).transpose()?;
        let mut logging = JoinSet::new();
        if let Some(interval) = metrics.log_interval() {
            logging.spawn(log_figures(interval, Arc::clone(&engine), Arc::clone(&metrics)));
        }
        let settings = settings.clone();
        Ok(Self { engine, settings, inference, management, figures, measured: metrics, logging })
    }

    /// Where predictions answer, with the real port where 0 was asked for.
    pub fn inference_url(&self) -> &str {
        &self.inference.url
    }

    /// Where `/models` answers.
    pub fn management_url(&self) -> &str {
        &self.management.url
    }

    /// Where `/metrics` answers, if it does.
    pub fn metrics_url(&self) -> Option<&str> {
        self.figures.as_ref().map(|listener| listener.url.as_str())
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
        let drained = self.engine.drain(self.settings.grace_period).await;
        // The answers are written by now, or the time for them is over.
        let graceful = drained.is_ok();
        tokio::join!(self.inference.handle.stop(graceful), self.management.handle.stop(graceful));
        if let Some(figures) = &self.figures {
            figures.handle.stop(graceful).await;
        }
        self.logging.shutdown().await;
        if self.measured.log_interval().is_some() {
            // What was counted since the last time.
            self.measured.log(&self.engine);
        }
        self.engine.remove_files();
        drained
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
        if let Err(error) = tokio::task::spawn_blocking(move || metrics.log(&engine)).await {
            log::error!("the metrics were not written to the log: {error}");
        }
    }
}
