//! The flags. TorchServe's names where TorchServe has the flag.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use super::triton::TritonArgs;
use crate::settings::{self, CommandLine, Configuration, Flag, Surroundings};

const ENVIRONMENT: &str = "\
A key of the configuration file that a flag sets too is taken from the flag; TS_<KEY> in the environment
goes before both where the file has enable_envvars_config=true.

Environment:
  TS_CONFIG_FILE    the configuration file, whatever --ts-config says
  MARSERVE_API_KEY  a key that is always good, beside the tokens
  LOG_LOCATION      folder of the background server's log, marserve.log, and of snapshots [default: logs]
  RUST_LOG          level of the log: error, warn, info or debug [default: info]
  TMPDIR            where archives are unpacked and the pid file lies [default: /tmp]";

/// Serves trained PyTorch models from .mar archives, with TorchServe's API.
///
/// Starts in the background and returns once every model is loaded; --stop ends it. `marserve check ARCHIVE`
/// replays an archive's known answers, `marserve bench-model ARCHIVE` measures its network, `marserve optimize
/// ARCHIVE` makes one whose ONNX network is optimised; they start nothing, and have a --help of their own.
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

    /// Print every setting and where it was found, and start nothing
    #[arg(long, conflicts_with = "stop")]
    check_config: bool,

    /// The configuration file [default: the newest snapshot, else ./config.properties]
    #[arg(long, value_name = "FILE")]
    ts_config: Option<PathBuf>,

    /// The folder that holds the archives, or a model repository of Triton's layout; more of them where it is repeated
    #[arg(long, visible_alias = "model-repository", value_name = "DIR")]
    model_store: Vec<String>,

    /// What to load from the model store: all, FILE, or NAME=FILE; or from an allowed URL in FILE's place. Several are separated by spaces or commas
    #[arg(long, value_name = "MODEL", num_args = 1..)]
    models: Vec<String>,

    /// Fail the start when a model does not load
    #[arg(long)]
    strict: bool,

    /// Neither go on from the last run's snapshot nor write any
    #[arg(long, visible_alias = "no-config-snapshots")]
    ncs: bool,

    /// What becomes of a model whose known answers are not reproduced: off, warn or strict [default: warn]
    #[arg(long, value_name = "MODE")]
    verify_samples: Option<String>,

    /// Where runtimes keep what they make of models' files for the next start, or none [default: ~/.cache/marserve/models]
    #[arg(long, value_name = "DIR")]
    model_cache: Option<String>,

    /// Where predictions and /ping answer [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    inference_address: Option<String>,

    /// Where /models answers [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS")]
    management_address: Option<String>,

    /// Where /metrics answers [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<String>,

    /// The port where gRPC answers predictions and the Open Inference Protocol [default: 7070]
    #[arg(long, value_name = "PORT")]
    grpc_inference_port: Option<String>,

    /// The port where gRPC answers management [default: 7071]
    #[arg(long, value_name = "PORT")]
    grpc_management_port: Option<String>,

    /// Ask for no token, and accept that on addresses that other machines can reach
    #[arg(long, visible_alias = "dt")]
    disable_token_auth: bool,

    /// Let models be registered and unregistered over the network
    #[arg(long)]
    enable_model_api: bool,

    /// Requests a model lets wait; one more is answered 503 [default: 100]
    #[arg(long, value_name = "N")]
    job_queue_size: Option<String>,

    /// Largest request body in bytes; a larger one is answered 413 [default: 6553500]
    #[arg(long, value_name = "BYTES")]
    max_request_size: Option<String>,

    /// How many seconds requests on their way may take to finish when the server stops [default: 30]
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<String>,

    /// The log's form: text, json or torchserve [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,

    /// Accepted for TorchServe's start commands, and not used
    #[arg(long, value_name = "FILE")]
    log_config: Option<PathBuf>,

    /// Accepted for TorchServe's start commands, and not used
    #[arg(long, value_name = "FILE")]
    cpp_log_config: Option<String>,

    /// Accepted for TorchServe's start commands, and not used
    #[arg(long, value_name = "DIR")]
    workflow_store: Option<String>,

    /// Accepted for TorchServe's start commands, and not used
    #[arg(long, visible_alias = "ppath", value_name = "DIR")]
    plugins_path: Option<String>,

    #[command(flatten)]
    triton: TritonArgs,

    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// What the flags ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Stop,
    Check,
    Background,
    Foreground,
}

impl Args {
    pub(crate) fn action(&self) -> Action {
        if self.stop {
            Action::Stop
        } else if self.check_config {
            Action::Check
        } else if self.foreground {
            Action::Foreground
        } else {
            Action::Background
        }
    }

    /// The configuration of a start, read from everywhere and checked.
    pub(crate) fn configuration(&self, around: &Surroundings) -> Result<Configuration> {
        let mut configuration = settings::read(&self.command_line()?, around)?;
        if self.log_config.is_some() {
            let warning = "not used: --log-config: RUST_LOG and --log-format set the log";
            configuration.warnings.push(warning.into());
        }
        Ok(configuration)
    }

    fn command_line(&self) -> Result<CommandLine> {
        let set = |flag: bool| flag.then(|| "true".to_owned());
        let joined = |words: Vec<String>| (!words.is_empty()).then(|| words.join(","));
        let models = joined(self.models.iter().cloned().chain(self.triton.models()).collect());
        let mut stores = self.model_store.iter().cloned();
        let flags = [
            ("--model-store", "model_store", stores.next()),
            ("--model-store", "more_model_stores", joined(stores.collect())),
            ("--models", "load_models", models),
            ("--strict", "strict", set(self.strict)),
            ("--verify-samples", "verify_samples", self.verify_samples.clone()),
            ("--model-cache", "model_cache", self.model_cache.clone()),
            ("--inference-address", "inference_address", self.inference_address.clone()),
            ("--management-address", "management_address", self.management_address.clone()),
            ("--metrics-address", "metrics_address", self.metrics_address.clone()),
            ("--grpc-inference-port", "grpc_inference_port", self.grpc_inference_port.clone()),
            ("--grpc-management-port", "grpc_management_port", self.grpc_management_port.clone()),
            ("--disable-token-auth", "disable_token_authorization", set(self.disable_token_auth)),
            ("--enable-model-api", "enable_model_api", set(self.enable_model_api)),
            ("--job-queue-size", "job_queue_size", self.job_queue_size.clone()),
            ("--max-request-size", "max_request_size", self.max_request_size.clone()),
            ("--grace-period", "grace_period", self.grace_period.clone()),
            ("--log-format", "log_format", self.log_format.clone()),
            ("--cpp-log-config", "cpp_log_config", self.cpp_log_config.clone()),
            ("--workflow-store", "workflow_store", self.workflow_store.clone()),
            ("--plugins-path", "plugins_path", self.plugins_path.clone()),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, key, value)| value.map(|value| Flag { name: flag, key, value }));
        Ok(CommandLine {
            config_file: self.ts_config.clone(),
            no_snapshots: self.ncs || self.triton.starts_afresh(),
            flags: given.chain(self.triton.flags()?).collect(),
        })
    }
}
