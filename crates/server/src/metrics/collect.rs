//! Brings every figure together at one moment, in the page's order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use mar_engine::{Engine, ModelVersion};
use mar_oip::{Figures as _, Statistics, Tally};

use super::count::{Distribution, Gauge, Histogram};
use super::names::{self, Family};
use super::page::{Figures, Sample};
use super::version::{Model, Requests, Version};
use super::{Metrics, process, values};

/// Samples by their family's name.
#[derive(Debug, Default)]
struct Found(BTreeMap<&'static str, Vec<Sample>>);

impl Found {
    fn add(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        self.push(family, Sample::of(family, labels, value));
    }

    fn add_set(&mut self, family: &'static Family, labels: &[&str], gauge: &Gauge) {
        if let Some(value) = gauge.get() {
            self.add(family, labels, value);
        }
    }

    fn add_histogram(&mut self, family: &'static Family, labels: &[&str], histogram: &Histogram) {
        let Distribution { buckets, sum, count } = histogram.get();
        for (bound, value) in buckets {
            let mut sample = Sample::of(family, labels, value);
            sample.suffix = "_bucket";
            sample.labels.push(("le", super::page::number(bound)));
            self.push(family, sample);
        }
        for (suffix, value) in [("_sum", sum), ("_count", count)] {
            self.push(family, Sample { suffix, ..Sample::of(family, labels, value) });
        }
    }

    fn push(&mut self, family: &Family, sample: Sample) {
        self.0.entry(family.name).or_default().push(sample);
    }

    /// Every family in order, with or without samples.
    fn page(mut self, families: impl Iterator<Item = &'static Family>) -> Vec<Figures> {
        families
            .map(|family| Figures {
                family,
                samples: self.0.remove(family.name).unwrap_or_default(),
            })
            .collect()
    }
}

/// What is registered at this moment.
#[derive(Debug, Default)]
struct Present {
    models: BTreeSet<String>,
    workers: BTreeSet<String>,
}

impl Metrics {
    pub(crate) fn collect(&self, engine: &Engine) -> Vec<Figures> {
        let mut found = Found::default();
        let loaded = self.host.load_times.lock().clone();
        let present = engine_figures(engine, &mut found);
        self.triton_figures(engine, &mut found);
        self.host_figures(&mut found);
        self.version_figures(&present, &mut found);

        let host = [values::HOST_LEVEL, &self.hostname];
        // A worker that has gone is forgotten; one that came while this was read is not.
        let gone =
            |worker: &String| loaded.contains_key(worker) && !present.workers.contains(worker);
        self.host.load_times.lock().retain(|worker, _| !gone(worker));
        for (worker, took) in loaded.iter().filter(|(worker, _)| !gone(worker)) {
            let labels = [worker, host[0], host[1]];
            found.add(&names::WORKER_LOAD_TIME, &labels, took.as_secs_f64() * 1000.0);
        }
        if let Some(system) = &self.system {
            for &(family, value) in system.lock().figures(Instant::now()) {
                found.add(family, &host, value);
            }
        }
        match process::figures() {
            Ok(figures) => {
                for (family, value) in figures {
                    found.add(family, &[], value);
                }
            }
            Err(error) => log::warn!("the process's own figures are not read: {error:#}"),
        }
        let system = names::SYSTEM.into_iter().filter(|_| self.system.is_some());
        let always = names::ALWAYS.into_iter().chain(names::triton::OF_VERSIONS);
        found.page(always.chain(system))
    }

    fn host_figures(&self, found: &mut Found) {
        let host = [values::HOST_LEVEL, &self.hostname];
        for (family, counter) in [
            (&names::REQUESTS_2XX, &self.replies.success),
            (&names::REQUESTS_4XX, &self.replies.client_error),
            (&names::REQUESTS_5XX, &self.replies.other),
        ] {
            found.add(family, &host, counter.get());
        }
        found.add_set(&names::QUEUE_TIME, &host, &self.host.queue_time);
        found.add_set(&names::WORKER_THREAD_TIME, &host, &self.host.worker_thread_time);
    }

    /// Counters of everything that was ever registered, gauges of what is.
    fn version_figures(&self, present: &Present, found: &mut Found) {
        let (models, versions) = {
            let models = self.models.lock();
            (models.by_name.clone(), models.versions.clone())
        };
        for (name, model) in &models {
            let Model { unnamed, handler_time, prediction_time } = &**model;
            self.request_figures([name, values::DEFAULT_VERSION], unnamed, found);
            if present.models.contains(name) {
                let labels = [name, values::MODEL_LEVEL, &self.hostname];
                found.add_set(&names::HANDLER_TIME, &labels, handler_time);
                found.add_set(&names::PREDICTION_TIME, &labels, prediction_time);
            }
        }
        for ((model, version), figures) in &versions {
            self.request_figures([model, version], &figures.named, found);
            counted(figures, [model, version], found);
        }
    }

    /// What Triton's clients read of the versions that are there.
    fn triton_figures(&self, engine: &Engine, found: &mut Found) {
        for (name, entry) in engine.models() {
            for version in &entry.versions {
                let labels = [name.as_str(), version.version()];
                counted_for_triton(&self.statistics(version), labels, found);
                found.add(&names::triton::PENDING, &labels, float(version.requests_ready()));
            }
        }
    }

    fn request_figures(&self, [model, version]: [&str; 2], from: &Requests, found: &mut Found) {
        let labels = [model, version, &self.hostname];
        found.add(&names::TS_REQUESTS, &labels, from.received.get());
        found.add(&names::TS_INFERENCE_LATENCY, &labels, from.inference_micros.get());
        found.add(&names::TS_QUEUE_LATENCY, &labels, from.queue_micros.get());
    }
}

/// The server's own counters of one version.
fn counted(from: &Arc<Version>, [model, version]: [&str; 2], found: &mut Found) {
    let labels = [model, version];
    for (family, counter) in [
        (&names::RECEIVED, &from.received),
        (&names::ANSWERED, &from.answered),
        (&names::ABANDONED, &from.abandoned),
        (&names::WORKER_LOSSES, &from.worker_losses),
    ] {
        found.add(family, &labels, counter.get());
    }
    for (code, counter) in values::CODES.into_iter().zip(&from.refused) {
        let count = counter.get();
        if count > 0.0 {
            found.add(&names::REFUSED, &[model, version, values::code(code)], count);
        }
    }
    found.add_histogram(&names::REQUEST_SECONDS, &labels, &from.request_seconds);
    for (stage, histogram) in values::STAGES.into_iter().zip(&from.stage_seconds) {
        found.add_histogram(&names::STAGE_SECONDS, &[model, version, stage], histogram);
    }
    found.add_histogram(&names::BATCH_SIZE, &labels, &from.batch_size);
}

/// A version's statistics as Triton's figures.
fn counted_for_triton(statistics: &Statistics, [model, version]: [&str; 2], found: &mut Found) {
    let of = &statistics.requests;
    for (family, value) in [
        (&names::triton::SUCCESS, whole(of.success.count)),
        (&names::triton::COUNT, whole(statistics.inference_count)),
        (&names::triton::EXEC_COUNT, whole(statistics.execution_count)),
        (&names::triton::REQUEST_DURATION, micros(of.success)),
        (&names::triton::QUEUE_DURATION, micros(of.queue)),
        (&names::triton::COMPUTE_INPUT, micros(of.compute_input)),
        (&names::triton::COMPUTE_INFER, micros(of.compute_infer)),
        (&names::triton::COMPUTE_OUTPUT, micros(of.compute_output)),
    ] {
        found.add(family, &[model, version], value);
    }
    let failures = &statistics.failures;
    for (reason, count) in [
        ("REJECTED", failures.rejected),
        ("CANCELED", failures.canceled),
        ("BACKEND", failures.backend),
        ("OTHER", failures.other),
    ] {
        found.add(&names::triton::FAILURE, &[model, version, reason], whole(count));
    }
}

fn micros(tally: Tally) -> f64 {
    whole(tally.ns / 1000)
}

#[expect(clippy::cast_precision_loss, reason = "nothing here comes near 2^53")]
fn whole(count: u64) -> f64 {
    count as f64
}

/// What the engine's models are like now.
fn engine_figures(engine: &Engine, found: &mut Found) -> Present {
    let mut present = Present::default();
    found.add(&names::IN_FLIGHT, &[], float(engine.in_flight()));
    for (name, entry) in engine.models() {
        for version in &entry.versions {
            present.workers.extend(now(version, found));
        }
        present.models.insert(name);
    }
    present
}

/// What a version is like now; the names of its workers.
fn now(version: &ModelVersion, found: &mut Found) -> Vec<String> {
    let labels = [version.name(), version.version()];
    let (waiting, free) = version.queue_load();
    found.add(&names::QUEUE_DEPTH, &labels, float(waiting));
    found.add(&names::QUEUE_CAPACITY, &labels, float(waiting + free));
    let state = version.state();
    for name in values::version_states() {
        let value = if name == state.name() { 1.0 } else { 0.0 };
        found.add(&names::MODEL_STATE, &[labels[0], labels[1], name], value);
    }
    if let Some(report) = version.samples().filter(|report| report.of > 0) {
        for (name, count) in values::samples(&report) {
            found.add(&names::SAMPLES, &[labels[0], labels[1], name], float(count));
        }
    }
    let workers = version.workers();
    for name in values::WORKER_STATES {
        let count = workers.iter().filter(|w| values::worker_state(w.state) == name).count();
        found.add(&names::WORKERS, &[labels[0], labels[1], name], float(count));
    }
    workers.into_iter().map(|worker| worker.name).collect()
}

#[expect(clippy::cast_precision_loss, reason = "nothing here comes near 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}
