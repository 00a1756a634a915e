//! The flags. TorchServe's names where TorchServe has the flag.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::settings::{
    Address, Endpoint, MAX_BODY_SIZE, ModelStore, Settings, address, check_reach, models,
};

const ENVIRONMENT: &str = "\
Environment:
  LOG_LOCATION  folder of the background server's log, marserve.log [default: logs]
  RUST_LOG      level of the log: error, warn, info or debug [default: info]
  TMPDIR        where archives are unpacked and the pid file lies [default: /tmp]";

/// Serves trained PyTorch models from .mar archives, with TorchServe's API.
///
/// Starts in the background and returns once every model is loaded; --stop ends it.
#[derive(Debug, Parser)]
#[command(name = "marserve", version, disable_version_flag = true, after_help = ENVIRONMENT)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Start the server; the default
    #[arg(long, conflicts_with = "stop")]
    start: bool,

    /// Stop the server that was started with the same temporary folder, and wait until it has ended
    #[arg(long)]
    stop: bool,

    /// Run in this terminal: log on standard error, Ctrl-C to stop
    #[arg(long)]
    foreground: bool,

    /// The folder that holds the archives
    #[arg(long, value_name = "DIR", required_unless_present = "stop")]
    model_store: Option<PathBuf>,

    /// What to load from the model store: all, FILE, or NAME=FILE; several separated by spaces or commas
    #[arg(long, value_name = "MODEL", num_args = 1..)]
    models: Vec<String>,

    /// Fail the start when a model does not load
    #[arg(long)]
    strict: bool,

    /// Where predictions and /ping answer
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8080")]
    inference_address: String,

    /// Where /models answers
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8081")]
    management_address: String,

    /// Requests a model lets wait; one more is answered 503
    #[arg(long, value_name = "N", default_value_t = 100)]
    job_queue_size: usize,

    /// Largest request body in bytes; a larger one is answered 413
    #[arg(long, value_name = "BYTES", default_value_t = MAX_BODY_SIZE)]
    max_request_size: usize,

    /// How many seconds requests on their way may take to finish when the server stops
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace_period: u64,

    /// Accept that no token is asked for on addresses that other machines can reach
    #[arg(long, visible_alias = "dt")]
    disable_token_auth: bool,

    /// Accepted for TorchServe's start commands; no snapshots are written
    #[arg(long, visible_alias = "no-config-snapshots")]
    ncs: bool,

    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// What the flags ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stop,
    Background,
    Foreground,
}

impl Args {
    pub(crate) fn action(&self) -> Action {
        match (self.stop, self.foreground) {
            (true, _) => Action::Stop,
            (false, true) => Action::Foreground,
            (false, false) => Action::Background,
        }
    }

    /// The settings of a start, checked.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let store = self.model_store.as_deref().context("--model-store is missing")?;
        ensure!(store.is_dir(), "the model store {} is not a folder", store.display());
        ensure!(self.job_queue_size > 0, "--job-queue-size must be at least 1");
        let inference_address = address(&self.inference_address)?;
        let management_address = address(&self.management_address)?;
        check_reach(inference_address, self.disable_token_auth)?;
        check_reach(management_address, self.disable_token_auth)?;
        let endpoint = |address| Endpoint { address: Address::Tcp(address), tls: false };
        let mut settings = Settings {
            models: models(&self.models, store)?,
            store: ModelStore { dir: store.to_owned(), ..ModelStore::default() },
            inference: endpoint(inference_address),
            management: endpoint(management_address),
            max_request_size: self.max_request_size,
            grace_period: Duration::from_secs(self.grace_period),
            strict: self.strict,
            ..Settings::default()
        };
        settings.engine.defaults.job_queue_size = self.job_queue_size;
        Ok(settings)
    }
}
