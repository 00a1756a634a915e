//! Addresses as TorchServe writes them, and who can reach them.

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Access, Address, Endpoint, Tls};

/// The ports of an address that names none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) https: u16,
}

/// Reads `http://host[:port]`, `https://host[:port]`, `unix:/path`, or plain `host:port`.
///
/// # Errors
/// Where it is none of them or its host does not resolve.
pub(crate) fn endpoint(text: &str, ports: Ports) -> Result<Endpoint> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        ensure!(path.starts_with('/'), "not unix: and an absolute path");
        return Ok(Endpoint { address: Address::Unix(PathBuf::from(path)), tls: false });
    }
    let (place, tls, port) = match text.split_once("://") {
        Some(("http", place)) => (place, false, Some(ports.http)),
        Some(("https", place)) => (place, true, Some(ports.https)),
        Some((scheme, _)) => bail!("{scheme} is not http, https or unix"),
        None => (text, false, None),
    };
    let place = place.trim_end_matches('/');
    ensure!(!place.is_empty() && !place.contains('/'), "not http://host:port");
    // What follows the last bracket of an IPv6 address.
    let after = place.rsplit(']').next().unwrap_or(place);
    let place = match port {
        Some(port) if !after.contains(':') => format!("{place}:{port}"),
        _ => place.to_owned(),
    };
    let mut found = place.to_socket_addrs().context("not http://host:port, or no such host")?;
    let address = found.next().context("no such host")?;
    Ok(Endpoint { address: Address::Tcp(address), tls })
}

/// Refuses an address that others can reach while nothing is asked of them, unless that is meant.
pub(crate) fn check_reach(
    key: &str,
    endpoint: &Endpoint,
    access: &Access,
    meant: bool,
) -> Result<()> {
    let local = is_local(endpoint);
    let asks = access.tokens.is_some() || access.api_key.is_some() || endpoint.tls;
    ensure!(
        local || asks || meant,
        "{key} {endpoint} can be reached from other machines and nothing is asked of them: turn on \
         TorchServe's tokens (disable_token_authorization=false), give a key (MARSERVE_API_KEY or \
         api_key_file) or use https; add --disable-token-auth if it is meant to be open"
    );
    Ok(())
}

/// Whether no other machine can reach an address.
pub(crate) fn is_local(endpoint: &Endpoint) -> bool {
    match &endpoint.address {
        Address::Tcp(address) => address.ip().is_loopback(),
        Address::Unix(_) => true,
    }
}

/// The certificate and its key, where an endpoint needs them or they are named.
///
/// # Errors
/// Where only one of them is named, one does not exist, or `https` has none.
pub(crate) fn tls(
    certificate_file: Option<PathBuf>,
    private_key_file: Option<PathBuf>,
    endpoints: &[(&str, &Endpoint)],
) -> Result<Option<Tls>> {
    match (certificate_file, private_key_file) {
        (Some(certificate_file), Some(private_key_file)) => {
            exists("certificate_file", &certificate_file)?;
            exists("private_key_file", &private_key_file)?;
            Ok(Some(Tls { certificate_file, private_key_file }))
        }
        (Some(_), None) => bail!("certificate_file is set and private_key_file is not; set both"),
        (None, Some(_)) => bail!("private_key_file is set and certificate_file is not; set both"),
        (None, None) => match endpoints.iter().find(|(_, endpoint)| endpoint.tls) {
            None => Ok(None),
            Some((key, endpoint)) => bail!(
                "{key} {endpoint}: https needs private_key_file and certificate_file; a pair to try \
                 with: openssl req -x509 -nodes -newkey rsa:2048 -days 365 -subj /CN=localhost \
                 -keyout key.pem -out cert.pem"
            ),
        },
    }
}

fn exists(key: &str, file: &Path) -> Result<()> {
    ensure!(file.is_file(), "{key} {} is not a file; give the path of a PEM file", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::ApiKey;

    const PORTS: Ports = Ports { http: 8081, https: 8444 };

    fn read(text: &str) -> String {
        endpoint(text, PORTS).unwrap().to_string()
    }

    #[test]
    fn addresses_are_read_as_torchserve_writes_them() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://127.0.0.1", "http://127.0.0.1:8081"),
            ("https://127.0.0.1", "https://127.0.0.1:8444"),
            ("https://0.0.0.0:8443", "https://0.0.0.0:8443"),
            ("http://[::1]", "http://[::1]:8081"),
            ("https://[::1]:9", "https://[::1]:9"),
            ("unix:/tmp/management.sock", "unix:/tmp/management.sock"),
            ("unix:///tmp/management.sock", "unix:/tmp/management.sock"),
        ] {
            assert_eq!(read(text), expected);
        }
        for text in [
            "127.0.0.1",
            "nowhere",
            "http://127.0.0.1:x",
            "http://127.0.0.1:99999",
            "http://",
            "http://127.0.0.1:80/path",
            "ftp://127.0.0.1",
            "unix:relative",
            "",
        ] {
            assert!(endpoint(text, PORTS).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_is_local_or_asks_or_is_meant_is_open() {
        let anywhere = endpoint("http://0.0.0.0:8080", PORTS).unwrap();
        let check = |access: &Access, meant| check_reach("k", &anywhere, access, meant);
        let nothing = Access::default();
        let error = check(&nothing, false).unwrap_err().to_string();
        for words in
            ["k http://0.0.0.0:8080", "disable_token_authorization", "--disable-token-auth"]
        {
            assert!(error.contains(words), "{error}");
        }
        assert!(check(&nothing, true).is_ok());
        let tokens = Access { tokens: Some(Duration::from_mins(1)), ..Access::default() };
        assert!(check(&tokens, false).is_ok());
        let key = Access { api_key: Some(ApiKey("k".into())), ..Access::default() };
        assert!(check(&key, false).is_ok());
        for safe in ["https://0.0.0.0", "http://127.0.0.1", "http://[::1]", "unix:/s"] {
            let safe = endpoint(safe, PORTS).unwrap();
            assert!(check_reach("k", &safe, &nothing, false).is_ok(), "{safe}");
        }
    }

    #[test]
    fn tls_needs_both_files_and_they_exist() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Some(folder.path().join(name));
        std::fs::write(folder.path().join("cert.pem"), "").unwrap();
        std::fs::write(folder.path().join("key.pem"), "").unwrap();
        let https = endpoint("https://127.0.0.1", PORTS).unwrap();
        let http = endpoint("http://127.0.0.1", PORTS).unwrap();
        let both = tls(file("cert.pem"), file("key.pem"), &[("a", &https)]).unwrap().unwrap();
        assert_eq!(Some(both.private_key_file), file("key.pem"));
        assert_eq!(tls(None, None, &[("a", &http)]).unwrap(), None);
        for (certificate, key, words) in [
            (None, None, "b https://127.0.0.1:8444: https needs private_key_file"),
            (file("cert.pem"), None, "private_key_file is not"),
            (None, file("key.pem"), "certificate_file is not"),
            (file("cert.pem"), file("none.pem"), "none.pem is not a file"),
        ] {
            let error = tls(certificate, key, &[("a", &http), ("b", &https)]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
