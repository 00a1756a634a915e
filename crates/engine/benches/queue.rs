//! The queue of one model version: in, out, gone and refused, alone and from several threads.
//!
//! The queue is the crate's own, and nobody else's to use. Its files are taken in as they are, so that measuring it
//! opens nothing.

#[path = "../../../benches/calibration.rs"]
mod calibration;

#[path = "../src/batch.rs"]
#[expect(dead_code, reason = "its tests, which no benchmark runs")]
mod batch;
#[path = "../src/events.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "of which a job needs the times alone"
)]
mod events;
#[path = "../src/job.rs"]
#[expect(dead_code, reason = "what the log reads")]
mod job;
#[path = "../src/queue.rs"]
#[expect(dead_code, reason = "what other workers ask for, and its tests")]
mod queue;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use divan::Bencher;
use mar_handler::Tensor;

use batch::BatchPolicy;
use events::BatchTiming;
use job::{Done, Job, Lane, Pending, Terms, Work};
use queue::{JobQueue, QueueRules};

fn main() {
    divan::main();
}

static NEVER: AtomicBool = AtomicBool::new(false);

/// Batches of so many, which wait for nobody.
fn queue(capacity: usize, max_rows: usize) -> Arc<JobQueue> {
    let policy = BatchPolicy::of(max_rows, Duration::ZERO);
    JobQueue::new(QueueRules { capacity, policy, idle_only: false })
}

fn job(tensor: &Tensor) -> (Job, Pending) {
    let arrived = Instant::now();
    let deadline = arrived + Duration::from_mins(1);
    let terms = Terms::plain(arrived, deadline);
    let work = Work { lane: Lane::Handler, inputs: vec![tensor.clone()], rows: 1, shares: true };
    Job::new("4711".to_owned(), work, terms)
}

fn tensor() -> Tensor {
    Tensor::from_vec(&[3, 96, 128], vec![0_f32; 3 * 96 * 128]).expect("a tensor")
}

fn push(queue: &Arc<JobQueue>, tensor: &Tensor) -> Pending {
    let slot = queue.reserve().expect("a place");
    let (job, pending) = job(tensor);
    slot.push(job);
    pending
}

/// What a worker does with a batch of which nobody waits for the network.
fn answer(queue: &JobQueue) {
    for job in queue.pull(&NEVER).expect("a batch") {
        let outputs = job.work.inputs.clone();
        let (queue, batch) = (Duration::ZERO, BatchTiming::default());
        job.answer(Ok(Done { outputs, queue, batch }));
    }
}

/// One request to a worker and back, whoever else does the same. Each thread takes one out for each that it puts in,
/// so that nobody waits for long.
#[divan::bench(threads = [1, 2, 8])]
fn there_and_back(bencher: Bencher<'_, '_>) {
    let (queue, tensor) = (queue(1000, 1), tensor());
    bencher.bench(|| {
        let pending = push(&queue, &tensor);
        answer(&queue);
        pending
    });
}

/// One in and one out of a queue in which so many wait.
#[divan::bench(args = [10, 1000])]
fn behind_others(bencher: Bencher<'_, '_>, waiting: usize) {
    let (queue, tensor) = (queue(waiting + 1, 1), tensor());
    let mut pending: VecDeque<_> = (0..waiting).map(|_| push(&queue, &tensor)).collect();
    bencher.bench_local(|| {
        pending.push_back(push(&queue, &tensor));
        answer(&queue);
        pending.pop_front()
    });
}

/// So many to one batch and back.
#[divan::bench(args = [8, 64])]
fn batch_of(bencher: Bencher<'_, '_>, requests: usize) {
    let (queue, tensor) = (queue(1000, requests), tensor());
    bencher.bench_local(|| {
        let pending: Vec<_> = (0..requests).map(|_| push(&queue, &tensor)).collect();
        answer(&queue);
        pending
    });
}

/// Eight whose clients go, and one whose client stays: the worker gets that one alone.
#[divan::bench]
fn eight_gone(bencher: Bencher<'_, '_>) {
    let (queue, tensor) = (queue(1000, 8), tensor());
    bencher.bench_local(|| {
        for _ in 0..8 {
            drop(push(&queue, &tensor));
        }
        let pending = push(&queue, &tensor);
        answer(&queue);
        pending
    });
}

/// What it costs to be told that there is no place.
#[divan::bench(args = [10, 1000])]
fn refused_by_a_full_one(bencher: Bencher<'_, '_>, waiting: usize) {
    let (queue, tensor) = (queue(waiting, 1), tensor());
    let _pending: Vec<_> = (0..waiting).map(|_| push(&queue, &tensor)).collect();
    bencher.bench_local(|| queue.reserve().is_err());
}
