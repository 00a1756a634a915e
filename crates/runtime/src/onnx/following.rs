//! A session whose threads follow the worker's share of the cores.
//!
//! ONNX Runtime fixes a session's threads when it is made. So another session is made, on a thread of its own,
//! while the one that is there serves on; whoever runs a batch on that one keeps it until the batch is done.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use mar_handler::{LoadSpec, Result};
use parking_lot::{Mutex, RwLock};

use super::files::Files;
use super::library::Library;
use super::opening::{Opened, open};
use crate::cache::{Stamps, name};
use crate::memory;

/// The session that serves, and the one that may be on its way.
#[derive(Debug)]
pub(super) struct Following {
    shared: Arc<Shared>,
    /// Makes sessions; whoever drops the model waits for it, so that it does not outlast the library.
    maker: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    library: Library,
    spec: LoadSpec,
    /// Where it lies, and what the files were when they were opened.
    files: Files,
    stamps: Stamps,
    current: RwLock<Arc<Opened>>,
    /// How many sessions have come after the first.
    changes: AtomicU64,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    /// Threads that the session is to have.
    wanted: usize,
    at_work: bool,
    ended: bool,
}

impl Following {
    /// Opens a file.
    pub(super) fn open(library: &Library, spec: &LoadSpec, files: Files) -> Result<Self> {
        let stamps = files.stamps();
        let opened = open(library, spec, &files)?;
        if let Some(idle) = opened.options.idle_threads() {
            log::warn!("{}: {idle}", name(&spec.file));
        }
        let plan = Plan { wanted: spec.intra_op_threads.max(1), at_work: false, ended: false };
        let shared = Shared {
            library: library.clone(),
            spec: spec.clone(),
            files,
            stamps,
            current: RwLock::new(Arc::new(opened)),
            changes: AtomicU64::new(0),
            plan: Mutex::new(plan),
        };
        Ok(Self { shared: Arc::new(shared), maker: Mutex::new(None) })
    }

    /// The session that serves.
    pub(super) fn current(&self) -> Arc<Opened> {
        Arc::clone(&self.shared.current.read())
    }

    /// How often another session has taken the place of the one before.
    pub(super) fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Acquire)
    }

    /// Wants a session of so many threads, and does not wait for it. Workers that share the session all say so;
    /// the first is heard.
    pub(super) fn use_threads(&self, threads: usize) {
        let threads = threads.max(1);
        let mut plan = self.shared.plan.lock();
        if plan.wanted == threads || !self.current().follows_threads() {
            return;
        }
        plan.wanted = threads;
        if plan.at_work {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match thread::Builder::new().name("onnx-threads".into()).spawn(move || shared.follow()) {
            Ok(maker) => {
                plan.at_work = true;
                *self.maker.lock() = Some(maker);
            }
            Err(error) => self.shared.stays(&error.to_string()),
        }
    }

    /// Waits until no session is on its way.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        let maker = self.maker.lock().take();
        maker.map(JoinHandle::join).transpose().unwrap();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shared.plan.lock().ended = true;
        if let Some(maker) = self.maker.lock().take() {
            // Its panic was told when it came.
            maker.join().ok();
        }
    }
}

impl Shared {
    /// Makes sessions until one has as many threads as are wanted now.
    fn follow(&self) {
        loop {
            let wanted = self.plan.lock().wanted;
            match self.open(wanted) {
                Ok(opened) => {
                    let before = mem::replace(&mut *self.current.write(), Arc::new(opened));
                    self.changes.fetch_add(1, Ordering::Release);
                    // What has to be given back takes its time, and nobody has to wait for it.
                    drop(before);
                    memory::give_back();
                }
                Err(reason) => self.stays(&reason),
            }
            let mut plan = self.plan.lock();
            if plan.wanted == wanted || plan.ended {
                plan.at_work = false;
                return;
            }
        }
    }

    fn open(&self, threads: usize) -> Result<Opened, String> {
        let spec = LoadSpec { intra_op_threads: threads, ..self.spec.clone() };
        let unchanged = || {
            let changed = "its files have changed since they were opened";
            (self.stamps == self.files.stamps()).then_some(()).ok_or(changed)
        };
        unchanged()?;
        let opened =
            open(&self.library, &spec, &self.files).map_err(|error| error.message().to_owned())?;
        // They may have been exchanged meanwhile.
        unchanged()?;
        Ok(opened)
    }

    fn stays(&self, reason: &str) {
        let file = name(&self.spec.file);
        let threads = self.current.read().options.threads.count();
        log::warn!("{file}: its session keeps its {threads} threads: {reason}");
    }
}
