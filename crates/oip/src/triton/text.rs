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
    let message = DynamicMessage::parse_text_format(descriptor, text).map_err(|error| {
        let at = error.labels().and_then(|mut labels| labels.next());
        // What ends too early has no place of its own.
        let at = at.map_or(text.trim_end().len(), |label| label.offset());
        let before = text.as_bytes().iter().take(at);
        let why = error.to_string().replace("message 'inference.", "message '");
        (1 + before.filter(|byte| **byte == b'\n').count(), why)
    })?;
    message.transcode_to().map_err(|error| (0, error.to_string()))
}

fn from_json(text: &str) -> std::result::Result<ModelConfig, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor()?, &mut json, &options)
        .map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    message.transcode_to().map_err(|error| error.to_string())
}

/// The first line that has a key, in no comment and no string.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let has = |line: &str| {
        let mut rest = line;
        loop {
            let end = rest.find(['"', '\'', '#']).unwrap_or(rest.len());
            if rest[..end].split(|c| !is_word(c)).any(|word| word == key) {
                return true;
            }
            let Some(quote) = rest[end..].chars().next().filter(|c| *c != '#') else {
                return false;
            };
            let inside = &rest[end + 1..];
            rest = inside.find(quote).map_or("", |close| &inside[close + 1..]);
        }
    };
    text.lines().position(has).map(|index| index + 1)
}
