//! Bodies that nobody reads to their end: of a request that was refused early, or to a path that needs none.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::middleware::Next;
use bytes::Bytes;
use futures_util::Stream;

/// Holds a request's body until its answer is sent, so that the connection is closed then where part of the
/// body is still to come. Of a body that nobody holds any more, actix would read on for as long as the client
/// sends.
pub(super) async fn held(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    // HTTP/2 ends such a stream by itself.
    let payload = match request.take_payload() {
        payload @ Payload::H1 { .. } => payload,
        other => {
            request.set_payload(other);
            return Ok(next.call(request).await?.map_into_boxed_body());
        }
    };
    let payload = Rc::new(RefCell::new(payload));
    request.set_payload(Payload::Stream { payload: Box::pin(Lent(Rc::clone(&payload))) });
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(response.map_body(|_, answer| BoxBody::new(Holding { answer, _request: payload })))
}

/// The request's body, for whoever answers it.
struct Lent(Rc<RefCell<Payload>>);

impl Stream for Lent {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// The answer's body, and with it the request's.
struct Holding {
    answer: BoxBody,
    _request: Rc<RefCell<Payload>>,
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
