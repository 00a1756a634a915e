//! How many requests are on their way, so that a shutdown can wait for the last of them.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts requests and says when none is left.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

/// One request; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<watch::Sender<usize>>);

impl InFlight {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn enter(&self) -> Ticket {
        self.0.send_modify(|count| *count += 1);
        Ticket(Arc::clone(&self.0))
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Returns once no request is on its way.
    pub(crate) async fn empty(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        drop(self.0.subscribe().wait_for(|count| *count == 0).await);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn empty_waits_for_the_last_ticket() {
        let in_flight = InFlight::new();
        in_flight.empty().await;
        let (one, two) = (in_flight.enter(), in_flight.enter());
        assert_eq!(in_flight.count(), 2);
        let mut empty = Box::pin(in_flight.empty());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(empty.as_mut().poll(&mut context).is_pending());
        drop((one, two));
        empty.await;
    }
}
