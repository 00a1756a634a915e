//! The threads that decode requests and encode responses.
//!
//! Handlers run here, and one may never return: its thread cannot be ended, so it is given up and another
//! takes its place. What waits behind it is served.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mar_handler::{Error, ErrorCode, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout_at;

/// Threads given up at most; beyond that, work waits for the threads that are left.
const MOST_STUCK: usize = 64;

/// A fixed number of working threads for what would block an async one.
#[derive(Debug)]
pub(crate) struct CpuPool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    /// Threads that there should be, and those that there are without those that were given up.
    size: usize,
    threads: usize,
    /// Threads that were made, for their names.
    made: usize,
    /// Threads that were given up and have not come back.
    stuck: usize,
    closed: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// How far a task is.
#[derive(Default)]
struct Progress {
    state: AtomicU8,
    /// Hears of the end.
    ended: Notify,
}

struct Task {
    progress: Arc<Progress>,
    work: Box<dyn FnOnce() + Send>,
}

/// Sees to it that a thread which does not end in time is given up, whether or not its client still waits.
struct Watch {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    deadline: Instant,
    watching: bool,
}

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;
const GIVEN_UP: u8 = 3;

impl CpuPool {
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let size = threads.max(1);
        let state = Mutex::new(State { size, ..State::default() });
        let pool = Self(Arc::new(Shared { state, changed: Condvar::new() }));
        for _ in 0..size {
            pool.0.add_thread(&mut pool.0.state.lock())?;
        }
        Ok(pool)
    }

    /// Runs `work` at once where this is polled if it is brief, else as [`Self::run`] does: handing it over and being
    /// woken again would take longer than it.
    pub(crate) async fn run_or_hand_over<T: Send + 'static>(
        &self,
        is_brief: bool,
        stage: &'static str,
        deadline: Instant,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !is_brief {
            return self.run(stage, deadline, work).await;
        }
        caught(stage, work)
    }

    /// Runs `work` on the pool until the deadline. It is not begun where the caller has gone by then; a
    /// panic in it, or no end in time, is an error that names the `stage`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        stage: &'static str,
        deadline: Instant,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, receiver) = oneshot::channel();
        let progress = Arc::<Progress>::default();
        let work = move || {
            if reply.is_closed() {
                return;
            }
            drop(reply.send(caught(stage, work)));
        };
        let mut watch = Watch {
            shared: Arc::clone(&self.0),
            progress: Arc::clone(&progress),
            deadline,
            watching: true,
        };
        let begun = Instant::now();
        self.0.push(Task { progress, work: Box::new(work) });
        let answer = timeout_at(deadline.into(), receiver).await;
        watch.watching = false;
        match answer {
            Ok(answer) => answer.unwrap_or_else(|_| {
                Err(Error::new(ErrorCode::Internal, format!("{stage} ended without an answer")))
            }),
            Err(_) => Err(self.0.too_late(&watch.progress, stage, begun.elapsed())),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.watching || self.progress.state.load(Ordering::Acquire) == DONE {
            return;
        }
        // The client has gone. Its work may hang all the same, and nobody else would see it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (shared, progress) = (Arc::clone(&self.shared), Arc::clone(&self.progress));
            let deadline = self.deadline;
            runtime.spawn(async move {
                if timeout_at(deadline.into(), progress.ended.notified()).await.is_err() {
                    shared.give_up(&progress);
                }
            });
        }
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn add_thread(self: &Arc<Self>, state: &mut State) -> Result<()> {
        let shared = Arc::clone(self);
        let name = format!("cpu-{}", state.made);
        thread::Builder::new().name(name).spawn(move || shared.serve()).map_err(|error| {
            Error::new(ErrorCode::Internal, "a thread of the CPU pool did not start")
                .caused_by(error)
        })?;
        state.made += 1;
        state.threads += 1;
        Ok(())
    }

    fn push(&self, task: Task) {
        self.state.lock().tasks.push_back(task);
        self.changed.notify_one();
    }

    fn serve(&self) {
        while let Some(task) = self.next() {
            task.progress.state.store(RUNNING, Ordering::Release);
            // Work that nobody waits for is dropped there, with whatever it holds.
            drop(catch_unwind(AssertUnwindSafe(task.work)));
            let before = task.progress.state.swap(DONE, Ordering::AcqRel);
            task.progress.ended.notify_one();
            if before == GIVEN_UP {
                let mut state = self.state.lock();
                state.stuck -= 1;
                if state.threads >= state.size {
                    // Another thread has its place.
                    return;
                }
                state.threads += 1;
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                return Some(task);
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// What is told of work that did not end in time. Where a thread hangs in it, that is given up.
    fn too_late(self: &Arc<Self>, progress: &Progress, stage: &str, after: Duration) -> Error {
        let after = after.as_secs_f32();
        if progress.state.load(Ordering::Acquire) == WAITING {
            let message = format!("no thread was free for {stage} within {after:.1} s; send later");
            return Error::new(ErrorCode::Overloaded, message);
        }
        self.give_up(progress);
        let message = format!("Worker died. The handler's {stage} did not end within {after:.1} s");
        Error::new(ErrorCode::WorkerDied, message)
    }

    /// Puts another thread in the place of the one that hangs, if one does.
    fn give_up(self: &Arc<Self>, progress: &Progress) {
        let mut state = self.state.lock();
        let hangs = state.stuck < MOST_STUCK
            && progress
                .state
                .compare_exchange(RUNNING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        if hangs {
            state.stuck += 1;
            state.threads -= 1;
            if let Err(error) = self.add_thread(&mut state) {
                // The next one that comes back takes the place.
                log::error!("{error}");
            }
        }
    }
}

/// Runs a stage; a panic is a failure of it.
pub(crate) fn caught<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(panicked(stage, panic.as_ref())))
}

/// What is told of a panic: the stage and the first line of the panic's own words.
pub(crate) fn panicked(stage: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .and_then(|words| words.lines().next())
        .unwrap_or("no message");
    Error::new(ErrorCode::PredictionFailed, format!("the handler panicked in {stage}: {words}"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_lives_on() {
        let pool = CpuPool::new(1).unwrap();
        let error =
            pool.run::<()>("preprocess", later(), || panic!("bad pixel")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert_eq!(error.message(), "the handler panicked in preprocess: bad pixel");
        assert_eq!(pool.run("preprocess", later(), || Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn brief_work_runs_where_it_is_asked_for() {
        let pool = CpuPool::new(1).unwrap();
        let thread = async |is_brief| {
            let work = || Ok(thread::current().id());
            pool.run_or_hand_over(is_brief, "preprocess", later(), work).await.unwrap()
        };
        assert_eq!(thread(true).await, thread::current().id());
        assert_ne!(thread(false).await, thread::current().id());
        let panics = || -> Result<()> { panic!("bad number") };
        let panicked = pool.run_or_hand_over(true, "preprocess", later(), panics).await;
        assert_eq!(
            panicked.unwrap_err().message(),
            "the handler panicked in preprocess: bad number"
        );
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_is_not_begun() {
        let pool = CpuPool::new(1).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let blocker = pool.run("preprocess", later(), move || {
            held.recv().expect_err("the test lets go by dropping its end");
            Ok(())
        });
        let (begun, was_begun) = mpsc::channel::<()>();
        let abandoned = pool.run("preprocess", later(), move || {
            begun.send(()).unwrap();
            Ok(())
        });
        let mut blocker = Box::pin(blocker);
        let mut abandoned = Box::pin(abandoned);
        // One poll each puts the work on the pool's only thread, the second behind the first.
        assert!(futures_poll(blocker.as_mut()).is_pending());
        assert!(futures_poll(abandoned.as_mut()).is_pending());
        drop(abandoned);
        drop(hold);
        blocker.await.unwrap();
        pool.run("preprocess", later(), || Ok(())).await.unwrap();
        assert!(was_begun.recv().is_err(), "the abandoned work ran");
    }

    /// Work that has begun and hangs until the sender is dropped; its time is over after `limit`.
    fn hung(
        pool: &CpuPool,
        limit: Duration,
    ) -> (mpsc::Sender<()>, std::pin::Pin<Box<impl Future<Output = Result<()>>>>) {
        let (hold, held) = mpsc::channel::<()>();
        let (begun, was_begun) = mpsc::channel::<()>();
        let mut work = Box::pin(pool.run("preprocess", Instant::now() + limit, move || {
            begun.send(()).unwrap();
            held.recv().unwrap_err();
            Ok(())
        }));
        // The first poll hands the work over.
        assert!(futures_poll(work.as_mut()).is_pending());
        was_begun.recv().unwrap();
        (hold, work)
    }

    #[tokio::test]
    async fn a_thread_that_does_not_come_back_is_replaced() {
        let pool = CpuPool::new(1).unwrap();
        let (hold, stuck) = hung(&pool, Duration::from_millis(300));
        let error = stuck.await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::WorkerDied);
        assert!(error.message().contains("preprocess did not end"), "{error}");
        assert_eq!(pool.run("preprocess", later(), || Ok(7)).await.unwrap(), 7);
        assert_eq!(pool.0.state.lock().stuck, 1);
        drop(hold);
        while pool.0.state.lock().stuck > 0 {
            thread::yield_now();
        }
        assert_eq!(pool.run("preprocess", later(), || Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_thread_that_does_not_come_back_is_replaced_though_its_client_has_gone() {
        let pool = CpuPool::new(1).unwrap();
        let (_hold, stuck) = hung(&pool, Duration::from_millis(50));
        drop(stuck);
        let soon_enough = Instant::now() + Duration::from_secs(20);
        assert_eq!(pool.run("preprocess", soon_enough, || Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_done_in_time_or_never_begun_is_not_given_up() {
        let pool = CpuPool::new(1).unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        let (hold, held) = mpsc::channel::<()>();
        let mut slow = Box::pin(pool.run("preprocess", soon, move || {
            held.recv().unwrap_err();
            Ok(())
        }));
        let mut behind = Box::pin(pool.run("preprocess", soon, || Ok(())));
        assert!(futures_poll(slow.as_mut()).is_pending());
        assert!(futures_poll(behind.as_mut()).is_pending());
        drop((slow, behind, hold));
        pool.run("preprocess", later(), || Ok(())).await.unwrap();
        tokio::time::sleep_until((soon + Duration::from_millis(50)).into()).await;
        let state = pool.0.state.lock();
        assert_eq!((state.made, state.stuck), (1, 0));
    }

    #[tokio::test]
    async fn nothing_is_left_of_abandoned_work_once_it_ends() {
        let pool = CpuPool::new(1).unwrap();
        let before = Arc::strong_count(&pool.0);
        let (hold, held) = mpsc::channel::<()>();
        let mut slow = Box::pin(pool.run("preprocess", later(), move || {
            held.recv().unwrap_err();
            Ok(())
        }));
        assert!(futures_poll(slow.as_mut()).is_pending());
        drop(slow);
        assert_eq!(Arc::strong_count(&pool.0), before + 1, "somebody watches");
        drop(hold);
        pool.run("preprocess", later(), || Ok(())).await.unwrap();
        let over = later();
        while Arc::strong_count(&pool.0) > before {
            assert!(Instant::now() < over, "and goes on watching");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_at_the_end_of_abandoned_work_costs_no_thread() {
        struct Lead;
        impl Drop for Lead {
            fn drop(&mut self) {
                panic!("a handler of lead");
            }
        }
        let pool = CpuPool::new(1).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let mut blocker = Box::pin(pool.run("preprocess", later(), move || {
            held.recv().unwrap_err();
            Ok(())
        }));
        let lead = Lead;
        let mut abandoned = Box::pin(pool.run("preprocess", later(), move || {
            let _lead = lead;
            Ok(())
        }));
        assert!(futures_poll(blocker.as_mut()).is_pending());
        assert!(futures_poll(abandoned.as_mut()).is_pending());
        drop((abandoned, hold));
        let soon_enough = Instant::now() + Duration::from_secs(20);
        assert_eq!(pool.run("preprocess", soon_enough, || Ok(7)).await.unwrap(), 7);
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}
