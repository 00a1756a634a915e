//! What the `url` of a registration stands for: an archive of the model store, or one to be fetched into it.
//!
//! Everything here blocks and belongs on no async thread.

mod allowed;
mod download;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use anyhow::{Result, ensure};

use crate::rest::error;
use crate::settings::ModelStore;
use allowed::Allowed;

/// Largest archive that is fetched: what an archive may unpack to by default.
const MAX_SIZE: u64 = 64 << 30;

/// Longest URL that is looked at.
const MAX_URL: usize = 4096;

/// Longest name that file systems take.
const MAX_NAME: usize = 255;

/// An archive that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The file or folder in the model store.
    pub(crate) path: PathBuf,
    /// As the client named it.
    pub(crate) url: String,
    /// Whether the file was fetched, and goes when its model goes.
    pub(crate) downloaded: bool,
}

/// Why there is no archive. Each is an answer of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The URL names nothing that may be loaded.
    #[error("{0}")]
    NotFound(String),
    /// The other side did not give it.
    #[error("cannot download {url}: {reason}")]
    Download { url: String, reason: String },
    /// Something of that name is in the model store.
    #[error(
        "{name} already exists in the model store; register it with url={name}, or choose another name"
    )]
    Exists { name: String },
    /// The model store did not take it.
    #[error("failed to save {url}: {reason}")]
    Io { url: String, reason: io::Error },
}

impl FetchError {
    /// The answer to the client.
    pub(crate) fn response(&self) -> HttpResponse {
        let (status, class) = match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "ModelNotFoundException"),
            Self::Download { .. } => (StatusCode::BAD_REQUEST, "DownloadArchiveException"),
            Self::Exists { .. } | Self::Io { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException")
            }
        };
        error::body(status, class, &self.to_string())
    }
}

impl Resolved {
    /// What a model that is registered was resolved to. Only URLs are fetched; of anything else the last
    /// part names a file that was in the store.
    pub(crate) fn registered(url: &str, path: &Path) -> Self {
        Self { path: path.to_owned(), url: url.to_owned(), downloaded: url.contains("://") }
    }

