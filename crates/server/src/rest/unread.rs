//! An answer to a request whose body nobody reads.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use bytes::Bytes;

/// The answer's body, and with it the request's, which nobody reads.
struct Holding {
    answer: BoxBody,
    _request: Payload,
}

/// Holds a request's body until its answer is sent, so that the connection is closed then. Of a body that
/// nobody holds any more, actix would read on for as long as the client sends.
pub(super) fn answer(response: HttpResponse, request: Payload) -> HttpResponse {
    response.map_body(|_, answer| BoxBody::new(Holding { answer, _request: request }))
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}
