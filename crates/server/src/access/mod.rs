//! Who may ask what: TorchServe's tokens, and a key that is always good.
//!
//! Knows nothing of paths: which surface a request is for is the protocol's business, so that REST and
//! gRPC ask the same question here.

mod key_file;
mod tokens;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};

pub(crate) use tokens::TokenKind;

use crate::settings::{Access, ApiKey};
use key_file::KeyFile;
use tokens::{Refusal, Tokens};

/// What an address offers, each with a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Inference,
    Management,
    /// Open to everybody who reaches it.
    Metrics,
}

/// The keys that are good, and the file that tells them.
#[derive(Debug)]
pub(crate) struct Keyring {
    api_key: Option<ApiKey>,
    issued: Option<Issued>,
}

/// TorchServe's tokens.
#[derive(Debug)]
struct Issued {
    tokens: RwLock<Tokens>,
    /// Held while a token is renewed, so that renewals come one after the other.
    file: Mutex<KeyFile>,
    path: PathBuf,
}

/// Why a request was refused, for its client: tells no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(String);

/// Why a token was not renewed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRenewed {
    /// The client's key or question is wrong.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The file or the random bytes failed.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl Keyring {
    /// What the settings ask for. Tokens are written into `key_file.json` in a folder.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn new(access: &Access, folder: &Path, now: Timestamp) -> Result<Self> {
        let issue = |lifetime| -> Result<Issued> {
            let tokens = Tokens::generate(now, lifetime).context("no random bytes for tokens")?;
            let file = KeyFile::create(folder, &tokens)?;
            let path = file.path().to_owned();
            Ok(Issued { tokens: RwLock::new(tokens), file: Mutex::new(file), path })
        };
        let issued = access.tokens.map(issue).transpose()?;
        Ok(Self { api_key: access.api_key.clone(), issued })
    }

    /// Whether a request may pass, by its `Authorization` header.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub(crate) fn check(
        &self,
        surface: Surface,
        authorization: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let kind = match surface {
            Surface::Metrics => return Ok(()),
            _ if self.api_key.is_none() && self.issued.is_none() => return Ok(()),
            Surface::Inference => TokenKind::Inference,
            Surface::Management => TokenKind::Management,
        };
        let key = bearer(authorization).map_err(|what| {
            let hint = match &self.issued {
                Some(issued) => format!("the {} key of {}", kind.name(), issued.path.display()),
                None => "the server's API key".to_owned(),
            };
            Denied(format!("{what}; send \"Authorization: Bearer KEY\" with {hint}"))
        })?;
        if self.is_api_key(key) {
            return Ok(());
        }
        let Some(issued) = &self.issued else {
            return Err(Denied("the key is wrong; send the server's API key".into()));
        };
        let checked = issued.tokens.read().check(kind, key, now);
        checked.map_err(|refusal| {
            let (kind, path) = (kind.name(), issued.path.display());
            Denied(match refusal {
                Refusal::Wrong => format!("the key is wrong; send the {kind} key of {path}"),
                Refusal::Expired(instant) => format!(
                    "the {kind} key expired at {instant:.0}; GET /token?type={kind} on the management address, with the API key of {path}, writes a new one there"
                ),
            })
        })
    }

    /// Whether there are tokens that `GET /token` renews.
    pub(crate) fn renews(&self) -> bool {
        self.issued.is_some()
    }

    /// Replaces a token by a fresh one, which only the file tells. Writes a file: not for async threads.
    ///
    /// # Errors
    /// [`NotRenewed::Denied`] where the API key is wrong or `kind` names no token.
    pub(crate) fn renew(
        &self,
        kind: Option<&str>,
        authorization: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(), NotRenewed> {
        let denied = |message: String| NotRenewed::Denied(Denied(message));
        let Some(issued) = &self.issued else {
            return Err(denied("this server has no tokens to renew".into()));
        };
        let path = issued.path.display();
        let key = bearer(authorization).map_err(|what| {
            denied(format!("{what}; send \"Authorization: Bearer KEY\" with the API key of {path}"))
        })?;
        let mut file = issued.file.lock();
        let current = issued.tokens.read().clone();
        if !current.api.is(key) && !self.is_api_key(key) {
            return Err(denied(format!("the key is wrong; send the API key of {path}")));
        }
        let kind = kind.and_then(TokenKind::from_name).ok_or_else(|| {
            denied("no such token; ask for type=inference or type=management".into())
        })?;
        let fresh = current
            .renewed(kind, now)
            .context("no random bytes for a token")
            .map_err(NotRenewed::Failed)?;
        file.replace(&fresh).map_err(NotRenewed::Failed)?;
        *issued.tokens.write() = fresh;
        Ok(())
    }

    /// Removes the file: its keys open nothing from now on.
    pub(crate) fn remove_file(&self) {
        if let Some(issued) = &self.issued {
            issued.file.lock().remove();
        }
    }

    fn is_api_key(&self, key: &[u8]) -> bool {
        self.api_key.as_ref().is_some_and(|ApiKey(right)| tokens::same(right.as_bytes(), key))
    }
}

