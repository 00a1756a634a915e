//! The queue of one model version: bounded, filled by requests, emptied by idle workers.
//!
//! A place is reserved before a request is decoded, so that a full queue answers at once and costs
//! nothing; a job carries its own reply channel, so there are no ids and no tables. Jobs stay in the
//! queue until a whole batch is ready, so that idle workers never split one between them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use mar_handler::{Error, ErrorCode, Result};
use parking_lot::{Condvar, Mutex};

use crate::batch::{BatchPolicy, Filling, Readiness, Waiting};
use crate::job::{Job, Signature};

/// Why no place was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Every place is taken.
    Full,
    /// No worker is idle, and the model takes requests only where one is.
    Busy,
    /// There is no worker, and none is coming.
    NoWorkers,
    /// The version is going away.
    Closed,
}

/// How a queue takes and gives.
#[derive(Clone, Debug)]
pub(crate) struct QueueRules {
    /// Requests that may wait, those being decoded included.
    pub(crate) capacity: usize,
    pub(crate) policy: BatchPolicy,
    /// Whether a request is taken only where a worker is idle (`useJobTicket`).
    pub(crate) idle_only: bool,
}

#[derive(Debug)]
pub(crate) struct JobQueue {
    state: Mutex<State>,
    /// Something came in, or the end came near: idle workers look again.
    changed: Condvar,
    /// The queue was closed, or a worker is to go: those who wait before loading again look.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    rules: QueueRules,
    /// Jobs by what may share a batch, each group by rank.
    groups: Vec<Group>,
    /// Jobs of a batch that failed as a whole: each is to be tried alone, before anything else.
    alone: VecDeque<Job>,
    /// Places taken by requests that are still being decoded.
    reserved: usize,
    /// Workers that serve or will serve; `None` until the first is on its way.
    workers: Option<usize>,
    /// Workers that wait for jobs now.
    idle: usize,
    closed: bool,
    /// Whether a job may come to stand behind later ones.
    delays: bool,
}

#[derive(Debug)]
struct Group {
    signature: Signature,
    jobs: VecDeque<Job>,
}

/// A place in the queue, given back when dropped without a job.
#[derive(Debug)]
pub(crate) struct Slot {
    queue: Arc<JobQueue>,
    /// Whether the place is still to be given back.
    reserved: bool,
}

