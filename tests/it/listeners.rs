use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use mar_server::{Address, Endpoint, Settings, Tls};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore};
use tempfile::TempDir;

use crate::support::fake;
use crate::support::http::{agent, answer, get, post};
use crate::support::server::{TestServer, settings, shared};
use crate::support::store::Store;

fn serve(settings: Settings) -> (Store, TestServer) {
    let store = Store::new();
    let archive = store.fake("m", "1.0", "echo");
    let (server, _control) = TestServer::fake_with(settings, &[&archive]);
    (store, server)
}

/// Why a server does not start.
fn start_error(settings: Settings) -> String {
    let started = TestServer::try_start(settings, fake::handlers(), fake::runtime().0);
    format!("{:#}", started.map(|_| ()).unwrap_err())
}

#[test]
fn three_addresses_answer_each_its_own_paths() {
    let (_store, server) = serve(settings());
    let metrics = format!("{}/metrics", server.metrics().unwrap());
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    assert_eq!(get(&server.management("/models")).status, 200);
    assert_eq!(get(&metrics).status, 200);
    for url in [
        server.inference("/models"),
        server.inference("/metrics"),
        server.management("/ping"),
        server.management("/metrics"),
        metrics.replace("/metrics", "/ping"),
        metrics.replace("/metrics", "/models"),
    ] {
        assert_eq!(get(&url).error().1, "ResourceNotFoundException", "{url}");
    }
}

#[test]
fn a_path_of_another_address_is_told_which() {
    let (_store, server) = serve(settings());
    let told = |url: &str| get(url).error().2;
    assert!(told(&server.inference("/models")).ends_with("that is a path of management_address"));
    assert!(told(&server.management("/ping")).ends_with("that is a path of inference_address"));
    let metrics = told(&server.inference("/metrics"));
    assert!(metrics.contains("metrics_address, where enable_metrics_api is on"), "{metrics}");
    assert!(told(&server.inference("/nothing")).contains("/api-description"));
}

#[test]
fn metrics_that_are_off_have_no_address() {
    let mut settings = settings();
    settings.measuring.endpoint = false;
    let (_store, server) = serve(settings);
    assert_eq!(server.metrics(), None);
    assert_eq!(get(&server.inference("/ping")).status, 200);
}

#[test]
fn one_address_serves_everything() {
    let (_store, server) = serve(shared(settings(), 6182));
    let one = server.inference("");
    assert_eq!(server.management(""), one);
    assert_eq!(server.metrics(), Some(one.as_str()));
    assert_eq!(post(&server.inference("/predictions/m"), b"x").text(), "x");
    assert_eq!(get(&server.inference("/ping")).status, 200);
    assert_eq!(get(&server.inference("/models/m/1.0")).json()[0]["modelVersion"], "1.0");
    assert_eq!(get(&server.inference("/metrics")).status, 200);
}

#[test]
fn a_taken_address_fails_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let metrics = Endpoint { address: Address::Tcp(address), tls: false };
    let message = start_error(Settings { metrics, ..settings() });
    assert!(message.contains(&format!("cannot listen on http://{address}")), "{message}");
}

#[test]
fn an_expression_that_is_none_fails_the_start() {
    let mut settings = settings();
    settings.store.allowed_urls = vec!["http://(".into()];
    let message = start_error(settings);
    assert!(message.contains("allowed_urls") && message.contains("http://("), "{message}");
}

/// What is answered to one request in plain HTTP, until the connection is closed.
fn exchange(mut connection: impl Read + Write, request: &str) -> String {
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (_store, server) = serve(settings());
    let mut client = TcpStream::connect(server.inference_address()).unwrap();
    let head = "POST /predictions/m HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
                content-length: 5\r\nexpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut told = vec![0; expected.len()];
    client.read_exact(&mut told).unwrap();
    assert_eq!(String::from_utf8(told).unwrap().as_bytes(), expected);
    let answer = exchange(client, "hello");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
}

fn unix(path: &Path) -> Endpoint {
    Endpoint { address: Address::Unix(path.to_owned()), tls: false }
}

fn over_unix(path: &Path, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    exchange(UnixStream::connect(path).unwrap(), &request)
}

