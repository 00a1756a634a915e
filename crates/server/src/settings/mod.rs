//! The server's settings: what was asked for, checked before anything is bound or loaded.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mar_engine::{EngineConfig, Overrides};

/// Largest body by default, in bytes: TorchServe's `max_request_size` and `max_response_size`.
pub(crate) const MAX_BODY_SIZE: usize = 6_553_500;

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
    /// Certificate and key of the endpoints that speak TLS.
    pub tls: Option<Tls>,
    /// The engine's part.
    pub engine: EngineConfig,
    /// Largest request body in bytes; a larger one gets 413.
    pub max_request_size: usize,
    /// Largest response body in bytes.
    pub max_response_size: usize,
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
}

/// Where archives come from.
#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    /// The folder that holds the archives.
    pub dir: PathBuf,
    /// Regular expressions of the `file://` and `http(s)://` URLs that registration may fetch; none by
    /// default.
    pub allowed_urls: Vec<String>,
    /// What the server's list of models says of them: by name, then version.
    pub listed: BTreeMap<String, BTreeMap<String, Listed>>,
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
            tls: None,
            engine: EngineConfig::default(),
            max_request_size: MAX_BODY_SIZE,
            max_response_size: MAX_BODY_SIZE,
            access: Access::default(),
            cors: Cors::default(),
            measuring: Measuring::default(),
            log_format: LogFormat::default(),
            envelope: Envelope::default(),
            snapshots: None,
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

/// Reads an address as TorchServe writes it (`http://127.0.0.1:8080`), or plain `host:port`.
///
/// # Errors
/// Where it has no port, does not resolve, or asks for what is not there (`https`, a Unix socket).
pub(crate) fn address(text: &str) -> Result<SocketAddr> {
    if let Some((scheme, _)) = text.split_once(':')
        && matches!(scheme, "https" | "unix")
    {
        bail!("address {text}: {scheme} is not supported yet, use http://host:port");
    }
    let plain = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    plain
        .to_socket_addrs()
        .with_context(|| format!("address {text}: not host:port"))?
        .next()
        .with_context(|| format!("address {text}: no such host"))
}

/// Refuses an address that others can reach, unless that is meant: nothing here asks for a token.
pub(crate) fn check_reach(address: SocketAddr, disable_token_auth: bool) -> Result<()> {
    ensure!(
        address.ip().is_loopback() || disable_token_auth,
        "address {address} can be reached from other machines and no token is asked for; add --disable-token-auth if that is meant"
    );
    Ok(())
}

/// Reads `--models`: `all`, or files and folders of the model store, each as `file` or `name=file`,
/// separated by spaces or commas.
///
/// # Errors
/// Where a word is a URL or names something outside the store.
pub(crate) fn models(words: &[String], store: &Path) -> Result<Vec<ModelSource>> {
    let words = words.iter().flat_map(|word| word.split(',')).map(str::trim);
    let mut sources = Vec::new();
    for word in words.filter(|word| !word.is_empty()) {
        if word.eq_ignore_ascii_case("all") {
            sources.extend(everything(store)?);
        } else {
            let (name, file) = match word.split_once('=') {
                Some((name, file)) => (Some(name.trim().to_owned()), file.trim()),
                None => (None, word),
            };
            ensure!(name.as_deref() != Some(""), "model {word}: the name before = is empty");
            sources.push(ModelSource { name, path: in_store(file, store)? });
        }
    }
    Ok(sources)
}

/// A file or folder of the store, by name or by a path that leads there.
fn in_store(file: &str, store: &Path) -> Result<PathBuf> {
    ensure!(
        !file.contains("://"),
        "model {file}: loading from a URL is not supported; put the file into {}",
        store.display()
    );
    let path = Path::new(file);
    let name = path.file_name().with_context(|| format!("model {file}: not a file name"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let same = |folder: &Path| matches!((folder.canonicalize(), store.canonicalize()), (Ok(a), Ok(b)) if a == b);
    ensure!(
        folder.as_os_str().is_empty() || same(folder),
        "model {file} is not in the model store; put it into {}",
        store.display()
    );
    Ok(store.join(name))
}

/// Every archive of the store: folders, `.mar`, `.model` and `.tar.gz`, hidden ones left out.
fn everything(store: &Path) -> Result<Vec<ModelSource>> {
    let entries = std::fs::read_dir(store)
        .with_context(|| format!("cannot read the model store {}", store.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let archive = [".mar", ".model", ".tar.gz"].iter().any(|ending| name.ends_with(ending));
        if !name.starts_with('.') && (archive || path.is_dir()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths.into_iter().map(|path| ModelSource { name: None, path }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn models_are_separated_by_spaces_or_commas_and_trimmed() {
        let store = tempfile::tempdir().unwrap();
        let sources = models(&words(&["a=x.mar, b=y.mar", "z.tar.gz"]), store.path()).unwrap();
        let got: Vec<_> = sources
            .iter()
            .map(|s| (s.name.as_deref(), s.path.file_name().unwrap().to_str().unwrap()))
            .collect();
        assert_eq!(got, [(Some("a"), "x.mar"), (Some("b"), "y.mar"), (None, "z.tar.gz")]);
    }

    #[test]
    fn all_is_every_archive_and_no_other_file() {
        let store = tempfile::tempdir().unwrap();
        for file in ["b.mar", "a.tar.gz", "README.md", ".b.mar.tmp"] {
            std::fs::write(store.path().join(file), "").unwrap();
        }
        std::fs::create_dir(store.path().join("folder")).unwrap();
        let sources = models(&words(&["ALL"]), store.path()).unwrap();
        let names: Vec<_> = sources.iter().map(|s| s.path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.tar.gz", "b.mar", "folder"]);
    }

    #[test]
    fn what_is_not_in_the_store_is_refused_by_name() {
        let parent = tempfile::tempdir().unwrap();
        let store = parent.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let inside = store.join("m.mar").display().to_string();
        assert_eq!(models(&words(&[&inside]), &store).unwrap()[0].path, store.join("m.mar"));
        for outside in ["../m.mar", "/etc/m.mar", "http://example.org/m.mar", "..", "=m.mar"] {
            let error = models(&words(&[outside]), &store).unwrap_err().to_string();
            assert!(error.contains(outside), "{error}");
        }
    }

    #[test]
    fn addresses_are_read_as_torchserve_writes_them() {
        for text in ["http://127.0.0.1:8080", "127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            assert_eq!(address(text).unwrap(), SocketAddr::from(([127, 0, 0, 1], 8080)));
        }
        for text in ["https://127.0.0.1:8443", "unix:/tmp/s", "127.0.0.1", "http://127.0.0.1:x"] {
            assert!(address(text).unwrap_err().to_string().contains(text));
        }
    }

    #[test]
    fn only_loopback_is_open_without_saying_so() {
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 8080));
        assert!(check_reach(anywhere, false).unwrap_err().to_string().contains("0.0.0.0:8080"));
        assert!(check_reach(anywhere, true).is_ok());
        assert!(check_reach(SocketAddr::from(([127, 0, 0, 1], 8080)), false).is_ok());
    }
}
