//! TorchServe's three keys: what they are, how long they are good, and telling one from another.
//!
//! No file and no clock: the instant comes in, and `key_file` writes the keys down.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

/// The keys of one server.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) management: Token,
    pub(crate) inference: Token,
    /// Good for renewing the other two, and never expires.
    pub(crate) api: Key,
    lifetime: Duration,
}

/// A key that is good until an instant.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) key: Key,
    pub(crate) expires: Timestamp,
}

/// A secret that does not show itself.
#[derive(Clone)]
pub(crate) struct Key(String);

/// Which of the two tokens that expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Inference,
    Management,
}

/// Why a key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Wrong,
    /// It was right until this instant.
    Expired(Timestamp),
}

impl TokenKind {
    /// Reads `type=` of a renewal.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Inference, Self::Management].into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Management => "management",
        }
    }
}

impl Tokens {
    /// Three fresh keys.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub(crate) fn generate(now: Timestamp, lifetime: Duration) -> Result<Self, getrandom::Error> {
        Ok(Self {
            management: Token::generate(now, lifetime)?,
            inference: Token::generate(now, lifetime)?,
            api: Key::generate()?,
            lifetime,
        })
    }

    /// The same keys, but for one that is fresh.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub(crate) fn renewed(
        &self,
        kind: TokenKind,
        now: Timestamp,
    ) -> Result<Self, getrandom::Error> {
        let fresh = Token::generate(now, self.lifetime)?;
        Ok(match kind {
            TokenKind::Inference => Self { inference: fresh, ..self.clone() },
            TokenKind::Management => Self { management: fresh, ..self.clone() },
        })
    }

    /// Whether a key opens at this instant.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn check(&self, kind: TokenKind, key: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let token = match kind {
            TokenKind::Inference => &self.inference,
            TokenKind::Management => &self.management,
        };
        if !token.key.is(key) {
            return Err(Refusal::Wrong);
        }
        if now < token.expires { Ok(()) } else { Err(Refusal::Expired(token.expires)) }
    }
}

impl Token {
    fn generate(now: Timestamp, lifetime: Duration) -> Result<Self, getrandom::Error> {
        // A life longer than the calendar is one until its end.
        let expires = SignedDuration::try_from(lifetime)
            .ok()
            .and_then(|lifetime| now.checked_add(lifetime).ok())
            .unwrap_or(Timestamp::MAX);
        Ok(Self { key: Key::generate()?, expires })
    }
}

impl Key {
    /// Six random bytes in eight characters, as TorchServe makes them.
    fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 6];
        getrandom::fill(&mut bytes)?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The secret, for whoever writes it down.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn is(&self, candidate: &[u8]) -> bool {
        same(self.0.as_bytes(), candidate)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Whether two secrets are the same, in a time that tells their length at most.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn bytes(key: &Key) -> &[u8] {
        key.reveal().as_bytes()
    }

    #[test]
    fn a_key_is_eight_characters_and_every_one_another() {
        let tokens = Tokens::generate(at(0), HOUR).unwrap();
        let keys = [&tokens.management.key, &tokens.inference.key, &tokens.api];
        for key in keys {
            let text = key.reveal();
            assert_eq!(text.len(), 8, "six bytes in base64");
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            assert_eq!(keys.iter().filter(|other| other.is(text.as_bytes())).count(), 1);
        }
    }

    #[test]
    fn a_token_opens_its_own_surface_until_it_expires() {
        let tokens = Tokens::generate(at(1000), HOUR).unwrap();
        let inference = bytes(&tokens.inference.key);
        let check = |kind, second| tokens.check(kind, inference, at(second));
        assert_eq!(check(TokenKind::Inference, 1000), Ok(()));
        assert_eq!(check(TokenKind::Inference, 4599), Ok(()));
        assert_eq!(check(TokenKind::Inference, 4600), Err(Refusal::Expired(at(4600))));
        assert_eq!(check(TokenKind::Management, 1000), Err(Refusal::Wrong));
        let api = bytes(&tokens.api);
        assert_eq!(tokens.check(TokenKind::Inference, api, at(1000)), Err(Refusal::Wrong));
        for wrong in [&b""[..], &inference[..7], &[inference, b"="].concat()] {
            let refused = tokens.check(TokenKind::Inference, wrong, at(1000));
            assert_eq!(refused, Err(Refusal::Wrong));
        }
    }

    #[test]
    fn a_renewal_changes_one_token_and_no_other_key() {
        let old = Tokens::generate(at(0), HOUR).unwrap();
        let new = old.renewed(TokenKind::Inference, at(5000)).unwrap();
        let check = |key, second| new.check(TokenKind::Inference, bytes(key), at(second));
        assert_eq!(check(&old.inference.key, 5000), Err(Refusal::Wrong));
        assert_eq!(check(&new.inference.key, 8599), Ok(()));
        assert_eq!(check(&new.inference.key, 8600), Err(Refusal::Expired(at(8600))));
        assert!(new.management.key.is(bytes(&old.management.key)));
        assert_eq!(new.management.expires, old.management.expires);
        assert!(new.api.is(bytes(&old.api)));
    }

    #[test]
    fn a_life_longer_than_the_calendar_is_no_panic() {
        let tokens = Tokens::generate(at(0), Duration::MAX).unwrap();
        assert_eq!(tokens.inference.expires, Timestamp::MAX);
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let tokens = Tokens::generate(at(0), HOUR).unwrap();
        let shown = format!("{tokens:?}");
        for key in [&tokens.management.key, &tokens.inference.key, &tokens.api] {
            assert!(!shown.contains(key.reveal()), "{shown}");
        }
    }
}
