//! Known answers: an archive's samples replayed, and what differs.
//!
//! [`replay`] takes one sample through a handler and a model; the three beside it compare what came of it:
//! [`tensors`] the stages of preprocessing, [`output`] what the network gave, [`answer`] what a client gets.
//! [`at_load`] does that for a version that is loaded. The format is `mar::Samples`.

mod answer;
mod at_load;
mod numbers;
mod output;
mod recorder;
mod replay;
#[cfg(test)]
mod replays;
mod report;
mod tensors;
#[cfg(test)]
mod tests;

pub(crate) use at_load::{AfterReplay, KnownAnswers};
pub(crate) use replay::{Limit, Replay, request};
pub use report::{
    FirstDifference, SampleReport, SamplesReport, SamplesVerdict, StageReport, StageVerdict,
    VerifySamples,
};

/// What a comparison came to, with figures: `Err` where the two differ.
type Compared = Result<String, String>;
