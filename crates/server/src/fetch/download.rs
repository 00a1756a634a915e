//! A file fetched into the model store, whole or not at all.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::http::header::LOCATION;
use ureq::tls::TlsConfig;
use url::{Host, Url};

use super::FetchError;
use super::allowed::Allowed;

/// How long an address may take to be found, and a connection to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the other side may be silent.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

const MAX_REDIRECTS: usize = 10;

/// Fetches a URL that is allowed into a file that is not there yet, of at most `limit` bytes.
///
/// # Errors
/// See [`FetchError`]; nothing is left in the store then.
pub(super) fn download(
    url: &str,
    path: &Path,
    allowed: &Allowed,
    limit: u64,
) -> Result<(), FetchError> {
    let failed = |reason: anyhow::Error| FetchError::Download {
        url: url.into(),
        reason: format!("{reason:#}"),
    };
    let io = |reason| FetchError::Io { url: url.into(), reason };
    let too_large = || failed(anyhow!("it is larger than {limit} bytes"));
    let Source { mut reader, size } = open(url, allowed).map_err(failed)?;
    if size.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".download-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(io)?;
    let mut buffer = vec![0; 1 << 16];
    let mut written = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(anyhow!(error).context("cut off"))),
        };
        written += count as u64;
        if written > limit {
            return Err(too_large());
        }
        file.write_all(&buffer[..count]).map_err(io)?;
    }
    file.as_file().sync_all().map_err(io)?;
    // Never over a file that came into the store meanwhile.
    file.persist_noclobber(path).map_err(|failure| match failure.error.kind() {
        ErrorKind::AlreadyExists => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            FetchError::Exists { name }
        }
        _ => io(failure.error),
    })?;
    Ok(())
}

/// An archive elsewhere, open.
struct Source {
    reader: Box<dyn Read>,
    /// In bytes, where that is told beforehand.
    size: Option<u64>,
}

fn open(url: &str, allowed: &Allowed) -> Result<Source> {
    // Readers of URLs disagree on these, and what was allowed must be what is fetched.
    let odd = |c: char| c == '\\' || c.is_whitespace() || c.is_control();
    ensure!(!url.contains(odd), "it holds a backslash, a space or a control character");
    let url = Url::parse(url)?;
    if url.scheme() == "file" { local(&url) } else { over_http(url, allowed) }
}

fn local(url: &Url) -> Result<Source> {
    ensure!(
        url.host().is_none_or(|host| host == Host::Domain("localhost")),
        "a file URL with a host is not fetched; write file:///PATH"
    );
    let path = url.to_file_path().ok().context("it is no path")?;
    // Before it is opened: opening a pipe would wait for somebody to write into it.
    let found = path.metadata()?;
    ensure!(found.is_file(), "it is no file");
    Ok(Source { reader: Box::new(File::open(path)?), size: Some(found.len()) })
}

