//! The queue against a list: whatever is done to both, they say the same.

use std::time::Duration;

use mar_handler::Tensor;
use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::job::{Pending, Terms, Work};

const CAPACITY: usize = 5;
const MAX_SIZE: usize = 3;
static NEVER: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Debug)]
enum Step {
    Reserve,
    /// Fills the place of this index with a job of this shape.
    Push(usize, usize),
    GiveBack(usize),
    /// The client of this index goes.
    Leave(usize),
    Pull,
    /// The batch of this index fails as a whole.
    Retry(usize),
    /// The batch of this index is answered.
    Finish(usize),
    Workers(usize),
    FailAll,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Reserve),
        8 => (0..9_usize, 1..3_usize).prop_map(|(slot, shape)| Step::Push(slot, shape)),
        1 => (0..9_usize).prop_map(Step::GiveBack),
        2 => (0..9_usize).prop_map(Step::Leave),
        6 => Just(Step::Pull),
        2 => (0..9_usize).prop_map(Step::Retry),
        2 => (0..9_usize).prop_map(Step::Finish),
        1 => (0..3_usize).prop_map(Step::Workers),
        1 => Just(Step::FailAll),
        1 => Just(Step::Close),
    ];
    proptest::collection::vec(step, 0..80)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waits,
    Alone,
    Out,
    Answered,
}

/// A request as the list knows it; its number is its order of arrival.
struct Asked {
    shape: usize,
    place: Place,
    pending: Option<Pending>,
}

struct Both {
    queue: Arc<JobQueue>,
    start: Instant,
    /// Places that are out, with the number of the request that each is for.
    slots: Vec<(Slot, usize)>,
    /// Batches that are out.
    batches: Vec<Vec<Job>>,
    asked: Vec<Option<Asked>>,
    /// Numbers of those that are to be tried alone, in order.
    alone: Vec<usize>,
    delayed: bool,
    workers: usize,
    closed: bool,
}

impl Both {
    fn new(delayed: bool) -> Self {
        let max_delay = if delayed { Duration::from_hours(9) } else { Duration::ZERO };
        let policy = BatchPolicy::of(MAX_SIZE, max_delay);
        let queue = JobQueue::new(QueueRules { capacity: CAPACITY, policy, idle_only: false });
        Self {
            queue,
            start: Instant::now().checked_sub(Duration::from_mins(1)).unwrap(),
            slots: Vec::new(),
            batches: Vec::new(),
            asked: Vec::new(),
            alone: Vec::new(),
            delayed,
            workers: 1,
            closed: false,
        }
    }

    fn is_alive(&self, number: usize) -> bool {
        self.asked[number].as_ref().is_some_and(|asked| asked.pending.is_some())
    }

    fn at(&self, place: Place) -> Vec<usize> {
        let at = |number: &usize| self.asked[*number].as_ref().is_some_and(|a| a.place == place);
        (0..self.asked.len()).filter(at).collect()
    }

    fn put(&mut self, number: usize, place: Place) {
        self.asked[number].as_mut().unwrap().place = place;
    }

    /// What is answered with an error where nobody is to work on it.
    fn answer_waiting(&mut self) {
        for number in self.at(Place::Waits).into_iter().chain(std::mem::take(&mut self.alone)) {
            self.put(number, Place::Answered);
        }
    }

