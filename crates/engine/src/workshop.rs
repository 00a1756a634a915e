//! What the workers of all versions share: the cores, the count of each device, and the watch over those
//! that do not come back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use mar_handler::{Device, Error, ErrorCode, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::version::ModelVersion;

/// TorchServe numbers its workers from here.
const FIRST_WORKER: usize = 9000;

#[derive(Debug)]
pub(crate) struct Workshop {
    cores: usize,
    /// One step of the wait before a worker loads its model again.
    pub(crate) backoff_step: Duration,
    next_worker: AtomicUsize,
    workers: Mutex<HashMap<Device, usize>>,
    /// Workers on the processor, read before each batch.
    cpu_workers: AtomicUsize,
    watch: Mutex<Watch>,
    changed: Condvar,
    /// A device that answers nothing any more.
    lost: watch::Sender<Option<Device>>,
}

#[derive(Debug, Default)]
struct Watch {
    versions: Vec<Weak<ModelVersion>>,
    /// The next instant at which somebody may be overdue.
    next: Option<Instant>,
    closed: bool,
}

/// A worker's place among those of its device, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    workshop: Arc<Workshop>,
    device: Device,
}

impl Workshop {
    /// Starts the watch.
    pub(crate) fn open(cores: usize, backoff_step: Duration) -> Result<Arc<Self>> {
        let workshop = Arc::new(Self {
            cores,
            backoff_step,
            next_worker: AtomicUsize::new(FIRST_WORKER),
            workers: Mutex::default(),
            cpu_workers: AtomicUsize::new(0),
            watch: Mutex::default(),
            changed: Condvar::new(),
            lost: watch::Sender::new(None),
        });
        let watching = Arc::clone(&workshop);
        thread::Builder::new().name("watch".into()).spawn(move || watching.keep_watch()).map_err(
            |error| Error::new(ErrorCode::Internal, "the watch did not start").caused_by(error),
        )?;
        Ok(workshop)
    }

    /// Ends the watch.
    pub(crate) fn close(&self) {
        self.watch.lock().closed = true;
        self.changed.notify_all();
    }

    /// A device answers nothing any more: so does every call of this process to it.
    pub(crate) fn lose(&self, device: Device) {
        let first = self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(device);
            first
        });
        if first {
            log::error!("{device} is lost to this process; the server has to start anew");
        }
    }

    /// The device that was lost, if one was.
    pub(crate) fn lost(&self) -> watch::Receiver<Option<Device>> {
        self.lost.subscribe()
    }

    pub(crate) fn next_worker(&self) -> usize {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// How many workers a device has.
    pub(crate) fn workers_on(&self, device: Device) -> usize {
        self.workers.lock().get(&device).copied().unwrap_or(0)
    }

    /// Threads that one forward pass on the processor may use now, so that all workers together use no
    /// more than there are cores.
    pub(crate) fn threads_each(&self) -> usize {
        (self.cores / self.cpu_workers.load(Ordering::Acquire).max(1)).max(1)
    }

    pub(crate) fn take_place(self: &Arc<Self>, device: Device) -> Place {
        *self.workers.lock().entry(device).or_default() += 1;
        if device == Device::Cpu {
            self.cpu_workers.fetch_add(1, Ordering::AcqRel);
        }
        Place { workshop: Arc::clone(self), device }
    }

    /// Watches over the workers of one more version.
    pub(crate) fn watch_over(&self, version: &Arc<ModelVersion>) {
        let mut watch = self.watch.lock();
        watch.versions.retain(|version| version.strong_count() > 0);
        watch.versions.push(Arc::downgrade(version));
    }

    /// A worker should be back by this instant.
    pub(crate) fn expect_by(&self, deadline: Instant) {
        let mut watch = self.watch.lock();
        if watch.next.is_none_or(|next| deadline < next) {
            watch.next = Some(deadline);
            self.changed.notify_all();
        }
    }

    fn keep_watch(&self) {
        let mut watch = self.watch.lock();
        while !watch.closed {
            match watch.next {
                None => self.changed.wait(&mut watch),
                Some(next) if Instant::now() < next => {
                    self.changed.wait_until(&mut watch, next);
                }
                Some(_) => {
                    watch.next = None;
                    let versions: Vec<_> =
                        watch.versions.iter().filter_map(Weak::upgrade).collect();
                    drop(watch);
                    let now = Instant::now();
                    let next = versions.iter().filter_map(|v| v.give_up_overdue(now)).min();
                    drop(versions);
                    if let Some(next) = next {
                        self.expect_by(next);
                    }
                    watch = self.watch.lock();
                }
            }
        }
    }
}

impl Place {
    pub(crate) fn device(&self) -> Device {
        self.device
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(count) = self.workshop.workers.lock().get_mut(&self.device) {
            *count -= 1;
        }
        if self.device == Device::Cpu {
            self.workshop.cpu_workers.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_on_the_processor_share_its_cores() {
        let workshop = Workshop::open(4, Duration::ZERO).unwrap();
        assert_eq!(workshop.threads_each(), 4);
        let places: Vec<_> = (0..2).map(|_| workshop.take_place(Device::Cpu)).collect();
        let _cuda = workshop.take_place(Device::Cuda(0));
        assert_eq!((workshop.threads_each(), workshop.workers_on(Device::Cpu)), (2, 2));
        let more: Vec<_> = (0..6).map(|_| workshop.take_place(Device::Cpu)).collect();
        assert_eq!(workshop.threads_each(), 1, "never none");
        drop((places, more));
        assert_eq!((workshop.threads_each(), workshop.workers_on(Device::Cpu)), (4, 0));
        workshop.close();
    }
}
