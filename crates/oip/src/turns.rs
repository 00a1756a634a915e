//! Whose turn it is to load or unload a model: one after the other, so that the last one asked is what holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Those who load or unload, by the model's name; only while there are any.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<String, Weak<Line>>>);

/// Those who wait for one model.
#[derive(Debug, Default)]
struct Line {
    head: Arc<tokio::sync::Mutex<()>>,
    loads: AtomicBool,
}

/// Nobody else loads or unloads the model while this is kept.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Arc<Line>,
    _head: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits until everybody who came before is done with the model.
    pub(crate) async fn wait(&self, name: &str, loads: bool) -> Turn {
        let line = {
            let mut lines = self.0.lock();
            lines.retain(|_, line| line.strong_count() > 0);
            let known = lines.get(name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let line = Arc::<Line>::default();
                lines.insert(name.to_owned(), Arc::downgrade(&line));
                line
            })
        };
        let head = Arc::clone(&line.head).lock_owned().await;
        line.loads.store(loads, Ordering::Release);
        Turn { line, _head: head }
    }

    /// Whether the model is being loaded.
    pub(crate) fn loads(&self, name: &str) -> bool {
        let line = self.0.lock().get(name).and_then(Weak::upgrade);
        line.is_some_and(|line| line.loads.load(Ordering::Acquire))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.loads.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_after_the_other_and_nothing_is_kept() {
        let turns = Turns::default();
        let first = turns.wait("m", true).await;
        assert!(turns.loads("m") && !turns.loads("other"));
        turns.wait("other", false).await;
        let mut second = Box::pin(turns.wait("m", false));
        assert!(at_once(&mut second).await.is_none(), "the first is not done");
        drop(first);
        let second = second.await;
        assert!(!turns.loads("m"));
        drop(second);
        turns.wait("x", false).await;
        assert_eq!(turns.0.lock().len(), 1, "who is done is forgotten");
    }

    /// What a future comes to, where it does at once.
    async fn at_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