/// Follows redirects by hand: each must be allowed as the first URL was.
fn over_http(mut url: Url, allowed: &Allowed) -> Result<Source> {
    let agent = agent();
    for _ in 0..=MAX_REDIRECTS {
        ensure!(
            url.username().is_empty() && url.password().is_none(),
            "a user name or password in a URL is not sent; leave it out"
        );
        let response = agent.get(url.as_str()).call()?;
        let status = response.status();
        if status == StatusCode::OK {
            let body = response.into_body();
            let size = body.content_length();
            return Ok(Source { reader: Box::new(body.into_reader()), size });
        }
        let redirects = [301, 302, 303, 307, 308].contains(&status.as_u16());
        ensure!(redirects, "{} answers {status}", host(&url));
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.context("it redirects, and does not say where")?;
        let next = url.join(location).with_context(|| format!("it redirects to {location}"))?;
        let web = matches!(next.scheme(), "http" | "https");
        if !web || !allowed.matches(next.as_str()) {
            bail!("it redirects to {next}, which no expression of allowed_urls matches");
        }
        url = next;
    }
    bail!("it redirects more than {MAX_REDIRECTS} times")
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn agent() -> Agent {
    // The provider is named here, not installed: a library sets nothing for the whole process.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("marserve/", env!("CARGO_PKG_VERSION")))
        // A connection for each request: one that was kept may have been closed by the other side since, and
        // a download has few requests.
        .max_idle_connections(0)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_per_read(Some(READ_TIMEOUT))
        .timeout_per_write(Some(READ_TIMEOUT))
        .timeout_recv_response(Some(READ_TIMEOUT))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// A web server that answers a path by a function, until the process ends. Its URL.
    fn web(answer: impl Fn(&str) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let reader = BufReader::new(connection.try_clone().unwrap());
                let head: Vec<String> =
                    reader.lines().map(Result::unwrap).take_while(|l| !l.is_empty()).collect();
                let path = head[0].split(' ').nth(1).unwrap();
                connection.write_all(answer(path).as_bytes()).unwrap();
            }
        });
        url
    }

    fn found(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    fn moved(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    }

    /// What fetching a URL into `m.mar` comes to, and all that is in the store then.
    fn fetch(url: &str, allowed: &[&str]) -> (Result<(), FetchError>, Vec<(String, String)>) {
        let store = tempfile::tempdir().unwrap();
        let allowed: Vec<String> = allowed.iter().map(|e| (*e).to_owned()).collect();
        let allowed = Allowed::new(&allowed).unwrap();
        let fetched = download(url, &store.path().join("m.mar"), &allowed, 1000);
        let files = fs::read_dir(store.path()).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        });
        (fetched, files.collect())
    }

    /// Why a URL was not fetched; the store is empty after it, and the answer is the contract's.
    fn refused(url: &str, allowed: &[&str]) -> String {
        let (fetched, files) = fetch(url, allowed);
        assert_eq!(files, []);
        let error = fetched.unwrap_err();
        assert!(matches!(error, FetchError::Download { .. }), "{error:?}");
        assert_eq!(error.response().status(), 400);
        let message = error.to_string();
        assert!(message.contains(url), "{message}");
        message
    }

    #[test]
    fn a_file_comes_whole_through_allowed_redirects() {
        let url = web(|path| match path {
            "/a/m.mar" => moved("../b/m.mar?key=1"),
            "/b/m.mar?key=1" => found("archive"),
            _ => panic!("{path} was not asked for"),
        });
        let (fetched, files) = fetch(&format!("{url}/a/m.mar"), &["http://127.*"]);
        fetched.unwrap();
        assert_eq!(files, [("m.mar".to_owned(), "archive".to_owned())]);
    }

    #[test]
    fn a_redirect_to_what_is_not_allowed_is_not_followed() {
        let inner = web(|_| panic!("the redirect was followed"));
        let to = format!("{inner}/m.mar");
        let outer = web(move |_| moved(&to));
        let message = refused(&format!("{outer}/m.mar"), &[&format!("{outer}/.*")]);
        assert!(message.contains("redirects to") && message.contains(&inner), "{message}");
        // Nor from the web to this machine's files, even where both are allowed.
        let outer = web(|_| moved("file:///etc/hostname"));
        let message = refused(&format!("{outer}/m.mar"), &[".*"]);
        assert!(message.contains("file:///etc/hostname"), "{message}");
    }

    #[test]
    fn redirects_end() {
        let url = web(|_| moved("/m.mar"));
        let message = refused(&format!("{url}/m.mar"), &[".*"]);
        assert!(message.contains("more than 10 times"), "{message}");
    }

    #[test]
    fn a_body_that_is_cut_off_is_no_archive() {
        let url = web(|path| match path {
            "/length" => "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\narch".into(),
            _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\narch\r\n".into(),
        });
        for path in ["length", "chunked"] {
            let message = refused(&format!("{url}/{path}"), &[".*"]);
            assert!(message.contains("cut off"), "{message}");
        }
    }

    #[test]
    fn what_is_larger_than_the_limit_is_refused() {
        let url = web(|path| match path {
            // Told beforehand: nothing is sent.
            "/told" => "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n".into(),
            _ => format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "a".repeat(1001)),
        });
        for path in ["told", "untold"] {
            let message = refused(&format!("{url}/{path}"), &[".*"]);
            assert!(message.contains("larger than 1000 bytes"), "{message}");
        }
        let url = web(|_| found(&"a".repeat(1000)));
        fetch(&format!("{url}/m.mar"), &[".*"]).0.unwrap();
    }

    #[test]
    fn what_the_other_side_says_is_passed_on() {
        let url = web(|path| match path {
            "/gone" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
            "/lost" => "HTTP/1.1 301 Moved\r\ncontent-length: 0\r\n\r\n".into(),
            "/empty" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
            _ => "no HTTP at all\r\n\r\n".into(),
        });
        let message = |path: &str| refused(&format!("{url}{path}"), &[".*"]);
        assert!(message("/gone").contains("404"));
        assert!(message("/lost").contains("does not say where"));
        assert!(message("/empty").contains("204"));
        message("/nonsense");
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        refused(&format!("http://{nobody}/m.mar"), &[".*"]);
    }

    #[test]
    fn https_wants_a_certificate_that_is_trusted() {
        let url = web(|_| found("no TLS at all")).replace("http:", "https:");
        refused(&format!("{url}/m.mar"), &[".*"]);
    }

    #[test]
    fn a_url_that_two_readers_read_differently_is_not_fetched() {
        for url in ["http://good\\@evil/m.mar", "http://a b/m.mar", "http://u:p@127.0.0.1:1/m.mar"]
        {
            refused(url, &[".*"]);
        }
        refused("http:///", &[".*"]);
        refused("file://elsewhere/m.mar", &[".*"]);
        refused("file:///dev/null", &[".*"]);
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_written_over() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join("m.mar");
        let url = web({
            let path = path.clone();
            move |_| {
                fs::write(&path, "mine").unwrap();
                found("archive")
            }
        });
        let allowed = Allowed::new(&[".*".to_owned()]).unwrap();
        let fetched = download(&format!("{url}/m.mar"), &path, &allowed, 1000);
        assert!(matches!(fetched, Err(FetchError::Exists { .. })), "{fetched:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_store_that_takes_no_file_is_an_error_of_the_server() {
        let url = web(|_| found("archive"));
        let store = tempfile::tempdir().unwrap();
        let allowed = Allowed::new(&[".*".to_owned()]).unwrap();
        let path = store.path().join("gone/m.mar");
        let error = download(&format!("{url}/m.mar"), &path, &allowed, 1000).unwrap_err();
        assert_eq!(error.response().status(), 500);
        assert!(error.to_string().contains("failed to save"), "{error}");
        assert!(error.to_string().contains(&url), "{error}");
    }
}
