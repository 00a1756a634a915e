//! The server's settings: what was asked for, checked before anything is bound or loaded.

mod address;
mod configuration;
mod draft;
mod grpc;
mod keys;
mod layers;
mod model_cache;
pub(crate) mod models;
mod properties;
pub(crate) mod snapshot;
mod triton;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mar_engine::{EngineConfig, Overrides};

pub(crate) use configuration::{Configuration, read};
pub use grpc::{GrpcService, GrpcSite};
pub(crate) use layers::{CommandLine, Flag, Surroundings};
pub(crate) use triton::GRPC_KEY;
pub use triton::{ModelControl, Triton};

/// Largest body by default, in bytes: TorchServe's `max_request_size` and `max_response_size`.
const MAX_BODY_SIZE: usize = 6_553_500;

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The archives to load at the start, in order.
    pub models: Vec<ModelSource>,
    /// Where archives are registered from.
    pub store: ModelStore,
    /// Where predictions and `/ping` answer. Port 0 takes any free one.
    pub inference: Endpoint,
    /// Where `/models` answers.
    pub management: Endpoint,
    /// Where `/metrics` answers.
    pub metrics: Endpoint,
    /// The addresses that answer gRPC; none where it is off.
    pub grpc: Vec<GrpcSite>,
    /// Addresses for Triton's clients beside these.
    pub triton: Triton,
    /// Who decides which models are loaded.
    pub model_control: ModelControl,
    /// Certificate and key of the endpoints that speak TLS.
    pub tls: Option<Tls>,
    /// The engine's part.
    pub engine: EngineConfig,
    /// Largest request body in bytes; a larger one gets 413.
    pub max_request_size: usize,
    /// Largest response body in bytes.
    pub max_response_size: usize,
    /// Whether clients may hand over tensors in shared memory.
    pub shared_memory: bool,
    /// Who may do what.
    pub access: Access,
    /// What browsers on other sites may do.
    pub cors: Cors,
    /// What is measured, and how it is told.
    pub measuring: Measuring,
    /// The form of the log.
    pub log_format: LogFormat,
    /// How a JSON body wraps the inputs of predictions.
    pub envelope: Envelope,
    /// Where snapshots of the configuration are written; nowhere where `None`.
    pub snapshots: Option<PathBuf>,
    /// Every property that was set, by name, as a snapshot repeats it: without secrets, and without the
    /// models to load.
    pub effective: Vec<(String, String)>,
    /// How long requests on their way may take to finish at the end.
    pub grace_period: Duration,
    /// Whether a model that does not load ends the server.
    pub strict: bool,
}

/// An archive to load, and the name it is to be served under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// The name, where it is not to be the manifest's.
    pub name: Option<String>,
    /// The file or folder.
    pub path: PathBuf,
    /// Where it is fetched from at the start, where it is not in the store; then `path` says nothing.
    pub url: Option<String>,
    /// How it was, where a snapshot brings it back.
    pub restored: Option<Listed>,
}

/// Where archives come from.
#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    /// The folder that holds the archives.
    pub dir: PathBuf,
    /// Further folders that models are loaded from at the start.
    pub more: Vec<PathBuf>,
    /// Regular expressions of the `file://` and `http(s)://` URLs that registration may fetch; none by
    /// default.
    pub allowed_urls: Vec<String>,
    /// What the server's list of models says of them: by name, then version.
    pub listed: BTreeMap<String, BTreeMap<String, Listed>>,
}

impl ModelStore {
    /// Every folder that models lie in.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        // A server without a store has no folder called nothing.
        let first = Some(&self.dir).filter(|dir| !dir.as_os_str().is_empty());
        first.into_iter().chain(&self.more).cloned().collect()
    }
}

/// An entry of the property `models`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Whether this version is to be the default one.
    pub default_version: bool,
    /// The archive's file name in the store.
    pub mar_name: Option<String>,
    /// Workers, batching, time-outs.
    pub overrides: Overrides,
}

/// One address that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    /// As TorchServe writes addresses: `http://host:port`, `https://host:port`, `unix:/path`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Address::Tcp(address) if self.tls => write!(f, "https://{address}"),
            Address::Tcp(address) => write!(f, "http://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by the chain's others.
    pub certificate_file: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub private_key_file: PathBuf,
}

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whether models may be registered and unregistered over the network.
    pub model_api: bool,
    /// Whether TorchServe's token files are made and asked for, and how long a token lives.
    pub tokens: Option<Duration>,
    /// A key that is always good, beside the tokens.
    pub api_key: Option<ApiKey>,
}

/// A key that does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(pub String);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Headers for browsers, set on every answer where they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// `access-control-allow-origin`.
    pub origin: Option<String>,
    /// `access-control-allow-methods`.
    pub methods: Option<String>,
    /// `access-control-allow-headers`.
    pub headers: Option<String>,
}

/// What is measured, and how it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measuring {
    /// Whether `/metrics` is there at all.
    pub endpoint: bool,
    /// Where the figures go.
    pub mode: MetricsMode,
    /// How often the system's own figures are read.
    pub interval: Duration,
    /// Whether they are read.
    pub system: bool,
}

/// TorchServe's `metrics_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsMode {
    /// All of them on the endpoint.
    #[default]
    Prometheus,
    /// All of them in the log, the endpoint is empty.
    Log,
    /// The three `ts_` counters on the endpoint, the rest in the log.
    Legacy,
}

/// One line a request, in one of these forms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// The access log's lines as TorchServe writes them.
    TorchServe,
}

/// TorchServe's `service_envelope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Envelope {
    /// The body is the input.
    #[default]
    None,
    /// `{"instances": [...]}` in, `{"predictions": [...]}` out: TorchServe's `json` and `kserve`.
    Instances,
}

impl Default for Settings {
    fn default() -> Self {
        let local = |port| Endpoint {
            address: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
            tls: false,
        };
        Self {
            models: Vec::new(),
            store: ModelStore::default(),
            inference: local(8080),
            management: local(8081),
            metrics: local(8082),
            grpc: vec![
                GrpcSite::inference(local(grpc::INFERENCE_PORT)),
                GrpcSite::management(local(grpc::MANAGEMENT_PORT)),
            ],
            triton: Triton::default(),
            model_control: ModelControl::default(),
            tls: None,
            engine: EngineConfig::default(),
            max_request_size: MAX_BODY_SIZE,
            max_response_size: MAX_BODY_SIZE,
            shared_memory: true,
            access: Access::default(),
            cors: Cors::default(),
            measuring: Measuring::default(),
            log_format: LogFormat::default(),
            envelope: Envelope::default(),
            snapshots: None,
            effective: Vec::new(),
            grace_period: Duration::from_secs(30),
            strict: false,
        }
    }
}

impl Default for Measuring {
    fn default() -> Self {
        Self {
            endpoint: true,
            mode: MetricsMode::default(),
            interval: Duration::from_mins(1),
            system: true,
        }
    }
}
