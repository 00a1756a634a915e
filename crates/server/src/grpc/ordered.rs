//! Requests of one stream, several under way, answered in their order.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{Either, ready};
use futures_util::stream::{BoxStream, StreamExt};
use mar_engine::Admission;
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};

use super::front::mended;

/// Requests of one stream that are under way at most. What comes after them stays with the client.
const UNDER_WAY: usize = 64;

/// What a request of a stream came to, and its admission, which is given back once the answer is handed on: the
/// server does not end before.
pub(super) type Answered<A> = (Result<A, Status>, Option<Admission>);

/// The answers to a stream's requests. Each is worked on by a task of its own, so that it is done with however
/// slowly the client reads; with the stream they are all dropped. The first failure ends it.
pub(super) fn answers<T, A, F>(
    requests: Streaming<T>,
    answer: impl Fn(T) -> F + Send + 'static,
) -> BoxStream<'static, Result<A, Status>>
where
    T: Send + 'static,
    A: Send + 'static,
    F: Future<Output = Answered<A>> + Send + 'static,
{
    let begun = requests.map(move |request| match request {
        Ok(request) => Either::Left(Task(tokio::spawn(answer(request)))),
        Err(status) => Either::Right(ready((Err(mended(status)), None))),
    });
    begun.buffered(UNDER_WAY).map(|(answer, _)| answer).boxed()
}

/// A task that ends with its value.
#[derive(Debug)]
struct Task<A>(JoinHandle<Answered<A>>);

impl<A> Future for Task<A> {
    type Output = Answered<A>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| {
                log::error!("a request of a stream was cut off: {error}");
                let status = "the request was cut off; the server's log says why";
                (Err(Status::internal(status)), None)
            })
        })
    }
}

impl<A> Drop for Task<A> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
