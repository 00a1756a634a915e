//! Requests that are no equals: of different levels, with rows, late, or alone.

use std::time::Duration;

use mar_handler::Tensor;

use super::*;
use crate::job::{Lane, Pending, Terms, Work};

static NEVER: AtomicBool = AtomicBool::new(false);

fn queue(max_rows: usize) -> Arc<JobQueue> {
    // Whatever does not fill a batch waits for longer than any test.
    let policy = BatchPolicy::of(max_rows, Duration::from_hours(1));
    JobQueue::new(QueueRules { capacity: 100, policy, idle_only: false })
}

/// Rows of two bytes, the first of which is `value`.
fn work(value: u8, rows: usize) -> Work {
    let inputs = vec![Tensor::from_vec(&[rows, 2], vec![value; 2 * rows]).unwrap()];
    Work { lane: Lane::Network, inputs, rows, shares: true }
}

fn terms() -> Terms {
    let now = Instant::now();
    Terms::plain(now, now + Duration::from_mins(1))
}

fn push(queue: &Arc<JobQueue>, work: Work, terms: Terms) -> Pending {
    let (job, pending) = Job::new(String::new(), work, terms);
    queue.reserve().unwrap().push(job);
    pending
}

fn pull(queue: &JobQueue) -> Vec<u8> {
    let jobs = queue.pull(&NEVER).unwrap();
    jobs.iter().map(|job| job.work.inputs[0].bytes()[0]).collect()
}

#[test]
fn a_batch_is_full_by_its_rows_and_none_is_overtaken() {
    let queue = queue(4);
    let _pending = [(1, 3), (2, 2), (3, 1), (4, 1), (5, 9), (6, 4)]
        .map(|(value, rows)| push(&queue, work(value, rows), terms()));
    let pulled: Vec<_> = (0..4).map(|_| pull(&queue)).collect();
    assert_eq!(pulled, [vec![1], vec![2, 3, 4], vec![5], vec![6]]);
}

#[test]
fn the_handlers_requests_and_those_of_tensors_share_no_batch() {
    let queue = queue(2);
    let of_handler =
        |value| Work::of_handler(vec![Tensor::from_vec(&[2], vec![value; 2]).unwrap()], true);
    let _pending = [of_handler(1), work(2, 1), work(3, 1), of_handler(4)]
        .map(|work| push(&queue, work, terms()));
    assert_eq!([pull(&queue), pull(&queue)], [vec![1, 4], vec![2, 3]]);
}

#[test]
fn who_shares_with_nobody_waits_for_nobody() {
    let queue = queue(4);
    let alone = |value, rows| Work { shares: false, ..work(value, rows) };
    let _waits = push(&queue, work(1, 1), terms());
    let _pending = [alone(2, 1), alone(3, 2)].map(|work| push(&queue, work, terms()));
    assert_eq!([pull(&queue), pull(&queue)], [vec![2], vec![3]]);
    assert_eq!(queue.load().0, 1);
}

#[test]
fn a_lower_level_goes_first_and_each_level_in_order_of_arrival() {
    let queue = queue(2);
    let at = |level| Terms { level, ..terms() };
    let _pending = [(1, 2), (2, 1), (3, 2), (4, 1), (5, 3), (6, 1)]
        .map(|(value, level)| push(&queue, work(value, 1), at(level)));
    let pulled: Vec<_> = (0..3).map(|_| pull(&queue)).collect();
    assert_eq!(pulled, [vec![2, 4], vec![6, 1], vec![3, 5]]);
}

#[test]
fn who_is_late_goes_behind_the_others_of_its_level() {
    let queue = queue(1);
    let now = Instant::now();
    let late = Terms { level: 1, late: Some(now), ..terms() };
    let in_time = Terms { level: 1, late: Some(now + Duration::from_hours(1)), ..terms() };
    let below = Terms { level: 2, ..terms() };
    let _pending = [(1, late), (2, in_time), (3, below), (4, in_time)]
        .map(|(value, terms)| push(&queue, work(value, 1), terms));
    let pulled: Vec<_> = (0..4).flat_map(|_| pull(&queue)).collect();
    assert_eq!(pulled, [2, 4, 1, 3]);
}

#[test]
fn who_becomes_late_while_it_waits_is_overtaken() {
    let queue = queue(1);
    let soon = Instant::now() + Duration::from_millis(1);
    let _first = push(&queue, work(1, 1), Terms { late: Some(soon), ..terms() });
    let _second = push(&queue, work(2, 1), terms());
    while Instant::now() < soon {
        std::thread::yield_now();
    }
    assert_eq!([pull(&queue), pull(&queue)], [vec![2], vec![1]]);
}

#[test]
fn a_level_has_no_more_than_its_bound_and_who_has_gone_does_not_count() {
    let queue = queue(1);
    let bounded = |level| Terms { level, most_waiting: Some(1), ..terms() };
    let first = push(&queue, work(1, 1), bounded(1));
    let _other = push(&queue, work(2, 1), bounded(2));
    let mut refused = push(&queue, work(3, 1), bounded(1));
    let error = refused.reply.try_recv().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Overloaded);
    assert!(error.message().contains("exceeds maximum queue size 1"), "{error}");
    assert_eq!(queue.load().0, 2, "it has no place");
    drop(first);
    let _fourth = push(&queue, work(4, 1), bounded(1));
    assert_eq!([pull(&queue), pull(&queue)], [vec![4], vec![2]]);
}

#[test]
fn a_preferred_size_wakes_a_worker_that_waits_for_more() {
    let policy =
        BatchPolicy { preferred: [2].into(), ..BatchPolicy::of(8, Duration::from_hours(1)) };
    let queue = JobQueue::new(QueueRules { capacity: 100, policy, idle_only: false });
    let worker = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || pull(&queue)
    });
    let _first = push(&queue, work(1, 1), terms());
    while queue.state.lock().idle == 0 {
        std::thread::yield_now();
    }
    let _second = push(&queue, work(2, 1), terms());
    assert_eq!(worker.join().unwrap(), [1, 2]);
}
