//! Numbers that many threads change at once without waiting for each other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> f64 {
        float(self.0.load(Relaxed))
    }
}

/// The last value of something; none at first.
#[derive(Debug)]
pub(crate) struct Gauge(AtomicU64);

/// The bits of no number that is ever set.
const UNSET: u64 = u64::MAX;

impl Default for Gauge {
    fn default() -> Self {
        Self(AtomicU64::new(UNSET))
    }
}

impl Gauge {
    pub(crate) fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    pub(crate) fn get(&self) -> Option<f64> {
        let bits = self.0.load(Relaxed);
        (bits != UNSET).then(|| f64::from_bits(bits))
    }
}

/// How many values were at most as large as each of some bounds, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// What a value of 1 is worth in the bounds' unit.
    unit: f64,
    /// One for each bound, for the values that no smaller bound has; the last for those beyond.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    /// Each bound and the number of values up to it; the last bound is infinite.
    pub(crate) buckets: Vec<(f64, f64)>,
    pub(crate) sum: f64,
    pub(crate) count: f64,
}

impl Histogram {
    /// Of durations, with bounds in seconds.
    pub(crate) fn of_seconds(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1e-9)
    }

    /// Of whole numbers.
    pub(crate) fn of_counts(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1.0)
    }

    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, unit, buckets, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn observe(&self, value: u64) {
        let in_bounds = float(value) * self.unit;
        let bucket = self.bounds.partition_point(|bound| *bound < in_bounds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    pub(crate) fn get(&self) -> Distribution {
        let mut count = 0;
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets = bounds
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                count += bucket.load(Relaxed);
                (bound, float(count))
            })
            .collect();
        let sum = float(self.sum.load(Relaxed)) * self.unit;
        Distribution { buckets, sum, count: float(count) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure past 2^53 need not be exact")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_has_no_value_before_its_first() {
        let gauge = Gauge::default();
        assert_eq!(gauge.get(), None);
        for value in [0.0, -1.5, f64::INFINITY] {
            gauge.set(value);
            assert_eq!(gauge.get(), Some(value));
        }
    }

    #[test]
    fn a_histogram_counts_each_value_up_to_every_bound_that_it_does_not_pass() {
        let sizes = Histogram::of_counts(&[1.0, 2.0, 4.0]);
        for size in [1, 2, 3, 4, 5] {
            sizes.observe(size);
        }
        let expected = vec![(1.0, 1.0), (2.0, 2.0), (4.0, 4.0), (f64::INFINITY, 5.0)];
        assert_eq!(sizes.get(), Distribution { buckets: expected, sum: 15.0, count: 5.0 });
    }

    #[test]
    fn times_are_told_in_seconds_and_a_bound_is_part_of_its_bucket() {
        let times = Histogram::of_seconds(&[0.0005, 0.1, 1.0]);
        for micros in [500, 501, 100_000, 1_000_000, 2_000_000] {
            times.observe_time(Duration::from_micros(micros));
        }
        let told = times.get();
        let counts: Vec<f64> = told.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1.0, 3.0, 4.0, 5.0]);
        assert!((told.sum - 3.101_001).abs() < 1e-9, "{}", told.sum);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let (counter, sizes) = (Counter::default(), Histogram::of_counts(&[1.0]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(2);
                        sizes.observe(3);
                    }
                });
            }
        });
        assert!((counter.get() - 8000.0).abs() < f64::EPSILON);
        let told = sizes.get();
        assert_eq!((told.count, told.sum, told.buckets[0].1), (4000.0, 12000.0, 0.0));
    }
}
