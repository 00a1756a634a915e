//! Reads values by their kind. An error says what the value is not.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

/// A whole number that is not less than this. It goes as far as TorchServe's do, so that no time or size
/// that is made of it overflows.
pub(super) fn at_least<T: TryFrom<i32>>(text: &str, least: i32) -> Result<T> {
    let number = text.parse().ok().filter(|number| *number >= least);
    number
        .and_then(|number| T::try_from(number).ok())
        .with_context(|| format!("not a whole number from {least} to {}", i32::MAX))
}

/// A time of at least a second.
pub(super) fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_secs(at_least(text, 1)?))
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bail!("not true or false"),
    }
}

/// Anything; nothing where it is empty.
pub(super) fn words(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A path; nothing where it is empty.
pub(super) fn path(text: &str) -> Option<PathBuf> {
    words(text).map(PathBuf::from)
}

/// A header's value: what does not fit into one would otherwise be missed at every answer.
pub(super) fn header(text: &str) -> Result<Option<String>> {
    ensure!(
        text.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
        "a header holds visible ASCII characters and spaces alone"
    );
    Ok(words(text))
}

/// Any JSON.
pub(super) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| anyhow!("not JSON: {error}"))
}
