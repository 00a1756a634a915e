//! Reads a model's configuration: the text of `config.pbtxt`, or the JSON that a load brings along.

use std::path::{Path, PathBuf};

use mar_engine::{Error, Result};
use mar_proto::inference::ModelConfig;
use miette::Diagnostic;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};

/// A configuration's text, and where it came from: for messages that name the place.
#[derive(Debug)]
pub(super) enum Source {
    /// `config.pbtxt`.
    File { path: PathBuf, text: String },
    /// The parameter `config` of a load.
    Request(String),
    /// There is none: all of it is to come from the model's files.
    Missing,
}

impl Source {
    /// Reads a model folder's `config.pbtxt`, if it has one.
    pub(super) fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.pbtxt");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Self::File { path, text }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::Missing),
            Err(error) => {
                Err(Error::invalid_model(format!("{}: {error}", path.display())).caused_by(error))
            }
        }
    }

    /// The configuration that the text says.
    pub(super) fn read(&self) -> Result<ModelConfig> {
        match self {
            Self::File { path, text } => from_text(text).map_err(|(line, why)| {
                Error::invalid_model(format!("{}:{line}: {why}", path.display()))
            }),
            Self::Request(text) => from_json(text)
                .map_err(|why| Error::invalid_model(format!("the parameter \"config\": {why}"))),
            Self::Missing => Ok(ModelConfig::default()),
        }
    }

    /// That a key cannot be honoured, with its place.
    pub(super) fn refuse(&self, key: &str, why: &str) -> Error {
        Error::invalid_model(format!("{}{key} {why}", self.place(key)))
    }

    /// That something is wrong beside any key, with the file.
    pub(super) fn wrong(&self, why: &str) -> Error {
        let place = match self {
            Self::File { path, .. } => format!("{}: ", path.display()),
            Self::Request(_) => "the parameter \"config\": ".into(),
            Self::Missing => String::new(),
        };
        Error::invalid_model(format!("{place}{why}"))
    }

    /// Where a key stands, as the beginning of a message.
    pub(super) fn place(&self, key: &str) -> String {
        match self {
            Self::File { path, text } => match line_of(text, key) {
                Some(line) => format!("{}:{line}: ", path.display()),
                None => format!("{}: ", path.display()),
            },
            Self::Request(_) => "the parameter \"config\": ".into(),
            Self::Missing => String::new(),
        }
    }
}

fn descriptor() -> std::result::Result<MessageDescriptor, String> {
    let pool = DescriptorPool::decode(mar_proto::DESCRIPTORS).map_err(|error| error.to_string())?;
    let name = "inference.ModelConfig";
    pool.get_message_by_name(name).ok_or_else(|| format!("no message {name}"))
}

/// Reads the text form; else the line and what is wrong there.
fn from_text(text: &str) -> std::result::Result<ModelConfig, (usize, String)> {
    let descriptor = descriptor().map_err(|why| (0, why))?;
    let text = with_colons(text);
    let message = DynamicMessage::parse_text_format(descriptor, &text).map_err(|error| {
        let at = error.labels().and_then(|mut labels| labels.next());
        // What ends too early has no place of its own.
        let at = at.map_or(text.trim_end().len(), |label| label.offset());
        let before = text.as_bytes().iter().take(at);
        let why = error.to_string().replace("message 'inference.", "message '");
        (1 + before.filter(|byte| **byte == b'\n').count(), why)
    })?;
    message.transcode_to().map_err(|error| (0, error.to_string()))
}

/// The same text with a colon between every key and its list: `input [ ... ]`, which is how most configurations
/// are written, is read with one alone.
fn with_colons(text: &str) -> String {
    let mut with = String::with_capacity(text.len());
    let mut quote = None;
    let (mut comment, mut escaped, mut behind_word) = (false, false, false);
    for c in text.chars() {
        match quote {
            _ if comment => comment = c != '\n',
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) => quote = quote.filter(|_| c != open),
            None if c == '#' => comment = true,
            None if c == '[' && behind_word => {
                with.push(':');
                behind_word = false;
            }
            None if c.is_whitespace() => {}
            None => {
                quote = matches!(c, '"' | '\'').then_some(c);
                behind_word = c.is_ascii_alphanumeric() || c == '_';
            }
        }
        with.push(c);
    }
    with
}

fn from_json(text: &str) -> std::result::Result<ModelConfig, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor()?, &mut json, &options)
        .map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}

/// The line that has a key, in no comment and no string: the outermost, and of these the first.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut depth, mut quote) = (0_usize, None);
    let mut found: Option<(usize, usize)> = None;
    for (line, rest) in text.lines().enumerate() {
        let mut rest = rest;
        while let Some(c) = rest.chars().next() {
            let (mut taken, inside) = (c.len_utf8(), quote.is_some());
            match (quote, c) {
                (Some(_), '\\') => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
                (Some(open), c) if c == open => quote = None,
                (None, '#') => break,
                (None, '"' | '\'') => quote = Some(c),
                (None, '{' | '[' | '<') => depth += 1,
                (None, '}' | ']' | '>') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !inside && is_word(c) {
                taken = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                if &rest[..taken] == key && found.is_none_or(|(least, _)| depth < least) {
                    found = Some((depth, line + 1));
                }
            }
            rest = &rest[taken..];
        }
        // No string goes on over the end of a line.
        quote = None;
    }
    found.map(|(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_get_their_colons_and_nothing_else_does() {
        for (text, expected) in [
            ("input [ { dims: [ 1 ] } ]", "input :[ { dims: [ 1 ] } ]"),
            ("input\n# of [\n[", "input\n# of [\n:["),
            ("dims[1]", "dims:[1]"),
            ("name: \"a [ \\\" b [\" input [", "name: \"a [ \\\" b [\" input :["),
            ("name: 'a\"' [", "name: 'a\"' ["),
            ("dims: [ [", "dims: [ ["),
        ] {
            assert_eq!(with_colons(text), expected);
        }
    }

    #[test]
    fn a_place_is_a_line_of_the_file() {
        for (text, line, words) in [
            (
                "name: \"m\"\n\ninput [\n { nam: \"x\" } ]",
                4,
                "'nam' not found for message 'ModelInput'",
            ),
            ("max_batch_size: 1\nmax_batch_size: 2", 2, "'max_batch_size' is already set"),
            ("max_batch_size: 99999999999", 1, "out of range"),
            ("input [\n{ name: \"x\"", 2, "reached end of input"),
            ("name: \"m", 1, "reached end of input"),
        ] {
            let (found, why) = from_text(text).unwrap_err();
            assert_eq!(found, line, "{text}: {why}");
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn a_key_is_found_where_it_is_one() {
        let text = "# kind\nname: \"kind\"\nkindly: 1\ninstance_group [{ kind: KIND_CPU }]";
        assert_eq!(line_of(text, "kind"), Some(4));
        assert_eq!(line_of(text, "gpus"), None);
    }
}