impl JobQueue {
    pub(crate) fn new(rules: QueueRules) -> Arc<Self> {
        let state = State {
            rules,
            groups: Vec::new(),
            alone: VecDeque::new(),
            reserved: 0,
            workers: None,
            idle: 0,
            closed: false,
            delays: false,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), ended: Condvar::new() })
    }

    /// Changes the rules for what comes from now on.
    pub(crate) fn set_rules(&self, rules: QueueRules) {
        self.state.lock().rules = rules;
        self.changed.notify_all();
    }

    /// Takes a place, or says at once why there is none.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Slot, Refused> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.workers == Some(0) {
            return Err(Refused::NoWorkers);
        }
        if state.without_room().is_some() {
            // Requests whose clients have gone hold no place against one that waits.
            state.drop_dead(Instant::now());
            if let Some(refused) = state.without_room() {
                return Err(refused);
            }
        }
        state.reserved += 1;
        drop(state);
        Ok(Slot { queue: Arc::clone(self), reserved: true })
    }

    /// The next batch, of requests whose clients still wait; blocks until there is one. `None` once the
    /// worker is `retired`, or the queue is closed and nothing can come any more.
    pub(crate) fn pull(&self, retired: &AtomicBool) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        loop {
            if retired.load(Ordering::Acquire) {
                // The wake-up that brought this worker here may have been another's.
                self.changed.notify_one();
                return None;
            }
            let now = Instant::now();
            if let Some(job) = state.take_alone(now) {
                return Some(self.hand_out(&state, vec![job]));
            }
            state.order(now);
            match state.readiness(now) {
                Readiness::Ready { group, size } => {
                    if let Some(jobs) = state.take(group, size, now) {
                        return Some(self.hand_out(&state, jobs));
                    }
                }
                Readiness::Until(instant) => {
                    state.idle += 1;
                    self.changed.wait_until(&mut state, instant);
                    state.idle -= 1;
                }
                Readiness::Empty if state.is_complete() => {
                    self.changed.notify_one();
                    return None;
                }
                Readiness::Empty => {
                    state.idle += 1;
                    self.changed.wait(&mut state);
                    state.idle -= 1;
                }
            }
        }
    }

    /// The worker that takes a batch leaves the rest to another, who may sleep without a limit.
    fn hand_out(&self, state: &State, jobs: Vec<Job>) -> Vec<Job> {
        for job in &jobs {
            job.begin();
        }
        if state.waiting() > 0 {
            self.changed.notify_one();
        } else if state.closed {
            self.ended.notify_all();
        }
        jobs
    }

    /// Puts the jobs of a batch that failed back, each to be tried alone.
    pub(crate) fn retry_alone(&self, jobs: Vec<Job>) {
        let mut state = self.state.lock();
        for job in jobs.into_iter().rev() {
            state.alone.push_front(job);
        }
        if state.workers == Some(0) {
            drop(state);
            self.fail_all(&no_worker_left());
        } else {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Blocks until the instant, the close of the queue or the worker's retirement; says whether it was
    /// one of the latter two.
    pub(crate) fn ended_by(&self, instant: Instant, retired: &AtomicBool) -> bool {
        let mut state = self.state.lock();
        let mut due = false;
        loop {
            state.drop_dead(Instant::now());
            let nothing_left = state.closed && state.taken() == 0;
            if nothing_left || retired.load(Ordering::Acquire) {
                return true;
            }
            if due {
                return false;
            }
            due = self.ended.wait_until(&mut state, instant).timed_out();
        }
    }

    /// Lets retired workers see that they are.
    pub(crate) fn wake_all(&self) {
        // With the lock, so that no worker is between looking and sleeping.
        drop(self.state.lock());
        self.changed.notify_all();
        self.ended.notify_all();
    }

    /// Says how many workers serve or will serve. Where none is left, what waits is refused.
    pub(crate) fn set_workers(&self, workers: usize) {
        let mut state = self.state.lock();
        state.workers = Some(workers);
        drop(state);
        if workers == 0 {
            self.fail_all(&no_worker_left());
        }
    }

    /// Refuses new requests; jobs that are in already, or on their way in, are still pulled.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake_all();
    }

    /// Answers everything that waits with this error.
    pub(crate) fn fail_all(&self, error: &Error) {
        let mut state = self.state.lock();
        let mut jobs: Vec<Job> = std::mem::take(&mut state.alone).into();
        jobs.extend(std::mem::take(&mut state.groups).into_iter().flat_map(|group| group.jobs));
        drop(state);
        self.wake_all();
        for job in jobs {
            job.answer(Err(error.clone()));
        }
    }

    /// How many requests stand in it.
    pub(crate) fn ready(&self) -> usize {
        self.state.lock().waiting()
    }

    /// How many requests wait, and how many more may.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        let waiting = state.taken();
        (waiting, state.rules.capacity.saturating_sub(waiting))
    }
}

impl State {
    /// Jobs in the queue.
    fn waiting(&self) -> usize {
        self.alone.len() + self.groups.iter().map(|group| group.jobs.len()).sum::<usize>()
    }

    /// Places that are taken.
    fn taken(&self) -> usize {
        self.reserved + self.waiting()
    }

    fn readiness(&self, now: Instant) -> Readiness {
        let mut policy = self.rules.policy.clone();
        if self.is_complete() {
            // Nobody comes any more for whom a batch could wait.
            policy.max_delay = std::time::Duration::ZERO;
        }
        policy.readiness(self.groups.iter().map(|group| group.waiting(&policy, now)), now)
    }

    /// Why there is no place for one more, if there is none.
    fn without_room(&self) -> Option<Refused> {
        if self.rules.idle_only && self.taken() >= self.idle {
            return Some(Refused::Busy);
        }
        (self.taken() >= self.rules.capacity).then_some(Refused::Full)
    }

