//! Certificate and key of the addresses that speak TLS.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, InconsistentKeys, ServerConfig};

use crate::settings::{Endpoint, Settings, Tls};

/// What the endpoints that speak TLS need, where there are any.
///
/// # Errors
/// Where a certificate or a key is missing, unreadable or of another; the message names the file.
pub(crate) fn of(settings: &Settings) -> Result<Option<ServerConfig>> {
    let rest = [&settings.inference, &settings.management, &settings.metrics];
    let grpc = settings.grpc.iter().map(|site| &site.endpoint);
    let Some(endpoint) = rest.into_iter().chain(grpc).find(|endpoint| endpoint.tls) else {
        return Ok(None);
    };
    let tls = settings.tls.as_ref().with_context(|| missing(endpoint))?;
    server_config(tls).map(Some)
}

fn missing(endpoint: &Endpoint) -> String {
    format!(
        "{endpoint} needs a certificate and a private key; set certificate_file and private_key_file"
    )
}

/// TLS 1.2 and 1.3, without client certificates. Which of HTTP's versions is spoken is the server's to say.
///
/// # Errors
/// Where a file is unreadable, or the key is not the certificate's; the message names the file.
pub(crate) fn server_config(tls: &Tls) -> Result<ServerConfig> {
    let chain = certificates(&tls.certificate_file)?;
    let key = private_key(&tls.private_key_file)?;
    // The provider is named here, not installed: a library sets nothing for the whole process.
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("this build speaks no version of TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error, tls))
}

fn unusable(error: &Error, tls: &Tls) -> anyhow::Error {
    let (certificate, key) = (tls.certificate_file.display(), tls.private_key_file.display());
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            anyhow!(
                "the private key in {key} is not the one of the first certificate in {certificate}"
            )
        }
        Error::InvalidCertificate(reason) => {
            anyhow!("the first certificate in {certificate} cannot be used: {reason}")
        }
        other => anyhow!("the private key in {key} cannot be used: {other}"),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain: Vec<_> = read.map_err(|error| unreadable("certificate", path, error))?;
    ensure!(!chain.is_empty(), "no certificate in {}: it is not a PEM file", path.display());
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_file(path) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let encrypted = std::fs::read_to_string(path)
                .is_ok_and(|text| text.contains("ENCRYPTED PRIVATE KEY"));
            if encrypted {
                bail!(
                    "the private key in {} is encrypted; decrypt it with: openssl pkey -in FILE -out FILE",
                    path.display()
                );
            }
            bail!(
                "no private key in {}: it is not a PEM file of PKCS#8, PKCS#1 or SEC1",
                path.display()
            )
        }
        Err(error) => Err(unreadable("private key", path, error)),
    }
}

fn unreadable(what: &str, path: &Path, error: pem::Error) -> anyhow::Error {
    match error {
        pem::Error::Io(error) => {
            anyhow!(error).context(format!("cannot read the {what} file {}", path.display()))
        }
        other => anyhow!("the {what} file {} is not valid PEM: {other}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use rcgen::{
        CertificateParams, CertifiedKey, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
        RsaKeySize, generate_simple_self_signed,
    };
    use tempfile::TempDir;

    use super::*;
    use crate::settings::Address;

    struct Files(TempDir);

    impl Files {
        /// A certificate and its key.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
            fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn load(&self, certificate: &str, key: &str) -> Result<ServerConfig> {
            server_config(&Tls {
                certificate_file: self.path(certificate),
                private_key_file: self.path(key),
            })
        }

        fn error(&self, certificate: &str, key: &str) -> String {
            format!("{:#}", self.load(certificate, key).unwrap_err())
        }
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let files = Files::new();
        files.load("cert.pem", "key.pem").unwrap();
        let both =
            [fs::read(files.path("key.pem")).unwrap(), fs::read(files.path("cert.pem")).unwrap()];
        fs::write(files.path("both.pem"), both.concat()).unwrap();
        files.load("both.pem", "both.pem").unwrap();
    }

    #[test]
    fn keys_are_pkcs8_pkcs1_or_sec1() {
        let files = Files::new();
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let elliptic = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        // PKCS#8 is the older form behind some bytes that say which algorithm it is for.
        for (key, before, label) in [(rsa, 26, "RSA PRIVATE KEY"), (elliptic, 29, "EC PRIVATE KEY")]
        {
            let names = vec!["localhost".to_owned()];
            let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
            fs::write(files.path("c.pem"), certificate.pem()).unwrap();
            fs::write(files.path("k.pem"), key.serialize_pem()).unwrap();
            files.load("c.pem", "k.pem").unwrap();
            let inner = BASE64_STANDARD.encode(&key.serialize_der()[before..]);
            let pem = format!("-----BEGIN {label}-----\n{inner}\n-----END {label}-----\n");
            fs::write(files.path("k.pem"), pem).unwrap();
            files.load("c.pem", "k.pem").unwrap();
        }
    }

    #[test]
    fn every_error_names_the_file() {
        let files = Files::new();
        let other = Files::new();
        fs::copy(other.path("key.pem"), files.path("other.pem")).unwrap();
        fs::write(files.path("text.pem"), "hello").unwrap();
        fs::write(files.path("cut.pem"), &fs::read(files.path("key.pem")).unwrap()[..60]).unwrap();
        fs::write(
            files.path("locked.pem"),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )
        .unwrap();
        for (certificate, key, culprit, what) in [
            ("none.pem", "key.pem", "none.pem", "cannot read the certificate file"),
            ("text.pem", "key.pem", "text.pem", "no certificate"),
            ("key.pem", "key.pem", "key.pem", "no certificate"),
            ("cert.pem", "none.pem", "none.pem", "cannot read the private key file"),
            ("cert.pem", "text.pem", "text.pem", "no private key"),
            ("cert.pem", "cert.pem", "cert.pem", "no private key"),
            ("cert.pem", "cut.pem", "cut.pem", "private key"),
            ("cert.pem", "locked.pem", "locked.pem", "encrypted"),
            ("cert.pem", "other.pem", "other.pem", "is not the one of the first certificate"),
        ] {
            let error = files.error(certificate, key);
            assert!(error.contains(what), "{certificate} {key}: {error}");
            assert!(error.contains(&files.path(culprit).display().to_string()), "{error}");
        }
    }

    #[test]
    fn an_https_address_without_files_is_an_error() {
        let mut settings = Settings::default();
        assert!(of(&settings).unwrap().is_none());
        settings.management.tls = true;
        let error = of(&settings).unwrap_err().to_string();
        assert!(error.contains("https://127.0.0.1:8081"), "{error}");
        assert!(error.contains("certificate_file"), "{error}");
        settings.management = Endpoint { address: Address::Unix("/nowhere".into()), tls: false };
        assert!(of(&settings).unwrap().is_none());
    }
}