    /// The batch that a worker gets now, by the rules as they are told.
    fn next(&self) -> Option<Vec<usize>> {
        if let Some(number) = self.alone.iter().find(|number| self.is_alive(**number)) {
            return Some(vec![*number]);
        }
        let waiting: Vec<usize> =
            self.at(Place::Waits).into_iter().filter(|number| self.is_alive(*number)).collect();
        let shape = |number: usize| self.asked[number].as_ref().unwrap().shape;
        let complete = self.closed && self.slots.is_empty();
        let group = |first: usize| -> Vec<usize> {
            waiting.iter().copied().filter(|n| shape(*n) == shape(first)).take(MAX_SIZE).collect()
        };
        // Of those that are ready, the one with the oldest.
        waiting
            .iter()
            .map(|first| group(*first))
            .find(|group| group.len() == MAX_SIZE || !self.delayed || complete)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Reserve => self.reserve(),
            Step::Push(index, shape) if index < self.slots.len() => {
                let (slot, number) = self.slots.remove(index);
                let arrived = self.start + Duration::from_millis(number as u64);
                let inputs = vec![Tensor::from_vec(&[shape], vec![0_u8; shape]).unwrap()];
                let deadline = Instant::now() + Duration::from_hours(1);
                let terms = Terms::plain(arrived, deadline);
                let work = Work::of_handler(inputs, true);
                let (job, pending) = Job::new(number.to_string(), work, terms);
                let place = if self.workers == 0 { Place::Answered } else { Place::Waits };
                self.asked[number] = Some(Asked { shape, place, pending: Some(pending) });
                slot.push(job);
            }
            Step::GiveBack(index) if index < self.slots.len() => drop(self.slots.remove(index)),
            Step::Leave(index) => {
                let here: Vec<usize> =
                    (0..self.asked.len()).filter(|number| self.is_alive(*number)).collect();
                if let Some(number) = here.get(index) {
                    self.asked[*number].as_mut().unwrap().pending = None;
                }
            }
            Step::Pull => self.pull(),
            Step::Retry(index) if index < self.batches.len() => {
                let batch = self.batches.remove(index);
                let numbers: Vec<usize> = batch.iter().map(number).collect();
                for number in &numbers {
                    self.put(*number, Place::Alone);
                }
                self.alone.splice(0..0, numbers);
                self.queue.retry_alone(batch);
                if self.workers == 0 {
                    self.answer_waiting();
                }
            }
            Step::Finish(index) if index < self.batches.len() => {
                for job in self.batches.remove(index) {
                    self.put(number(&job), Place::Answered);
                    job.answer(Err(no_worker_left()));
                }
            }
            Step::Workers(workers) => {
                self.workers = workers;
                self.queue.set_workers(workers);
                if workers == 0 {
                    self.answer_waiting();
                }
            }
            Step::FailAll => {
                self.queue.fail_all(&no_worker_left());
                self.answer_waiting();
            }
            Step::Close => {
                self.closed = true;
                self.queue.close();
            }
            Step::Push(..) | Step::GiveBack(_) | Step::Retry(_) | Step::Finish(_) => {}
        }
    }

    fn reserve(&mut self) {
        let living = |number: &usize| self.is_alive(*number);
        let waiting = [Place::Waits, Place::Alone].map(|place| self.at(place)).concat();
        let taken = self.slots.len() + waiting.iter().copied().filter(|n| living(n)).count();
        let refused = if self.closed {
            Some(Refused::Closed)
        } else if self.workers == 0 {
            Some(Refused::NoWorkers)
        } else if taken >= CAPACITY {
            Some(Refused::Full)
        } else {
            None
        };
        match self.queue.reserve() {
            Ok(slot) => {
                assert_eq!(refused, None);
                self.slots.push((slot, self.asked.len()));
                self.asked.push(None);
            }
            Err(why) => assert_eq!(Some(why), refused),
        }
    }

    fn pull(&mut self) {
        let expected = self.next();
        if expected.is_none() && !(self.closed && self.slots.is_empty()) {
            // It would wait, and for longer than the test.
            return;
        }
        let pulled = self.queue.pull(&NEVER);
        let numbers = pulled.as_ref().map(|jobs| jobs.iter().map(number).collect::<Vec<_>>());
        assert_eq!(numbers, expected);
        for number in numbers.into_iter().flatten() {
            self.put(number, Place::Out);
            self.alone.retain(|other| *other != number);
        }
        self.batches.extend(pulled);
    }

    /// What a client sees is what the list says.
    fn check(&mut self) {
        let (waiting, room) = self.queue.load();
        assert!(room == CAPACITY.saturating_sub(waiting));
        for asked in self.asked.iter_mut().flatten() {
            let Asked { place, pending: Some(pending), .. } = asked else { continue };
            match pending.reply.try_recv() {
                Ok(_) => {
                    assert_eq!(*place, Place::Answered);
                    asked.pending = None;
                }
                Err(TryRecvError::Empty) => assert_ne!(*place, Place::Answered),
                Err(TryRecvError::Closed) => panic!("a request was lost"),
            }
        }
    }
}

fn number(job: &Job) -> usize {
    job.id.parse().unwrap()
}

proptest! {
    #[test]
    fn the_queue_does_as_the_list(steps in steps(), delayed in any::<bool>()) {
        let mut both = Both::new(delayed);
        for step in &steps {
            both.take(step);
            both.check();
        }
        // At the end all that is in comes out, and then workers end.
        both.take(&Step::Close);
        both.slots.clear();
        while both.next().is_some() {
            both.pull();
        }
        both.check();
        prop_assert!(both.queue.pull(&NEVER).is_none());
        prop_assert_eq!(both.queue.load().0, 0);
    }
}