    /// Whether it is closed and nobody is on the way in.
    fn is_complete(&self) -> bool {
        self.closed && self.reserved == 0
    }

    /// The next job that is to be tried alone.
    fn take_alone(&mut self, now: Instant) -> Option<Job> {
        while let Some(job) = self.alone.pop_front() {
            if job.is_alive(now) {
                return Some(job);
            }
        }
        None
    }

    /// A batch, of a group that is ready. `None` where not all of it is alive, so that the group may not
    /// be ready without those that are not.
    fn take(&mut self, group: usize, size: usize, now: Instant) -> Option<Vec<Job>> {
        let jobs = &mut self.groups[group].jobs;
        let alive = jobs.iter().take(size).all(|job| job.is_alive(now));
        let batch = if alive {
            Some(jobs.drain(..size).collect())
        } else {
            jobs.retain(|job| job.is_alive(now));
            None
        };
        if jobs.is_empty() {
            self.groups.swap_remove(group);
        }
        batch
    }

    /// Forgets the jobs whose clients have gone or whose time is over, before they cost anything.
    fn drop_dead(&mut self, now: Instant) {
        self.alone.retain(|job| job.is_alive(now));
        for group in &mut self.groups {
            group.jobs.retain(|job| job.is_alive(now));
        }
        self.groups.retain(|group| !group.jobs.is_empty());
    }

    /// Adds a job; whether a worker should look. One sleeps no longer than until the oldest of each group
    /// is due, so that one more is news only where it is the oldest or fills a batch.
    fn add(&mut self, job: Job, now: Instant) -> bool {
        self.delays |= job.terms.late.is_some();
        self.order(now);
        let same = |group: &&mut Group| group.signature == job.signature;
        let Some(group) = self.groups.iter_mut().find(same) else {
            let signature = job.signature.clone();
            self.groups.push(Group { signature, jobs: VecDeque::from([job]) });
            return true;
        };
        // Decoding may have let a later request overtake an earlier one, and there are levels.
        let (rank, level) = (job.rank(now), job.terms.level);
        let place = group.jobs.partition_point(|other| other.rank(now) <= rank);
        group.jobs.insert(place, job);
        place == 0 || level > 0 || group.filling(&self.rules.policy).is_full
    }

    /// Why a job may not wait, if so: too many of its level do.
    fn refuses(&mut self, job: &Job, now: Instant) -> Option<Error> {
        let most = job.terms.most_waiting?;
        let level = job.terms.level;
        let waiting = |groups: &[Group]| {
            let jobs = groups.iter().flat_map(|group| &group.jobs);
            jobs.filter(|other| other.terms.level == level).count()
        };
        if waiting(&self.groups) < most {
            return None;
        }
        self.drop_dead(now);
        (waiting(&self.groups) >= most).then(|| {
            let message =
                format!("the request exceeds maximum queue size {most}; send again later");
            Error::new(ErrorCode::Overloaded, message)
        })
    }

    /// Puts those that are late by now behind the others of their level.
    fn order(&mut self, now: Instant) {
        if !self.delays {
            return;
        }
        for group in &mut self.groups {
            let is_ordered = |(before, after): (&Job, &Job)| before.rank(now) <= after.rank(now);
            let jobs = &mut group.jobs;
            if !jobs.iter().zip(jobs.iter().skip(1)).all(is_ordered) {
                jobs.make_contiguous().sort_by_key(|job| job.rank(now));
            }
        }
    }
}

impl Group {
    /// The next batch, as far as it goes. Who shares with nobody waits for nobody.
    fn filling(&self, policy: &BatchPolicy) -> Filling {
        if self.signature.shares {
            policy.fill(self.jobs.iter().map(|job| job.work.rows))
        } else {
            Filling { jobs: self.jobs.len().min(1), is_full: true }
        }
    }

    fn waiting(&self, policy: &BatchPolicy, now: Instant) -> Waiting {
        let filling = self.filling(policy);
        let oldest = self.jobs.iter().take(filling.jobs).map(|job| job.terms.arrived).min();
        let first = self.jobs.front().map_or((0, false, now), |job| job.rank(now));
        Waiting { filling, oldest: oldest.unwrap_or(now), first }
    }
}

