//! One running server: bound listeners over one engine, from the first request to the last.

use std::io;
use std::sync::Arc;

use mar_engine::Engine;

use crate::rest::{self, Listener};
use crate::settings::Settings;

/// Listeners that answer from [`Server::bind`] on, and the engine behind them.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    settings: Settings,
    inference: Listener,
    management: Listener,
}

impl Server {
    /// Binds the addresses and begins to answer. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// Where an address is taken or not this machine's; the message names it.
    pub fn bind(settings: &Settings, engine: Arc<Engine>) -> io::Result<Self> {
        let inference = rest::inference(settings, Arc::clone(&engine))?;
        let management = rest::management(settings, Arc::clone(&engine))?;
        Ok(Self { engine, settings: settings.clone(), inference, management })
    }

    /// Where predictions answer, with the real port where 0 was asked for.
    pub fn inference_url(&self) -> &str {
        &self.inference.url
    }

    /// Where `/models` answers.
    pub fn management_url(&self) -> &str {
        &self.management.url
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
    pub async fn shut_down(self) -> Result<(), usize> {
        let drained = self.engine.drain(self.settings.grace_period).await;
        // The answers are written by now, or the time for them is over.
        let graceful = drained.is_ok();
        tokio::join!(self.inference.handle.stop(graceful), self.management.handle.stop(graceful));
        self.engine.remove_files();
        drained
    }
}
