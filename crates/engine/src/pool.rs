//! The threads that decode requests and encode responses.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mar_handler::{Error, ErrorCode, Result};
use tokio::sync::oneshot;

/// A fixed set of threads for work that would block an async thread.
#[derive(Debug)]
pub(crate) struct CpuPool(rayon::ThreadPool);

impl CpuPool {
    pub(crate) fn new(threads: usize) -> Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("cpu-{index}"))
            .build()
            .map(Self)
            .map_err(|error| {
                Error::new(ErrorCode::Internal, "the CPU pool's threads did not start")
                    .caused_by(error)
            })
    }

    /// Runs `work` on the pool. It is not begun where the caller has gone by then; a panic in it is
    /// an error that names the `stage`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        stage: &'static str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, receiver) = oneshot::channel();
        self.0.spawn(move || {
            if reply.is_closed() {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|panic| Err(panicked(stage, panic.as_ref())));
            drop(reply.send(result));
        });
        receiver.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorCode::Internal, format!("{stage} ended without an answer")))
        })
    }
}

/// What is told of a panic: the stage and the panic's own words.
pub(crate) fn panicked(stage: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let words = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorCode::PredictionFailed, format!("the handler panicked in {stage}: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_pool_lives_on() {
        let pool = CpuPool::new(1).unwrap();
        let error = pool.run::<()>("preprocess", || panic!("bad pixel")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert_eq!(error.message(), "the handler panicked in preprocess: bad pixel");
        assert_eq!(pool.run("preprocess", || Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_whose_caller_has_gone_is_not_begun() {
        let pool = CpuPool::new(1).unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let blocker = pool.run("preprocess", move || {
            held.recv().expect_err("the test lets go by dropping its end");
            Ok(())
        });
        let (begun, was_begun) = std::sync::mpsc::channel::<()>();
        let abandoned = pool.run("preprocess", move || {
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
        pool.run("preprocess", || Ok(())).await.unwrap();
        assert!(was_begun.recv().is_err(), "the abandoned work ran");
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}
