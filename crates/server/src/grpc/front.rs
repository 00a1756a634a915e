//! What every call goes through: its path and its key, its end, its place in the counts and the log.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

use super::arrival::Arrival;
use super::call::{Call, own_path};
use super::error;
use crate::access::Keyring;
use crate::logging;
use crate::metrics::Metrics;
use crate::settings::GrpcService;

/// How a client says for how long it waits.
const TIMEOUT: &str = "grpc-timeout";

/// How a message is compressed, and how a client says what it takes.
const ENCODING: &str = "grpc-encoding";
const ACCEPTED: &str = "grpc-accept-encoding";

/// How much earlier than the library below, which would answer `CANCELLED`, a deadline is found to have passed.
const AHEAD: Duration = Duration::from_millis(2);

/// Bytes of a status's message at most, but for dots where it was longer.
const LONGEST: usize = 2000;

/// What the calls of one address have in common.
#[derive(Clone, Debug)]
pub(super) struct Front {
    pub(super) keyring: Arc<Keyring>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) services: Arc<[GrpcService]>,
    /// How long a connection and its calls may live.
    pub(super) longest: Option<Duration>,
    /// Turns true once every call has to end.
    pub(super) closing: watch::Receiver<bool>,
}

/// Services behind a [`Front`].
#[derive(Clone, Debug)]
pub(super) struct Fronted<S> {
    front: Front,
    inner: S,
}

impl<S> Layer<S> for Front {
    type Service = Fronted<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Fronted { front: self.clone(), inner }
    }
}

impl<S> Service<Request<Body>> for Fronted<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(path) = own_path(request.uri().path())
            && let Ok(uri) = Uri::try_from(path)
        {
            *request.uri_mut() = uri;
        }
        let id = Uuid::new_v4().to_string();
        let arrival = Arrival::of(request.extensions());
        let asked = (request.uri().path(), request.headers());
        let admitted = Call::admitted(&id, asked, &self.front.services, &self.front.keyring);
        let record = Record {
            start: Instant::now(),
            path: request.uri().path().to_owned(),
            id,
            peer: arrival.peer,
            call: admitted.as_ref().ok().cloned(),
            metrics: Arc::clone(&self.front.metrics),
            code: None,
        };
        let call = match admitted {
            Ok(call) => call,
            Err(status) => return Box::pin(async move { Ok(refused(status, record)) }),
        };
        let deadline = timeout(request.headers()).map(|time| record.start + time);
        let last = self.front.longest.map(|longest| arrival.at + longest);
        let mut end = Box::pin(end(deadline, last, self.front.closing.clone()));
        request.extensions_mut().insert(call);
        compressed_alike(request.headers_mut());
        let work = self.inner.call(request);
        Box::pin(async move {
            let response = tokio::select! {
                biased;
                response = work => response?,
                status = &mut end => return Ok(refused(status, record)),
            };
            let (mut parts, inner) = response.into_parts();
            if let Some(status) = Status::from_header_map(&parts.headers) {
                let status = mended(status);
                parts.headers.clear();
                return Ok(refused(status, record));
            }
            Ok(Response::from_parts(parts, Answer { inner, end: Some(end), record }))
        })
    }
}

