//! `key_file.json`, where TorchServe's users find their keys.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::tokens::{Token, Tokens};

const NAME: &str = "key_file.json";

/// The file, for its owner's eyes alone. Removed with this value.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    /// What it holds, by which it is known as this server's at the end; nothing once it is removed.
    written: Option<Vec<u8>>,
}

/// The file's members, in TorchServe's words and order.
#[derive(Debug, Serialize)]
struct Document {
    management: Expiring,
    inference: Expiring,
    #[serde(rename = "API")]
    api: Lasting,
}

#[derive(Debug, Serialize)]
struct Expiring {
    key: String,
    #[serde(rename = "expiration time")]
    expires: String,
}

#[derive(Debug, Serialize)]
struct Lasting {
    key: String,
}

impl KeyFile {
    /// Writes the file into a folder, over one that an earlier server left.
    ///
    /// # Errors
    /// Where it cannot be written; the message names it.
    pub(crate) fn create(folder: &Path, tokens: &Tokens) -> Result<Self> {
        let folder = std::path::absolute(folder)
            .with_context(|| format!("cannot tell where {} is", folder.display()))?;
        let mut file = Self { path: folder.join(NAME), written: None };
        file.replace(tokens)?;
        Ok(file)
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes other keys, in one step: who reads meanwhile finds the old ones or the new ones.
    ///
    /// # Errors
    /// Where it cannot be written; the message names it.
    pub(crate) fn replace(&mut self, tokens: &Tokens) -> Result<()> {
        let text = text(tokens)?;
        self.write(&text).with_context(|| {
            format!(
                "cannot write the tokens' file {}; start where files can be written, or with --disable-token-auth",
                self.path.display()
            )
        })?;
        self.written = Some(text);
        Ok(())
    }

    fn write(&self, text: &[u8]) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Made for the owner alone, mode 0600, and moved over whatever lies there: a link that
        // somebody left is replaced, not followed.
        let mut file = NamedTempFile::with_prefix_in(".key_file-", folder)?;
        file.write_all(text)?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Removes the file, unless another server has written its own since.
    pub(crate) fn remove(&mut self) {
        let Some(written) = self.written.take() else { return };
        if fs::read(&self.path).is_ok_and(|found| found == written)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn text(tokens: &Tokens) -> Result<Vec<u8>> {
    let expiring = |token: &Token| Expiring {
        key: token.key.reveal().to_owned(),
        expires: token.expires.to_string(),
    };
    let document = Document {
        management: expiring(&tokens.management),
        inference: expiring(&tokens.inference),
        api: Lasting { key: tokens.api.reveal().to_owned() },
    };
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::Value;

    use super::super::tokens::TokenKind;
    use super::*;

    fn tokens() -> Tokens {
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        Tokens::generate(now, Duration::from_mins(90)).unwrap()
    }

    fn read(file: &KeyFile) -> Value {
        serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_torchserves_and_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = tokens();
        let file = KeyFile::create(folder.path(), &tokens).unwrap();
        assert_eq!(file.path(), folder.path().join("key_file.json"));
        let expected = serde_json::json!({
            "management": {
                "key": tokens.management.key.reveal(),
                "expiration time": "2026-01-02T04:34:05.678Z",
            },
            "inference": {
                "key": tokens.inference.key.reveal(),
                "expiration time": "2026-01-02T04:34:05.678Z",
            },
            "API": {"key": tokens.api.reveal()},
        });
        let found = read(&file);
        assert_eq!(found, expected);
        let members: Vec<_> = found.as_object().unwrap().keys().collect();
        assert_eq!(members, ["management", "inference", "API"]);
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn other_keys_replace_the_file_and_nothing_else_is_left_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key_file.json"), "of a server that was killed").unwrap();
        let old = tokens();
        let mut file = KeyFile::create(folder.path(), &old).unwrap();
        let new = old.renewed(TokenKind::Management, Timestamp::UNIX_EPOCH).unwrap();
        file.replace(&new).unwrap();
        assert_eq!(read(&file)["management"]["key"], new.management.key.reveal());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("key_file.json")).unwrap();
        let file = KeyFile::create(folder.path(), &tokens()).unwrap();
        assert!(fs::symlink_metadata(file.path()).unwrap().is_file());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
    }

    #[test]
    fn the_file_of_another_server_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = KeyFile::create(folder.path(), &tokens()).unwrap();
        let second = KeyFile::create(folder.path(), &tokens()).unwrap();
        drop(first);
        assert!(second.path().exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let error = format!("{:#}", KeyFile::create(&gone, &tokens()).unwrap_err());
        assert!(error.contains(&gone.join("key_file.json").display().to_string()), "{error}");
        assert!(error.contains("--disable-token-auth"), "{error}");
    }
}
