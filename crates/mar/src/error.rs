//! What can go wrong with an archive. Every message names the archive, the entry and what to do.

use std::io;
use std::path::{Path, PathBuf};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an archive could not be read, written or trusted.
///
/// `Display` gives the outermost sentence; the cause, where there is one, is `source()`.
/// [`Error::one_line`] joins the two.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb: `open`, `read`, `write`...
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The bytes are those of no known kind of archive.
    #[error("{}: not a model archive: neither a zip (.mar), a gzipped tar (.tar.gz, .tgz) nor a folder", path.display())]
    UnknownFormat {
        /// The file that was opened.
        path: PathBuf,
    },
    /// The container itself is broken: truncated, or its parts contradict each other.
    #[error("{}: damaged archive, pack or copy it again", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What the decoder said.
        source: Source,
    },
    /// One entry's content is broken: wrong checksum, wrong size, undecodable.
    #[error("{}: entry {entry:?} is damaged", path.display())]
    DamagedEntry {
        /// The archive.
        path: PathBuf,
        /// The entry's name.
        entry: String,
        /// What the decoder said.
        source: Source,
    },
    /// One entry is of a kind that is never unpacked.
    #[error("{}: entry {entry:?} refused: {reason}", path.display())]
    Refused {
        /// The archive.
        path: PathBuf,
        /// The entry's name, as far as it can be shown.
        entry: String,
        /// Why.
        reason: Refusal,
    },
    /// The archive is bigger than the [`Limits`](crate::Limits) it was opened with.
    #[error("{}: {what}; raise the limit if you trust the archive", path.display())]
    OverLimit {
        /// The archive.
        path: PathBuf,
        /// Which limit, and its value.
        what: String,
    },
    /// There is no `MAR-INF/MANIFEST.json`, and nothing else that looks like a model.
    #[error("{}: no MAR-INF/MANIFEST.json, and no weights or handler beside it: not a model archive", path.display())]
    NotAModel {
        /// The archive.
        path: PathBuf,
    },
    /// There is no `MAR-INF/MANIFEST.json`. Reading goes on with defaults; `mar verify` reports it.
    #[error("{}: no MAR-INF/MANIFEST.json; pack the files with `mar pack`", path.display())]
    NoManifest {
        /// The archive.
        path: PathBuf,
    },
    /// The manifest is not the JSON it should be.
    #[error("{}: MAR-INF/MANIFEST.json cannot be understood", path.display())]
    Manifest {
        /// The archive.
        path: PathBuf,
        /// What the JSON reader said, with line and column.
        source: serde_json::Error,
    },
    /// The manifest breaks one of TorchServe's rules.
    #[error("{}: manifest: {what}", path.display())]
    ManifestRule {
        /// The archive.
        path: PathBuf,
        /// The rule, and the value that breaks it.
        what: String,
    },
    /// The manifest names a file that is not there.
    #[error("{}: the manifest's {field} names {name:?}, which is not in the archive", path.display())]
    Missing {
        /// The archive.
        path: PathBuf,
        /// The manifest's field.
        field: &'static str,
        /// The file it names.
        name: String,
    },
    /// A model-config.yaml that cannot be used.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file, or the archive and the entry.
        path: PathBuf,
        /// The reason, with line and column.
        message: String,
    },
    /// Known answers that cannot be used.
    #[error("{}: known answers: {what}", path.display())]
    Samples {
        /// The archive, or the index.
        path: PathBuf,
        /// What is wrong, and with which sample.
        what: String,
    },
    /// The file or folder to be made is there already.
    #[error("{} already exists; {advice}", path.display())]
    Exists {
        /// What is in the way.
        path: PathBuf,
        /// How to get past it.
        advice: &'static str,
    },
    /// What `mar pack` was asked for cannot be packed.
    #[error("{0}")]
    Input(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    pub(crate) fn damaged(path: &Path, source: impl Into<Source>) -> Self {
        Self::Damaged { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn damaged_entry(path: &Path, entry: &str, source: impl Into<Source>) -> Self {
        Self::DamagedEntry { path: path.to_owned(), entry: entry.to_owned(), source: source.into() }
    }

    pub(crate) fn refused(path: &Path, entry: &str, reason: Refusal) -> Self {
        Self::Refused { path: path.to_owned(), entry: entry.to_owned(), reason }
    }

    pub(crate) fn over_limit(path: &Path, what: String) -> Self {
        Self::OverLimit { path: path.to_owned(), what }
    }

    pub(crate) fn samples(path: &Path, what: String) -> Self {
        Self::Samples { path: path.to_owned(), what }
    }

    /// The sentence and its causes in one line, for lists and logs.
    pub fn one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Why one entry of an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A `..` component.
    #[error("its name leads out of the archive")]
    ParentFolder,
    /// A leading `/`, or a drive letter.
    #[error("its name is an absolute path")]
    Absolute,
    /// A backslash, which is a separator on some systems and not on others.
    #[error("its name holds a backslash")]
    Backslash,
    /// NUL, a newline or another control character.
    #[error("its name holds a control character")]
    Control,
    /// Nothing, `.` or a doubled separator.
    #[error("its name has an empty or `.` component")]
    EmptyComponent,
    /// Over [`MAX_NAME_BYTES`](crate::MAX_NAME_BYTES) or nested too deeply.
    #[error("its name is too long or too deep")]
    TooLong,
    /// A name that is not text.
    #[error("its name is not UTF-8")]
    NotText,
    /// A second entry of the same name.
    #[error("there is another entry of that name")]
    Duplicate,
    /// A second entry whose name differs only by case: one would overwrite the other on some disks.
    #[error("it differs from {0:?} only by case")]
    CaseDuplicate(String),
    /// A name used as a file by one entry and as a folder by another.
    #[error("its name is both a file and a folder")]
    FileAndFolder,
    /// A symbolic or hard link inside an archive, or one in a folder that leads out of it.
    #[error("it is a link")]
    Link,
    /// A device, pipe, socket, sparse file or anything else that is not a plain file or a folder.
    #[error("it is not a plain file")]
    NotAFile,
    /// An encrypted entry.
    #[error("it is encrypted; pack it without a password")]
    Encrypted,
    /// Compressed with a method that TorchServe's reader does not know either.
    #[error(
        "its compression ({0}) is not supported; pack it again with stored or deflated entries"
    )]
    Method(String),
}
