//! What the server measures, under TorchServe's names and, beside them, its own.
//!
//! The engine tells what happens through [`Events`]; what the models and the system are like is read when
//! somebody asks. Labels are the names of registered models alone, so that no client can add one.

mod collect;
mod count;
mod log_lines;
mod names;
mod page;
mod process;
mod statistics;
mod system;
mod values;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use mar_engine::{Engine, Events, VersionEvents};
use parking_lot::Mutex;

use crate::settings::{Measuring, MetricsMode};
use count::Counter;
use log_lines::Told;
use names::Family;
use statistics::Listener;
use system::System;
use version::{Host, Model, Version};

/// The target of the figures' lines in the log.
pub(crate) use log_lines::TARGET as LOG_TARGET;

/// Every figure of one server.
#[derive(Debug)]
pub struct Metrics {
    mode: MetricsMode,
    interval: Duration,
    hostname: String,
    replies: Replies,
    host: Arc<Host>,
    models: Mutex<Models>,
    /// `None` where the system is not to be read.
    system: Option<Mutex<System>>,
    /// What the log was told of what only rises.
    told: Mutex<Told>,
}

/// HTTP replies on all ports, by status.
#[derive(Debug, Default)]
struct Replies {
    success: Counter,
    client_error: Counter,
    other: Counter,
}

/// The figures of every version that was ever registered.
#[derive(Debug, Default)]
struct Models {
    by_name: BTreeMap<String, Arc<Model>>,
    versions: BTreeMap<(String, String), Arc<Version>>,
}

impl Metrics {
    /// Figures that are all still zero.
    ///
    /// # Errors
    /// Where the interval is zero.
    pub fn new(measuring: &Measuring) -> Result<Arc<Self>> {
        let Measuring { mode, interval, system, .. } = *measuring;
        ensure!(
            !interval.is_zero(),
            "the interval at which metrics are read is 0; set it to a second or more"
        );
        Ok(Arc::new(Self {
            mode,
            interval,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            replies: Replies::default(),
            host: Arc::default(),
            models: Mutex::default(),
            system: system.then(|| Mutex::new(System::new(interval))),
            told: Mutex::default(),
        }))
    }

    /// Counts an HTTP reply.
    pub(crate) fn replied(&self, status: u16) {
        let counter = match status {
            200..300 => &self.replies.success,
            400..500 => &self.replies.client_error,
            // TorchServe counts everything else here.
            _ => &self.replies.other,
        };
        counter.add(1);
    }

    /// The page of the metrics endpoint; where names are given, of these alone.
    pub(crate) fn page(&self, engine: &Engine, names: &[String]) -> String {
        if self.mode == MetricsMode::Log {
            return String::new();
        }
        let mut figures = self.collect(engine);
        figures.retain(|figures| self.is_on_endpoint(figures.family));
        page::text(&figures, names)
    }

    /// How often the figures go to the log, where they do.
    pub(crate) fn log_interval(&self) -> Option<Duration> {
        (self.mode != MetricsMode::Prometheus).then_some(self.interval)
    }

    /// Writes the figures that the endpoint does not have to the log, a line each.
    pub(crate) fn log(&self, engine: &Engine) {
        let mut figures = self.collect(engine);
        // Triton's begin anew where a version is loaded anew, of which the log's lines know nothing.
        figures.retain(|it| !self.is_on_endpoint(it.family) && !it.family.is_tritons());
        let now = jiff::Timestamp::now().as_second();
        for line in self.told.lock().lines(&figures, &self.hostname, now) {
            log::info!(target: LOG_TARGET, "{line}");
        }
    }

    fn is_on_endpoint(&self, family: &Family) -> bool {
        match self.mode {
            MetricsMode::Prometheus => true,
            MetricsMode::Log => false,
            MetricsMode::Legacy => family.is_legacy(),
        }
    }
}

impl Events for Metrics {
    /// The same version again goes on with the same figures, but for its statistics.
    fn version(&self, model: &str, version: &str) -> Arc<dyn VersionEvents> {
        let mut models = self.models.lock();
        let Models { by_name, versions } = &mut *models;
        let of_model = by_name.entry(model.to_owned()).or_default();
        let key = (model.to_owned(), version.to_owned());
        let new = || Arc::new(Version::new(Arc::clone(&self.host), Arc::clone(of_model)));
        Arc::new(Listener::new(Arc::clone(versions.entry(key).or_insert_with(new))))
    }
}