#[test]
fn unix_sockets_answer_and_go_with_their_server() {
    let folder = tempfile::tempdir().unwrap();
    let [inference, management] = ["inference", "management"].map(|name| folder.path().join(name));
    // What a server leaves that was killed.
    drop(UnixListener::bind(&inference).unwrap());
    let on_sockets =
        || Settings { inference: unix(&inference), management: unix(&management), ..settings() };
    let (_store, server) = serve(on_sockets());
    assert_eq!(server.inference(""), format!("unix:{}", inference.display()));
    let ping = over_unix(&inference, "/ping");
    assert!(ping.starts_with("HTTP/1.1 200 OK\r\n") && ping.contains("Healthy"), "{ping}");
    assert!(over_unix(&management, "/models").contains("\"modelName\": \"m\""));
    assert!(over_unix(&management, "/ping").starts_with("HTTP/1.1 404 "));

    let message = start_error(on_sockets());
    assert!(message.contains("another server answers there"), "{message}");
    assert!(message.contains(&format!("unix:{}", inference.display())), "{message}");
    assert!(over_unix(&inference, "/ping").contains("Healthy"), "the first server is unharmed");

    drop(server);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn one_unix_socket_serves_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (inference, management) = (unix(&path), unix(&path));
    let (_store, _server) = serve(Settings { inference, management, ..settings() });
    for target in ["/ping", "/models", "/metrics"] {
        let answer = over_unix(&path, target);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {answer}");
    }
}

/// A certificate for this machine and its key, in files.
struct Certificate {
    files: TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(files.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        Self { files, der: cert.der().clone() }
    }

    /// Settings whose three addresses speak TLS with it.
    fn settings(&self) -> Settings {
        let tls = Tls {
            certificate_file: self.files.path().join("cert.pem"),
            private_key_file: self.files.path().join("key.pem"),
        };
        let mut settings = Settings { tls: Some(tls), ..settings() };
        for endpoint in [&mut settings.inference, &mut settings.management, &mut settings.metrics] {
            endpoint.tls = true;
        }
        settings
    }

    /// A client that trusts it and nothing else.
    fn agent(&self) -> ureq::Agent {
        let certificate = ureq::tls::Certificate::from_der(&self.der).to_owned();
        let tls = ureq::tls::TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .root_certs(ureq::tls::RootCerts::Specific(Arc::new(vec![certificate])))
            .build();
        ureq::Agent::config_builder().tls_config(tls).build().into()
    }

    /// Shakes hands with a server: the version of TLS, and the protocol chosen of those offered.
    fn handshake(
        &self,
        address: &str,
        version: &'static rustls::SupportedProtocolVersion,
        offered: &[&[u8]],
    ) -> (Option<ProtocolVersion>, Option<Vec<u8>>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut client =
            ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut socket).unwrap();
        }
        (client.protocol_version(), client.alpn_protocol().map(<[u8]>::to_vec))
    }
}

#[test]
fn https_answers_on_every_address() {
    let certificate = Certificate::new();
    let (_store, server) = serve(certificate.settings());
    let client = certificate.agent();
    for url in [
        server.inference("/ping"),
        server.management("/models"),
        format!("{}/metrics", server.metrics().unwrap()),
    ] {
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        assert_eq!(answer(client.get(&url).call()).status, 200, "{url}");
    }
    let predicted = answer(client.post(server.inference("/predictions/m")).send(&b"x"[..]));
    assert_eq!(predicted.text(), "x");
    // Without TLS, nobody answers there.
    let plain = server.inference("/ping").replace("https:", "http:");
    assert!(agent().get(plain).call().is_err());
}

#[test]
fn tls_is_1_2_or_1_3_and_offers_both_versions_of_http() {
    let certificate = Certificate::new();
    let (_store, server) = serve(certificate.settings());
    let url = server.inference("");
    let address = url.trim_start_matches("https://");
    for (version, number) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (offered, chosen) in [
            (&[&b"http/1.1"[..], b"h2"][..], Some(b"h2".to_vec())),
            (&[&b"http/1.1"[..]], Some(b"http/1.1".to_vec())),
            (&[], None),
        ] {
            let agreed = certificate.handshake(address, version, offered);
            assert_eq!(agreed, (Some(number), chosen));
        }
    }
}

#[test]
fn one_address_may_speak_tls_and_another_not() {
    let certificate = Certificate::new();
    let management = settings().management;
    let (_store, server) = serve(Settings { management, ..certificate.settings() });
    assert_eq!(answer(certificate.agent().get(server.inference("/ping")).call()).status, 200);
    assert_eq!(get(&server.management("/models")).status, 200);
}

#[test]
fn a_certificate_that_is_missing_or_anothers_fails_the_start() {
    let (mine, other) = (Certificate::new(), Certificate::new());
    let missing = start_error(Settings { tls: None, ..mine.settings() });
    assert!(missing.contains("needs a certificate and a private key"), "{missing}");
    let mut mixed = mine.settings();
    mixed.tls.as_mut().unwrap().private_key_file = other.files.path().join("key.pem");
    let mixed = start_error(mixed);
    assert!(mixed.contains("is not the one of the first certificate"), "{mixed}");
}