/// The key of a header `Bearer KEY`: the word as it stands here, then spaces, as TorchServe has it.
fn bearer(authorization: Option<&[u8]>) -> Result<&[u8], &'static str> {
    let header = authorization.ok_or("the request has no Authorization header")?;
    let malformed = "the Authorization header is not of the form Bearer KEY";
    let rest = header.strip_prefix(b"Bearer").ok_or(malformed)?;
    let key = rest.trim_ascii_start();
    if key.is_empty() || key.len() == rest.len() || key.iter().any(u8::is_ascii_whitespace) {
        return Err(malformed);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn the_header_is_bearer_spaces_key_and_nothing_else() {
        for right in ["Bearer abc", "Bearer    abc"] {
            assert_eq!(bearer(Some(right.as_bytes())), Ok(&b"abc"[..]), "{right}");
        }
        for wrong in ["bearer abc", "BEARER abc", "Bearerabc", "Bearer", "Bearer ", "abc", ""] {
            assert!(bearer(Some(wrong.as_bytes())).is_err(), "{wrong}");
        }
        assert!(bearer(Some(b"Bearer a b")).is_err());
        assert!(bearer(Some(b" Bearer abc")).is_err());
        assert!(bearer(None).is_err());
    }

    #[test]
    fn without_tokens_and_key_everything_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::new(&Access::default(), folder.path(), NOW).unwrap();
        assert_eq!(keyring.check(Surface::Inference, None, NOW), Ok(()));
        assert_eq!(keyring.check(Surface::Management, Some(b"nonsense"), NOW), Ok(()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file without tokens");
    }

    #[test]
    fn an_expired_token_is_told_when_and_how_to_renew_it() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access { tokens: Some(Duration::from_mins(1)), ..Access::default() };
        let keyring = Keyring::new(&access, folder.path(), NOW).unwrap();
        let key = keyring.issued.as_ref().unwrap().tokens.read().inference.key.clone();
        let header = format!("Bearer {}", key.reveal());
        let check = |second| {
            let now = Timestamp::from_second(second).unwrap();
            keyring.check(Surface::Inference, Some(header.as_bytes()), now)
        };
        assert_eq!(check(59), Ok(()));
        let Denied(message) = check(60).unwrap_err();
        assert!(message.contains("1970-01-01T00:01:00Z"), "{message}");
        assert!(message.contains("GET /token?type=inference"), "{message}");
        assert!(message.contains("key_file.json"), "{message}");
        assert!(!message.contains(key.reveal()), "{message}");
    }

    #[test]
    fn a_token_that_cannot_be_written_down_is_not_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access { tokens: Some(Duration::from_mins(1)), ..Access::default() };
        let keyring = Keyring::new(&access, folder.path(), NOW).unwrap();
        let tokens = || keyring.issued.as_ref().unwrap().tokens.read().clone();
        let old = tokens();
        let api = format!("Bearer {}", old.api.reveal());
        folder.close().unwrap();
        let renewed = keyring.renew(Some("inference"), Some(api.as_bytes()), NOW);
        assert!(matches!(renewed, Err(NotRenewed::Failed(_))), "{renewed:?}");
        assert!(tokens().inference.key.is(old.inference.key.reveal().as_bytes()));
    }
}