impl Slot {
    /// Turns the place into a job, in one step: a worker may take the job at once, and must not find the
    /// place still taken.
    pub(crate) fn push(mut self, job: Job) {
        self.give_back(Some(job));
    }

    fn give_back(&mut self, job: Option<Job>) {
        let mut state = self.queue.state.lock();
        state.reserved -= 1;
        self.reserved = false;
        let now = Instant::now();
        let (refused, news) = match job {
            Some(job) if state.workers == Some(0) => (Some((job, no_worker_left())), false),
            Some(job) => match state.refuses(&job, now) {
                Some(error) => (Some((job, error)), false),
                None => (None, state.add(job, now)),
            },
            None => (None, false),
        };
        let complete = state.is_complete();
        drop(state);
        if complete {
            // Whoever gets no job now gets none any more, and ends.
            self.queue.wake_all();
        } else if news {
            self.queue.changed.notify_one();
        }
        if let Some((job, error)) = refused {
            job.answer(Err(error));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.reserved {
            self.give_back(None);
        }
    }
}

/// A slot that another thread may turn into a job, until this is dropped: who waits no longer takes the place back,
/// though the other thread may never end.
#[derive(Debug)]
pub(crate) struct Place(Arc<Mutex<Option<Slot>>>);

/// The other thread's end of a [`Place`].
#[derive(Debug)]
pub(crate) struct Lent(Weak<Mutex<Option<Slot>>>);

impl Place {
    pub(crate) fn new(slot: Slot) -> Self {
        Self(Arc::new(Mutex::new(Some(slot))))
    }

    /// For the thread that makes the job.
    pub(crate) fn lent(&self) -> Lent {
        Lent(Arc::downgrade(&self.0))
    }
}

impl Lent {
    /// Turns the place into a job, unless nobody waits for that any more.
    pub(crate) fn push(self, job: Job) {
        let slot = self.0.upgrade().and_then(|place| place.lock().take());
        if let Some(slot) = slot {
            slot.push(job);
        }
    }
}

fn no_worker_left() -> Error {
    Error::new(
        ErrorCode::Unavailable,
        "the model's last worker is gone; scale it up, or send later",
    )
}

// By their paths, because a benchmark takes this file in from another folder.
#[cfg(test)]
#[path = "queue/levels.rs"]
mod levels;
#[cfg(test)]
#[path = "queue/model.rs"]
mod model;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mar_handler::Tensor;

    use super::*;
    use crate::job::{Pending, Terms, Work};

    static NEVER: AtomicBool = AtomicBool::new(false);

    fn queue(capacity: usize, max_size: usize, max_delay: Duration) -> Arc<JobQueue> {
        let policy = BatchPolicy::of(max_size, max_delay);
        JobQueue::new(QueueRules { capacity, policy, idle_only: false })
    }

    fn single(capacity: usize) -> Arc<JobQueue> {
        queue(capacity, 1, Duration::ZERO)
    }

    /// A job whose one tensor holds `value` as often as `len` says.
    fn job_of(value: u8, len: usize) -> (Job, Pending) {
        let now = Instant::now();
        let inputs = vec![Tensor::from_vec(&[len], vec![value; len]).unwrap()];
        let terms = Terms::plain(now, now + Duration::from_mins(1));
        Job::new(String::new(), Work::of_handler(inputs, true), terms)
    }

    fn job(value: u8) -> (Job, Pending) {
        job_of(value, 1)
    }

    fn values(jobs: &[Job]) -> Vec<u8> {
        jobs.iter().map(|job| job.work.inputs[0].bytes()[0]).collect()
    }

    fn push(queue: &Arc<JobQueue>, job: (Job, Pending)) -> Pending {
        queue.reserve().unwrap().push(job.0);
        job.1
    }

    #[test]
    fn jobs_come_out_in_the_order_they_went_in() {
        let queue = single(3);
        let _pending: Vec<_> = [1, 2, 3].map(|value| push(&queue, job(value))).into();
        let pulled: Vec<u8> = (0..3).flat_map(|_| values(&queue.pull(&NEVER).unwrap())).collect();
        assert_eq!(pulled, [1, 2, 3]);
    }

