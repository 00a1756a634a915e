//! Known answers: what a model made of some inputs where it was trained, carried along in its archive.
//!
//! They lie in the folder `samples/` of an archive: an index, `samples/samples.json`, which is a
//! [`Samples`], and the files that it names. Python's server passes the folder over. A server here replays
//! them, stage by stage, and says where the first difference is.
//!
//! Numbers in files are little-endian and row-major, without a header; the record beside them has their
//! type and shape.

mod check;
mod opened;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

pub use crate::samples::opened::{Opened, read_samples};

/// Where the index lies in an archive.
pub const SAMPLES_NAME: &str = "samples/samples.json";

/// The version of this format; an index of another is refused.
pub const SAMPLES_FORMAT: u32 = 1;

/// The most samples that an archive may have.
pub const MAX_SAMPLES: usize = 100;
/// The most bytes of an index.
pub(crate) const MAX_INDEX_BYTES: u64 = 4 << 20;
/// The most bytes of one file that an index names.
pub(crate) const MAX_FILE_BYTES: u64 = 64 << 20;
/// The most bytes of all these files together.
pub(crate) const MAX_TOTAL_BYTES: u64 = 512 << 20;
/// The folder of the index and of all that it names.
pub(crate) const FOLDER: &str = "samples/";

/// The index of an archive's known answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// [`SAMPLES_FORMAT`].
    pub format: u32,
    /// In the order in which they are replayed.
    pub samples: Vec<Sample>,
}

impl Samples {
    /// Reads an index. The files that it names are not looked at: that is done where they are,
    /// by [`read_samples`] and [`Archive::samples`](crate::Archive::samples).
    ///
    /// # Errors
    /// [`Error::Samples`] where it is over 4 MiB, is not the JSON of an index, is of another format, or
    /// holds what cannot be: names that lead out of `samples/`, sizes of no tensor, digests that are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse_at(bytes, Path::new(SAMPLES_NAME))
    }

    /// As [`Samples::parse`]; `path` says in errors whose index it is.
    pub(crate) fn parse_at(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let samples = Self::read(bytes).map_err(|what| Error::samples(path, what))?;
        match check::rules(&samples).into_iter().next() {
            Some(what) => Err(Error::samples(path, what)),
            None => Ok(samples),
        }
    }

    /// The first thing that is wrong with an index, or with the files that it names, by their sizes.
    pub(crate) fn problem(&self, size: &dyn Fn(&str) -> Option<u64>) -> Option<String> {
        let rules = check::rules(self).into_iter();
        rules.chain(check::files(self, size)).next()
    }

    /// The index as it stands; whether it makes sense is another question.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(format!("the index has over {MAX_INDEX_BYTES} bytes"));
        }
        let wrong = |error| format!("{SAMPLES_NAME} is no index of known answers: {error}");
        // Looked at alone first: what stands in an index of a later format is not known.
        let Version { format } = serde_json::from_slice(bytes).map_err(wrong)?;
        if format != SAMPLES_FORMAT {
            return Err(format!(
                "{SAMPLES_NAME} is of format {format}, and {SAMPLES_FORMAT} is read here; pack the samples with this version's `mar pack`"
            ));
        }
        serde_json::from_slice(bytes).map_err(wrong)
    }
}

/// One input and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What it is called in reports; no two are called alike.
    pub name: String,
    /// What a client sends.
    pub input: Input,
    /// What was known of it.
    #[serde(flatten)]
    pub known: Known,
}

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The file in the archive, byte for byte as it was.
    pub file: String,
    /// As the header has it; none where the handler tells what it is from the bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// What is known of one input. What is left out is not compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// Who found it out, with versions: `fastai 2.8.12, torch 2.11.0, Pillow 13.0.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// What preprocessing made on the way, in order. For images the stages are `decode` (`uint8`, height,
    /// width, channels, after the change to the colour mode), `resize` (the same, of the size that the
    /// network sees) and `normalise` (what the network sees, without the batch's dimension); for all
    /// others there is one, `preprocess`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<KnownStage>,
    /// What the network gave: its outputs without the batch's dimension, before any activation that is
    /// not the network's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Summary>,
    /// What the client got.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<KnownAnswer>,
}

/// What one stage of preprocessing made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownStage {
    /// `decode`, `resize`, `normalise` or `preprocess`.
    pub stage: String,
    /// One entry a tensor.
    pub tensors: Vec<KnownTensor>,
}

/// A tensor: its digest, and where its size allows it a compact copy, so that a difference has figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownTensor {
    /// The type's name in NumPy: `uint8`, `float32`, `int64`...
    pub dtype: String,
    /// The sides, outermost first, without the batch's.
    pub shape: Vec<usize>,
    /// SHA-256 of the elements' bytes, little-endian and row-major, in hexadecimal.
    pub sha256: String,
    /// The mean of each channel where that is known: of the last side with three of `uint8`, of the first
    /// with three of floating point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channel_means: Vec<f64>,
    /// The compact copy: a file of the elements, as `float16` where the tensor is of floating point, else
    /// of the tensor's own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
}

/// What is kept of an output of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The output's name, where the network names its outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As in [`KnownTensor`].
    pub dtype: String,
    /// As in [`KnownTensor`].
    pub shape: Vec<usize>,
    /// The smallest element.
    pub min: f64,
    /// The largest element.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation, over all elements: of the population, not of a sample.
    pub std: f64,
    /// Elements at places spread evenly over the tensor: with `n` of them and `size` elements the one at
    /// `k * size / n`, rounded down, for each `k`. All elements where there are few.
    pub values: Vec<f64>,
}

/// A body that a client got, and how near to it another is good enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswer {
    /// The parameters of the query, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// The file of the body.
    pub file: String,
    /// How bodies are compared: `application/json` as values, of which the known ones must be there
    /// (members that are not known may be, unless the known ones are numbers alone, as labels with their
    /// probabilities are), everything else as bytes.
    pub content_type: String,
    /// How far numbers of JSON may be from the known ones. Of large ones of floating point a ten-thousandth is
    /// allowed, or this as a share where that is finer.
    #[serde(default = "KnownAnswer::default_tolerance")]
    pub tolerance: f64,
    /// The share of bytes that must be the known ones, for bodies that are not JSON: 1 is all of them.
    #[serde(default = "KnownAnswer::default_agreement")]
    pub agreement: f64,
}

impl KnownAnswer {
    /// Probabilities to the fourth digit.
    pub(crate) fn default_tolerance() -> f64 {
        1e-4
    }

    pub(crate) fn default_agreement() -> f64 {
        1.0
    }
}
