//! What was counted of each version since it was loaded, as Triton's clients read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mar_engine::{Error, ErrorCode, ModelVersion, Result};
use serde::Serialize;

use crate::Service;

/// Knows what was counted of versions.
pub trait Figures: std::fmt::Debug + Send + Sync {
    /// What was counted of this one since it was loaded.
    fn statistics(&self, version: &ModelVersion) -> Statistics;
}

/// What was counted of one version since it was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When the last request ended, in milliseconds since 1970; 0 before the first.
    pub last_inference: u64,
    /// Rows of the requests that were answered.
    pub inference_count: u64,
    /// Batches that were run.
    pub execution_count: u64,
    /// Of requests.
    pub requests: RequestStatistics,
    /// Of batches, by their rows.
    pub batches: BTreeMap<u64, BatchStatistics>,
    /// Why requests were not answered.
    pub failures: Failures,
}

/// How many requests were not answered, by whose fault it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The queue was full, or they waited too long.
    pub rejected: u64,
    /// The client went away.
    pub canceled: u64,
    /// The handler, the network or their worker failed.
    pub backend: u64,
    /// Anything else, the request's own faults among them.
    pub other: u64,
}

/// How often something happened, and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// How long, in nanoseconds.
    pub ns: u64,
}

/// Of requests: how they ended, and where their time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestStatistics {
    /// Those that were answered, from their arrival to their end.
    pub success: Tally,
    /// Those that were not.
    pub fail: Tally,
    /// In the queue.
    pub queue: Tally,
    /// Making inputs ready: a handler's work, and putting a batch together.
    pub compute_input: Tally,
    /// The network's own work.
    pub compute_infer: Tally,
    /// Taking outputs apart, and a handler's work.
    pub compute_output: Tally,
    /// Answers that were remembered: none are.
    pub cache_hit: Tally,
    /// Requests whose answers were not: none are looked for.
    pub cache_miss: Tally,
}

/// Of batches of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchStatistics {
    /// As [`RequestStatistics::compute_input`].
    pub compute_input: Tally,
    /// As [`RequestStatistics::compute_infer`].
    pub compute_infer: Tally,
    /// As [`RequestStatistics::compute_output`].
    pub compute_output: Tally,
}

/// One version's statistics in the form that clients know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelStatistics {
    /// The model, as the client named it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// See [`Statistics::last_inference`].
    pub last_inference: u64,
    /// See [`Statistics::inference_count`].
    pub inference_count: u64,
    /// See [`Statistics::execution_count`].
    pub execution_count: u64,
    /// See [`Statistics::requests`].
    pub inference_stats: RequestStatistics,
    /// Of models with many answers to one request: there are none.
    pub response_stats: BTreeMap<String, Tally>,
    /// See [`Statistics::batches`].
    pub batch_stats: Vec<SizedBatchStatistics>,
    /// Memory, where the version's own is known: it is not.
    pub memory_usage: Vec<Tally>,
}

/// Of batches of one size, with the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizedBatchStatistics {
    /// Rows.
    pub batch_size: u64,
    /// What was counted.
    #[serde(flatten)]
    pub of: BatchStatistics,
}

impl Tally {
    /// Counts one more, which took so long.
    pub fn add(&mut self, took: Duration) {
        self.count += 1;
        self.ns = self.ns.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Service {
    /// What was counted: of a model, or its handler, in one version or all of them; of every model where
    /// none is named.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] where there is no such model or version, as Triton has it.
    pub fn statistics(
        &self,
        name: Option<&str>,
        version: Option<&str>,
    ) -> Result<Vec<ModelStatistics>> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            let models = self.engine().models().into_iter();
            let versions = models.flat_map(|(_, model)| model.versions);
            return Ok(versions.map(|version| self.of_version(version.name(), &version)).collect());
        };
        let unknown = |error: Error| {
            let message = format!("the requested model is not available: {}", error.message());
            Error::new(ErrorCode::InvalidInput, message).caused_by(error)
        };
        let found = self.find(name, version).map_err(unknown)?.version;
        let versions = match version.filter(|version| !version.is_empty()) {
            Some(_) => vec![found],
            None => self.engine().model(found.name()).map_err(unknown)?.versions,
        };
        Ok(versions.iter().map(|version| self.of_version(name, version)).collect())
    }

    fn of_version(&self, name: &str, version: &Arc<ModelVersion>) -> ModelStatistics {
        let figures = self.config().figures.as_ref();
        let counted = figures.map(|figures| figures.statistics(version)).unwrap_or_default();
        let sized = |(batch_size, of)| SizedBatchStatistics { batch_size, of };
        ModelStatistics {
            name: name.to_owned(),
            version: version.version().to_owned(),
            last_inference: counted.last_inference,
            inference_count: counted.inference_count,
            execution_count: counted.execution_count,
            inference_stats: counted.requests,
            response_stats: BTreeMap::new(),
            batch_stats: counted.batches.into_iter().map(sized).collect(),
            memory_usage: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batchs_size_stands_beside_what_was_counted() {
        let mut of = BatchStatistics::default();
        of.compute_infer.add(Duration::from_nanos(5));
        of.compute_infer.add(Duration::from_nanos(2));
        let json = serde_json::to_value(SizedBatchStatistics { batch_size: 4, of }).unwrap();
        let none = serde_json::json!({ "count": 0, "ns": 0 });
        let expected = serde_json::json!({
            "batch_size": 4,
            "compute_input": none,
            "compute_infer": { "count": 2, "ns": 7 },
            "compute_output": none,
        });
        assert_eq!(json, expected);
    }
}