/// Comes once a call has to end, whatever it still does, with the status to end it with.
async fn end(
    deadline: Option<Instant>,
    last: Option<Instant>,
    mut closing: watch::Receiver<bool>,
) -> Status {
    let at = |instant: Option<Instant>| async move {
        match instant {
            Some(instant) => tokio::time::sleep_until(instant.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = at(deadline) => Status::deadline_exceeded("the client's deadline passed before the answer"),
        () = at(last) => Status::unavailable(
            "the connection is older than its age and grace allow (max_connection_age); ask over a new one",
        ),
        _ = closing.wait_for(|closing| *closing) => Status::unavailable("the server is shutting down"),
    }
}

/// A status as it is sent: a message that is too large to be taken is `RESOURCE_EXHAUSTED`, as elsewhere in
/// gRPC, and no message is longer than clients take a header, where every byte may become three.
pub(super) fn mended(status: Status) -> Status {
    let message = status.message();
    if message.len() > LONGEST + "...".len() {
        let end = (0..=LONGEST).rfind(|end| message.is_char_boundary(*end)).unwrap_or(0);
        return mended(Status::new(status.code(), format!("{}...", &message[..end])));
    }
    if status.code() == Code::OutOfRange && status.message().contains("message length too large") {
        let size = status.message().split_once("too large: ").map_or("", |(_, size)| size);
        let message = format!("the message is larger than max_request_size: {size}");
        return Status::resource_exhausted(message);
    }
    status
}

/// Lets an answer be compressed as its request is, and not where that is not: clients say that they take what
/// is compressed whether they want it or not.
fn compressed_alike(headers: &mut HeaderMap) {
    headers.remove(ACCEPTED);
    if let Some(encoding) = headers.get(ENCODING).cloned() {
        headers.insert(ACCEPTED, encoding);
    }
}

/// What a client says of how long it waits; nothing where that is malformed, as elsewhere in gRPC.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(time.saturating_sub(AHEAD))
}

/// An answer without messages.
fn refused(status: Status, mut record: Record) -> Response<Answer> {
    record.code = Some(status.code());
    let (parts, inner) = status.into_http::<Body>().into_parts();
    Response::from_parts(parts, Answer { inner, end: None, record })
}

/// An answer's messages, until they or their time ends.
#[derive(Debug)]
pub(super) struct Answer {
    inner: Body,
    end: Option<Pin<Box<dyn End>>>,
    record: Record,
}

/// What [`end`] gives.
trait End: Future<Output = Status> + Send {}

impl<F: Future<Output = Status> + Send> End for F {}

impl std::fmt::Debug for dyn End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("End")
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut()
                    && let Some(status) = Status::from_header_map(trailers)
                {
                    let status = mended(status);
                    self.record.code = Some(status.code());
                    self.end = None;
                    status.add_header(trailers)?;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let Some(end) = &mut self.end else { return Poll::Pending };
                let Poll::Ready(status) = end.as_mut().poll(cx) else { return Poll::Pending };
                self.end = None;
                // Whatever it still did is dropped with it.
                self.inner = Body::empty();
                self.record.code = Some(status.code());
                let mut trailers = HeaderMap::new();
                status.add_header(&mut trailers)?;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            ended @ Poll::Ready(_) => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.end.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A call, for the count and the log once it is over.
#[derive(Debug)]
struct Record {
    start: Instant,
    path: String,
    id: String,
    peer: Arc<str>,
    call: Option<Call>,
    metrics: Arc<Metrics>,
    /// How it ended; `None` where its client went away before.
    code: Option<Code>,
}

impl Drop for Record {
    fn drop(&mut self) {
        let status = error::http(self.code.unwrap_or(Code::Cancelled));
        self.metrics.replied(status);
        let model = self.call.as_ref().and_then(Call::model);
        logging::Access {
            method: "gRPC",
            path: &self.path.replace('"', "%22"),
            protocol: "HTTP/2.0",
            status,
            duration: self.start.elapsed(),
            request_id: &self.id,
            peer: &self.peer,
            model: model.as_deref(),
        }
        .log();
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    #[test]
    fn a_clients_deadline_is_read_in_every_unit_and_nothing_else() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, http::HeaderValue::from_static(text));
            timeout(&headers)
        };
        let ahead = |time: Duration| Some(time.saturating_sub(AHEAD));
        assert_eq!(read("1H"), ahead(Duration::from_hours(1)));
        assert_eq!(read("2M"), ahead(Duration::from_mins(2)));
        assert_eq!(read("3S"), ahead(Duration::from_secs(3)));
        assert_eq!(read("40m"), Some(Duration::from_millis(38)));
        assert_eq!(read("5000u"), Some(Duration::from_millis(3)));
        assert_eq!(read("99999999n"), ahead(Duration::from_nanos(99_999_999)));
        assert_eq!(read("0m"), Some(Duration::ZERO));
        for malformed in ["", "1", "S", "1s", "-1S", "+1S", "1.5S", "999999999S"] {
            assert!(read(malformed).is_none_or(|time| time.is_zero()), "{malformed}");
        }
    }

    #[test]
    fn what_is_too_large_is_exhausted_and_other_ranges_stay() {
        let library =
            "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let mended_one = mended(Status::out_of_range(library));
        assert_eq!(mended_one.code(), Code::ResourceExhausted);
        assert!(mended_one.message().contains("max_request_size: found 9 bytes"));
        assert_eq!(mended(Status::out_of_range("of a handler")).code(), Code::OutOfRange);
    }

    /// A service whose answer, or whose answer's first message, does not come.
    #[derive(Clone)]
    struct Slow {
        answers: bool,
    }

    impl Service<Request<Body>> for Slow {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            if !self.answers {
                return Box::pin(std::future::pending());
            }
            Box::pin(async { Ok(Response::new(Body::new(Silent))) })
        }
    }

    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    /// The status that a call of [`Slow`] ends with.
    async fn ended(
        slow: Slow,
        timeout: &'static str,
        longest: Option<Duration>,
        closing: &watch::Sender<bool>,
    ) -> Status {
        let folder = tempfile::tempdir().unwrap();
        let access = crate::settings::Access::default();
        let keyring = Keyring::new(&access, folder.path(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        let front = Front {
            keyring: Arc::new(keyring),
            metrics: Metrics::new(&crate::settings::Measuring::default()).unwrap(),
            services: [GrpcService::OpenInference].into(),
            longest,
            closing: closing.subscribe(),
        };
        let request = Request::builder().uri("/inference.GRPCInferenceService/ModelInfer");
        let request = request.header(TIMEOUT, timeout).body(Body::empty()).unwrap();
        let mut answer = front.layer(slow).call(request).await.unwrap();
        let status = Status::from_header_map(answer.headers());
        if let Some(status) = status {
            return status;
        }
        let frame = std::future::poll_fn(|cx| Pin::new(answer.body_mut()).poll_frame(cx)).await;
        Status::from_header_map(frame.unwrap().unwrap().trailers_ref().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_deadline_ends_a_call_before_and_within_its_answer() {
        let (closing, _kept) = watch::channel(false);
        for answers in [false, true] {
            let status = ended(Slow { answers }, "10m", None, &closing).await;
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_connections_life_ends_its_calls() {
        let (closing, _kept) = watch::channel(false);
        for answers in [false, true] {
            let status = ended(Slow { answers }, "1H", Some(Duration::ZERO), &closing).await;
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert!(status.message().contains("max_connection_age"), "{status:?}");
        }
    }

    #[tokio::test]
    async fn the_servers_end_ends_what_still_goes_on() {
        let (closing, _kept) = watch::channel(true);
        for answers in [false, true] {
            let status = ended(Slow { answers }, "1H", None, &closing).await;
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        }
    }

    #[test]
    fn no_message_is_longer_than_clients_take() {
        let long = mended(Status::not_found("ä".repeat(LONGEST)));
        assert_eq!((long.code(), long.message().len()), (Code::NotFound, LONGEST + 3));
        assert!(long.message().ends_with("ä..."));
    }
}