    #[test]
    fn a_batch_holds_what_has_the_same_shape_in_order_of_arrival() {
        let queue = queue(9, 3, Duration::ZERO);
        let (first, _one) = job(1);
        let (second, _two) = job(2);
        // Decoding let the second overtake the first.
        let slot = queue.reserve().unwrap();
        queue.reserve().unwrap().push(second);
        slot.push(first);
        let _wide = push(&queue, job_of(3, 2));
        let _more: Vec<_> = [4, 5].map(|value| push(&queue, job(value))).into();
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [1, 2, 4]);
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [3]);
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [5]);
    }

    #[test]
    fn two_idle_workers_do_not_split_a_batch() {
        let queue = queue(100, 4, Duration::from_mins(1));
        let (sizes, pulled) = std::sync::mpsc::channel();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (queue, sizes) = (Arc::clone(&queue), sizes.clone());
                std::thread::spawn(move || {
                    while let Some(jobs) = queue.pull(&NEVER) {
                        sizes.send(jobs.len()).unwrap();
                        for job in jobs {
                            job.answer(Err(no_worker_left()));
                        }
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            let _pending: Vec<_> = (0..4).map(|value| push(&queue, job(value))).collect();
            assert_eq!(pulled.recv().unwrap(), 4);
        }
        queue.close();
        for worker in workers {
            worker.join().unwrap();
        }
    }

    #[test]
    fn a_group_left_behind_by_a_full_batch_wakes_another_worker_in_time() {
        let queue = queue(100, 2, Duration::from_millis(20));
        let start = Instant::now();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || values(&queue.pull(&NEVER).unwrap()))
            })
            .collect();
        let _pending = [push(&queue, job_of(9, 2)), push(&queue, job(1)), push(&queue, job(1))];
        let mut pulled: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
        pulled.sort();
        assert_eq!(pulled, [vec![1, 1], vec![9]]);
        assert!(start.elapsed() < Duration::from_secs(30), "it waited without a limit");
    }

    #[test]
    fn a_full_queue_refuses_and_a_dropped_place_is_free_again() {
        let queue = single(2);
        let first = queue.reserve().unwrap();
        let second = queue.reserve().unwrap();
        assert_eq!(queue.reserve().unwrap_err(), Refused::Full);
        assert_eq!(queue.load(), (2, 0));
        drop(first);
        let (job, _pending) = job(1);
        second.push(job);
        assert_eq!(queue.load(), (1, 1));
    }

    #[test]
    fn a_place_on_another_thread_becomes_a_job_until_whoever_waits_for_it_has_gone() {
        let queue = single(1);
        let place = Place::new(queue.reserve().unwrap());
        let (made, _pending) = job(1);
        let lent = place.lent();
        std::thread::spawn(move || lent.push(made)).join().unwrap();
        drop(place);
        assert_eq!(queue.load(), (1, 0), "it is the job's by now");
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [1]);

        let place = Place::new(queue.reserve().unwrap());
        let lent = place.lent();
        drop(place);
        assert_eq!(queue.load(), (0, 1), "another's place is not kept by a thread that never ends");
        let (made, mut pending) = job(2);
        lent.push(made);
        assert_eq!(queue.load(), (0, 1));
        assert!(pending.reply.try_recv().is_err(), "nobody answers what nobody waits for");
    }

    #[test]
    fn without_workers_nothing_is_taken_and_what_waits_is_told() {
        let queue = single(2);
        assert!(queue.reserve().is_ok(), "the first worker is on its way");
        let late = queue.reserve().unwrap();
        let mut waiting = push(&queue, job(1));
        queue.set_workers(0);
        assert_eq!(queue.reserve().unwrap_err(), Refused::NoWorkers);
        let (job, mut pending) = job(2);
        late.push(job);
        for pending in [&mut waiting, &mut pending] {
            let error = pending.reply.try_recv().unwrap().unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unavailable);
        }
        queue.set_workers(1);
        assert!(queue.reserve().is_ok());
    }

    #[test]
    fn a_ticket_is_given_only_while_a_worker_is_idle() {
        let queue = single(10);
        let policy = BatchPolicy::of(1, Duration::ZERO);
        queue.set_rules(QueueRules { capacity: 10, policy, idle_only: true });
        assert_eq!(queue.reserve().unwrap_err(), Refused::Busy);
        let worker = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.pull(&NEVER)
        });
        let ticket = loop {
            match queue.reserve() {
                Ok(slot) => break slot,
                Err(refused) => assert_eq!(refused, Refused::Busy),
            }
            std::thread::yield_now();
        };
        assert_eq!(queue.reserve().unwrap_err(), Refused::Busy, "one worker, one ticket");
        let (job, _pending) = job(1);
        ticket.push(job);
        assert_eq!(values(&worker.join().unwrap().unwrap()), [1]);
    }

    #[test]
    fn a_job_that_was_pulled_holds_no_place() {
        let queue = single(1);
        let puller = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                while let Some(jobs) = queue.pull(&NEVER) {
                    let load = queue.load();
                    for job in jobs {
                        job.answer(Err(no_worker_left()));
                    }
                    assert_eq!(load, (0, 1), "the place of a job that a worker has");
                }
            }
        });
        for _ in 0..20_000 {
            let pending = push(&queue, job(1));
            pending.reply.blocking_recv().unwrap().unwrap_err();
        }
        queue.close();
        puller.join().unwrap();
    }

    #[test]
    fn clients_that_have_gone_and_time_that_is_over_hold_no_place_and_reach_no_worker() {
        let queue = single(1);
        drop(push(&queue, job(1)));
        let now = Instant::now();
        let inputs = vec![Tensor::from_vec(&[1], vec![2_u8]).unwrap()];
        let work = Work::of_handler(inputs, true);
        let (late, mut pending) = Job::new(String::new(), work, Terms::plain(now, now));
        queue.reserve().expect("the gone client's place").push(late);
        let _here = push(&queue, job(3));
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [3]);
        assert!(pending.reply.try_recv().is_err(), "nobody answers what came too late");
        assert!(!pending.has_started());
    }

    #[test]
    fn a_closed_queue_is_emptied_of_what_is_in_or_on_its_way_and_then_ends() {
        let queue = queue(3, 4, Duration::from_hours(1));
        let _waiting = push(&queue, job(1));
        let late = queue.reserve().unwrap();
        queue.close();
        assert_eq!(queue.reserve().unwrap_err(), Refused::Closed);
        let (job, _pending) = job(2);
        late.push(job);
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [1, 2], "without waiting for more");
        assert!(queue.pull(&NEVER).is_none());
    }

    #[test]
    fn every_worker_ends_with_a_closed_queue() {
        let queue = queue(3, 4, Duration::ZERO);
        let late = queue.reserve().unwrap();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || while queue.pull(&NEVER).is_some() {})
            })
            .collect();
        queue.close();
        drop(late);
        for worker in workers {
            worker.join().unwrap();
        }
    }

    #[test]
    fn a_retired_worker_ends_and_leaves_the_work_to_others() {
        let queue = single(3);
        let retired = Arc::new(AtomicBool::new(false));
        let worker = std::thread::spawn({
            let (queue, retired) = (Arc::clone(&queue), Arc::clone(&retired));
            move || queue.pull(&retired).is_none()
        });
        retired.store(true, Ordering::Release);
        queue.wake_all();
        assert!(worker.join().unwrap());
        let _pending = push(&queue, job(1));
        assert!(queue.pull(&retired).is_none());
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [1]);
    }

    #[test]
    fn jobs_of_a_failed_batch_come_back_one_by_one_and_first() {
        let queue = queue(9, 4, Duration::ZERO);
        let _pending: Vec<_> = [1, 2].map(|value| push(&queue, job(value))).into();
        let failed = queue.pull(&NEVER).unwrap();
        let _next = push(&queue, job(3));
        queue.retry_alone(failed);
        for expected in [1, 2, 3] {
            assert_eq!(values(&queue.pull(&NEVER).unwrap()), [expected]);
        }
    }

    #[test]
    fn waiting_to_try_again_stops_at_the_instant_or_when_nothing_is_left_to_do() {
        let queue = single(1);
        assert!(!queue.ended_by(Instant::now(), &NEVER));
        let far = Instant::now() + Duration::from_hours(1);
        assert!(queue.ended_by(far, &AtomicBool::new(true)));
        let pending = push(&queue, job(1));
        queue.close();
        assert!(!queue.ended_by(Instant::now(), &NEVER), "a request still waits for the worker");
        drop(pending);
        assert!(queue.ended_by(far, &NEVER));
    }

    #[test]
    fn every_waiting_request_hears_of_a_failure() {
        let queue = single(2);
        let mut pending = [push(&queue, job(1)), push(&queue, job(2))];
        queue.fail_all(&Error::new(ErrorCode::WorkerDied, "gone"));
        for pending in &mut pending {
            let error = pending.reply.try_recv().unwrap().unwrap_err();
            assert_eq!(error.code(), ErrorCode::WorkerDied);
        }
    }

    fn until_idle(queue: &JobQueue, workers: usize) {
        while queue.state.lock().idle < workers {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_last_job_of_a_closed_queue_keeps_no_worker_but_its_own() {
        let queue = single(3);
        let late = queue.reserve().unwrap();
        queue.close();
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..2 {
            let (queue, tell) = (Arc::clone(&queue), tell.clone());
            // The one that gets the job hangs in it: it does not come back to pass the end on.
            std::thread::spawn(move || tell.send(queue.pull(&NEVER)).unwrap());
        }
        until_idle(&queue, 2);
        let (job, _pending) = job(1);
        late.push(job);
        let pulled = [0; 2].map(|_| told.recv_timeout(Duration::from_secs(20)).expect("asleep"));
        assert_eq!(pulled.iter().filter(|jobs| jobs.is_some()).count(), 1);
    }

    #[test]
    fn a_client_that_has_gone_holds_no_ticket() {
        let queue = queue(10, 2, Duration::from_hours(1));
        queue.state.lock().rules.idle_only = true;
        let worker = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.pull(&NEVER)
        });
        until_idle(&queue, 1);
        drop(push(&queue, job(1)));
        let _pending = push(&queue, job(2));
        queue.close();
        assert_eq!(values(&worker.join().unwrap().unwrap()), [2]);
    }

    #[test]
    fn a_request_that_a_worker_had_is_tried_again_though_its_wait_for_one_is_over() {
        let queue = single(1);
        let _pending = push(&queue, job(2));
        let mut had = queue.pull(&NEVER).unwrap();
        had[0].terms.deadline = Instant::now();
        queue.retry_alone(had);
        queue.close();
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [2]);
    }

    #[test]
    fn waiting_to_try_again_ends_when_another_takes_the_last_request_of_a_closed_queue() {
        let queue = single(1);
        let _pending = push(&queue, job(1));
        queue.close();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                tell.send(false).unwrap();
                let far = Instant::now() + Duration::from_hours(1);
                tell.send(queue.ended_by(far, &NEVER)).unwrap();
            }
        });
        told.recv().unwrap();
        // It may not sleep yet, and then sees it all the same.
        std::thread::yield_now();
        assert_eq!(values(&queue.pull(&NEVER).unwrap()), [1]);
        assert!(told.recv_timeout(Duration::from_secs(20)).expect("it sleeps on"));
    }

    #[test]
    fn nobody_is_forgotten_whoever_sleeps() {
        let queue = queue(100, 3, Duration::from_millis(1));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(jobs) = queue.pull(&NEVER) {
                        for job in jobs {
                            job.answer(Err(no_worker_left()));
                        }
                    }
                });
            }
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    let queue = &queue;
                    scope.spawn(move || {
                        for i in 0..200 {
                            // Shapes meet and part, so that groups come, fill and go.
                            let pending = push(queue, job_of(1, 1 + client * i % 3));
                            pending.reply.blocking_recv().unwrap().unwrap_err();
                        }
                    })
                })
                .collect();
            for client in clients {
                client.join().unwrap();
            }
            queue.close();
        });
    }
}