    /// Removes the file if it was fetched: at the end of its model, or where that did not load. An
    /// archive that somebody put into the store stays.
    pub(crate) fn discard(&self) {
        if self.downloaded
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Checks an expression of `allowed_urls`.
///
/// # Errors
/// Where it is no regular expression; the message holds it.
pub(crate) fn check_pattern(expression: &str) -> Result<()> {
    Allowed::new(&[expression.to_owned()]).map(|_| ())
}

/// Checks the store's `allowed_urls` at the start.
///
/// # Errors
/// Where one is no regular expression; the message holds it.
pub(crate) fn check(store: &ModelStore) -> Result<()> {
    Allowed::new(&store.allowed_urls).map(|_| ())
}

/// Checks that a URL may be fetched.
///
/// # Errors
/// Where no expression of `allowed_urls` matches it.
pub(crate) fn check_allowed(url: &str, store: &ModelStore) -> Result<()> {
    let allowed = Allowed::new(&store.allowed_urls)?;
    ensure!(
        allowed.matches(url),
        "{url} is not allowed; add an expression that matches it to allowed_urls, or put the file into the model store"
    );
    Ok(())
}

/// Brings an archive into the store for the start; one that an earlier start brought is there.
///
/// # Errors
/// See [`FetchError`].
pub(crate) fn at_startup(url: &str, store: &ModelStore) -> Result<PathBuf, FetchError> {
    match resolve(url, store) {
        Ok(resolved) => Ok(resolved.path),
        Err(FetchError::Exists { name }) => {
            log::info!("{name} is in the model store already and is not fetched again");
            Ok(store.dir.join(name))
        }
        Err(error) => Err(error),
    }
}

/// Finds the archive that a URL names, and fetches it first where it lies elsewhere.
///
/// Of a plain name or path only the last part counts, as in TorchServe: nothing outside the model store
/// is loaded. `file://`, `http://` and `https://` need a match in `allowed_urls`.
///
/// # Errors
/// See [`FetchError`].
pub(crate) fn resolve(url: &str, store: &ModelStore) -> Result<Resolved, FetchError> {
    let not_found = |reason: &str| FetchError::NotFound(format!("no archive at {url:?}: {reason}"));
    if store.dir.as_os_str().is_empty() {
        return Err(not_found("this server has no model store"));
    }
    if url.len() > MAX_URL {
        let reason = format!("a URL of more than {MAX_URL} bytes is not looked at");
        return Err(FetchError::NotFound(reason));
    }
    if decoded(url).contains("..") {
        return Err(not_found("\"..\" is not allowed in it"));
    }
    if let Some((scheme, _)) = url.split_once("://") {
        return match scheme.to_ascii_lowercase().as_str() {
            "file" | "http" | "https" => remote(url, store),
            _ => Err(not_found("only file, http and https URLs are fetched")),
        };
    }
    let name = file_name(url).ok_or_else(|| not_found("it does not end in a file name"))?;
    let path = store.dir.join(name);
    match fs::metadata(&path) {
        Ok(found) => {
            let path = if found.is_dir() { only_folder_of(path) } else { path };
            Ok(Resolved { path, url: url.to_owned(), downloaded: false })
        }
        Err(_) => Err(not_found(&format!(
            "the model store {} has no {name}; put it there",
            store.dir.display()
        ))),
    }
}

fn remote(url: &str, store: &ModelStore) -> Result<Resolved, FetchError> {
    let not_found = |reason: &str| FetchError::NotFound(format!("no archive at {url:?}: {reason}"));
    let allowed = Allowed::new(&store.allowed_urls)
        .map_err(|error| FetchError::NotFound(format!("{error:#}")))?;
    if !allowed.matches(url) {
        return Err(not_found("no expression of allowed_urls matches it"));
    }
    let location = url.split(['?', '#']).next().unwrap_or_default();
    let name = file_name(location).ok_or_else(|| not_found("it does not end in a file name"))?;
    let path = store.dir.join(name);
    if fs::symlink_metadata(&path).is_ok() {
        return Err(FetchError::Exists { name: name.to_owned() });
    }
    download::download(url, &path, &allowed, MAX_SIZE)?;
    Ok(Resolved { path, url: url.to_owned(), downloaded: true })
}

/// The last part of a URL, where it can be a file's name in the store: none that is hidden, as those of
/// downloads on their way are, and none with a separator in it, however it is written.
fn file_name(url: &str) -> Option<&str> {
    let name = url.rsplit('/').next().unwrap_or_default();
    let plain = decoded(name);
    let odd = |c: char| matches!(c, '/' | '\\') || c.is_control();
    let fits = !plain.is_empty() && name.len() <= MAX_NAME;
    (fits && !plain.starts_with('.') && !plain.contains(odd)).then_some(name)
}

/// Without percent signs, however many times they were encoded.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let bytes = percent_encoding::percent_decode_str(&text);
        let next = bytes.decode_utf8_lossy().into_owned();
        if next == text {
            return text;
        }
        text = next;
    }
}

