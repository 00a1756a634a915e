//! What replaying known answers came to, for people and for programs.

use std::str::FromStr;

use serde::Serialize;

/// What becomes of a version whose known answers are not reproduced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifySamples {
    /// Nothing is replayed.
    Off,
    /// It serves, and the log says what differs.
    #[default]
    Warn,
    /// It does not load.
    Strict,
}

impl VerifySamples {
    /// The words that settings know, for messages.
    pub const WORDS: &str = "off, warn or strict";
}

impl FromStr for VerifySamples {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "warn" => Ok(Self::Warn),
            "strict" => Ok(Self::Strict),
            _ => Err(format!("not {}", Self::WORDS)),
        }
    }
}

/// What the known answers of a version came to when its weights were loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SamplesReport {
    /// What was asked for.
    pub mode: VerifySamples,
    /// What it came to.
    pub verdict: SamplesVerdict,
    /// Samples that were replayed.
    pub replayed: usize,
    /// Those of them that differ.
    pub differing: usize,
    /// Samples in the archive.
    pub of: usize,
    /// Of the samples that differ, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_difference: Option<FirstDifference>,
    /// Why they could not be replayed, where they could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// [`SamplesReport::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplesVerdict {
    /// They are not replayed.
    Off,
    /// The archive has none.
    None,
    /// No worker has loaded the weights yet.
    Pending,
    /// All that were replayed are what they were.
    Reproduced,
    /// One at least is not.
    Differs,
    /// They could not be read.
    Unreadable,
}

/// The first stage of a sample that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirstDifference {
    /// The sample's name.
    pub sample: String,
    /// `decode`, `resize`, `normalise`, `preprocess`, `forward` or `answer`.
    pub stage: String,
    /// How it differs.
    pub figures: String,
}

/// One sample, stage by stage. What the archive does not know is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SampleReport {
    /// The sample's name.
    pub sample: String,
    /// Who found its answers out, where the archive says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// In the order in which a request goes through them.
    pub stages: Vec<StageReport>,
}

/// One stage of one sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageReport {
    /// See [`FirstDifference::stage`].
    pub stage: String,
    /// What it came to.
    pub verdict: StageVerdict,
    /// In words and numbers, how near it is or how it differs.
    pub figures: String,
}

/// [`StageReport::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageVerdict {
    /// As near as it has to be.
    Reproduced,
    /// Not that near, or it failed.
    Differs,
    /// It is known, and nothing here can be held against it.
    NotCompared,
}

impl SampleReport {
    /// The first stage that differs; those after it may for that reason alone.
    pub fn first_difference(&self) -> Option<FirstDifference> {
        let first = self.stages.iter().find(|stage| stage.verdict == StageVerdict::Differs)?;
        Some(FirstDifference {
            sample: self.sample.clone(),
            stage: first.stage.clone(),
            figures: first.figures.clone(),
        })
    }
}

impl std::fmt::Display for FirstDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sample \"{}\" differs at {}: {}", self.sample, self.stage, self.figures)
    }
}
