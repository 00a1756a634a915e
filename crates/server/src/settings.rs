//! The server's settings: what was asked for, checked before anything is bound or loaded.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Largest request body by default, in bytes: TorchServe's `max_request_size`.
pub(crate) const MAX_REQUEST_SIZE: usize = 6_553_500;

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The archives to load at the start, in order.
    pub models: Vec<ModelSource>,
    /// Where predictions and `/ping` answer. Port 0 takes any free one.
    pub inference_address: SocketAddr,
    /// Where `/models` answers.
    pub management_address: SocketAddr,
    /// Requests a model version lets wait; one more gets 503.
    pub job_queue_size: usize,
    /// Largest request body in bytes; a larger one gets 413.
    pub max_request_size: usize,
    /// How long requests on their way may take to finish at the end.
    pub grace_period: Duration,
    /// Whether a model that does not load ends the server.
    pub strict: bool,
}

/// An archive to load, and the name it is to be served under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    /// The name, where it is not to be the manifest's.
    pub name: Option<String>,
    /// The file or folder.
    pub path: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            inference_address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            management_address: SocketAddr::from(([127, 0, 0, 1], 8081)),
            job_queue_size: 100,
            max_request_size: MAX_REQUEST_SIZE,
            grace_period: Duration::from_secs(30),
            strict: false,
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
        assert!(check_reach(Settings::default().inference_address, false).is_ok());
    }
}