/// The one folder that a folder holds, where that is all it holds, as archives packed with their own
/// folder have it; else the folder itself.
fn only_folder_of(folder: PathBuf) -> PathBuf {
    let inner = fs::read_dir(&folder).ok().and_then(|mut entries| {
        let only = entries.next()?.ok()?.path();
        let manifest = only.file_name() == Path::new("MAR-INF").file_name();
        (entries.next().is_none() && only.is_dir() && !manifest).then_some(only)
    });
    inner.unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn store(allowed: &[&str]) -> (TempDir, ModelStore) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("store")).unwrap();
        let allowed_urls = allowed.iter().map(|url| (*url).to_owned()).collect();
        let dir = folder.path().join("store");
        (folder, ModelStore { dir, allowed_urls, ..ModelStore::default() })
    }

    fn not_found(url: &str, store: &ModelStore) {
        match resolve(url, store) {
            Err(error @ FetchError::NotFound(_)) => assert_eq!(error.response().status(), 404),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn only_the_last_part_of_a_path_counts() {
        let (_folder, store) = store(&[]);
        fs::write(store.dir.join("echo.mar"), "").unwrap();
        fs::create_dir(store.dir.join("folder")).unwrap();
        for url in ["echo.mar", "/any/where/echo.mar", "any/where/echo.mar"] {
            let resolved = resolve(url, &store).unwrap();
            assert_eq!(resolved.path, store.dir.join("echo.mar"), "{url}");
            assert_eq!((resolved.url.as_str(), resolved.downloaded), (url, false));
        }
        assert_eq!(resolve("folder", &store).unwrap().path, store.dir.join("folder"));
    }

    #[test]
    fn a_folder_around_one_folder_stands_for_it() {
        let (_folder, store) = store(&[]);
        fs::create_dir_all(store.dir.join("a/inner/MAR-INF")).unwrap();
        fs::create_dir_all(store.dir.join("b/MAR-INF")).unwrap();
        assert_eq!(resolve("a", &store).unwrap().path, store.dir.join("a/inner"));
        assert_eq!(resolve("b", &store).unwrap().path, store.dir.join("b"));
    }

    #[test]
    fn nothing_outside_the_store_is_found() {
        let (folder, store) = store(&[]);
        fs::create_dir(folder.path().join("outside")).unwrap();
        fs::write(store.dir.join(".hidden"), "").unwrap();
        let outside = folder.path().join("outside").display().to_string();
        for url in [
            outside.as_str(),
            "",
            "/",
            ".",
            "folder/",
            "..",
            "../outside",
            "%2e%2e/outside",
            "%252e.%252foutside",
            "..%2foutside",
            "x%2f..",
            "a%2fb.mar",
            "a%5cb.mar",
            "a\\b.mar",
            "a\0b.mar",
            ".hidden",
            "none.mar",
            "s3://bucket/m.mar",
            &"a".repeat(256),
            &"a".repeat(5000),
        ] {
            not_found(url, &store);
        }
        not_found("m.mar", &ModelStore::default());
    }

    #[test]
    fn a_url_is_fetched_only_where_it_is_allowed() {
        let (folder, store) = store(&["file://.*/good/[a-z]+\\.mar"]);
        fs::create_dir(folder.path().join("good")).unwrap();
        fs::create_dir(folder.path().join("bad")).unwrap();
        for file in ["good/m.mar", "bad/m.mar"] {
            fs::write(folder.path().join(file), "archive").unwrap();
        }
        let url = |path: &str| format!("file://{}/{path}", folder.path().display());
        not_found(&url("bad/m.mar"), &store);
        not_found(&url("good/../bad/m.mar"), &store);
        not_found(&url("good/m.marx"), &store);
        not_found(&url("good/.mar"), &store);
        not_found(&url("good/"), &store);
        not_found("http://127.0.0.1/good/m.mar", &store);
        let off = ModelStore { allowed_urls: Vec::new(), ..store.clone() };
        not_found(&url("good/m.mar"), &off);

        let resolved = resolve(&url("good/m.mar"), &store).unwrap();
        assert_eq!(resolved.path, store.dir.join("m.mar"));
        assert_eq!(fs::read_to_string(&resolved.path).unwrap(), "archive");
        assert!(resolved.downloaded);
        // A second time, the name is taken; the first file stays as it is.
        let error = resolve(&url("good/m.mar"), &store).unwrap_err();
        assert!(matches!(&error, FetchError::Exists { name } if name == "m.mar"), "{error:?}");
        assert_eq!(error.response().status(), 500);
        assert!(error.to_string().contains("m.mar already exists"), "{error}");
        resolved.discard();
        assert!(!resolved.path.exists());
    }

    #[test]
    fn discarding_spares_what_was_in_the_store() {
        let (_folder, store) = store(&[]);
        fs::write(store.dir.join("echo.mar"), "").unwrap();
        resolve("echo.mar", &store).unwrap().discard();
        assert!(store.dir.join("echo.mar").exists());
    }
}
