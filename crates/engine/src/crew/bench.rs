//! A version whose workers a test leads by the hand: it says how each load and each forward pass ends, and
//! when a thread is overdue.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mar_handler::{
    Context, Epilogue, Handler, LoadSpec, Model, Request, Response, Runtime, Tensor,
};
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::batch::BatchPolicy;
use crate::config::{Defaults, Overrides};
use crate::events::NoEvents;
use crate::infer::Interface;
use crate::job::{Job, Pending, Terms, Work};
use crate::plan::{Layers, Machine, Plan};
use crate::queue::QueueRules;
use crate::samples::{KnownAnswers, VerifySamples};
use crate::version::Identity;
use crate::weights::Weights;

/// Longer than any test should take.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// What a load or a forward pass is told to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    /// What it should.
    Well,
    Fail,
    Panic,
}

/// A load or a forward pass that is under way, until the test says how it ends.
pub(super) struct Call {
    /// The thread that it runs on.
    pub(super) thread: String,
    /// How many requests it was given; none where it is a load.
    pub(super) len: usize,
    end: Sender<Do>,
}

impl Call {
    pub(super) fn end(&self, how: Do) {
        self.end.send(how).unwrap();
    }
}

/// Tells the test of each call, and does as it says. Without the test, all goes well.
#[derive(Clone)]
struct Calls(Sender<Call>);

impl Calls {
    fn enter(&self, len: usize) -> Result<()> {
        let (end, ended) = channel();
        let thread = thread::current().name().unwrap_or_default().to_owned();
        self.0.send(Call { thread, len, end }).ok();
        match ended.recv().unwrap_or(Do::Well) {
            Do::Well => Ok(()),
            Do::Fail => Err(Error::invalid_model("as asked")),
            Do::Panic => panic!("as asked"),
        }
    }
}

struct FakeRuntime {
    loads: Calls,
    passes: Calls,
    shareable: bool,
    fragile: Arc<AtomicBool>,
}

struct FakeModel {
    passes: Calls,
    shareable: bool,
    /// Whether its next use of threads panics.
    fragile: Arc<AtomicBool>,
}

impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &[]
    }

    fn cuda_devices(&self) -> usize {
        0
    }

    fn load(&self, _: &LoadSpec) -> Result<Arc<dyn Model>> {
        self.loads.enter(0)?;
        Ok(Arc::new(FakeModel {
            passes: self.passes.clone(),
            shareable: self.shareable,
            fragile: Arc::clone(&self.fragile),
        }))
    }
}

impl Model for FakeModel {
    fn forward(&self, inputs: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
        self.passes.enter(inputs[0].shape()[0])?;
        Ok(inputs)
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn is_shareable(&self) -> bool {
        self.shareable
    }

    fn use_threads(&self, _: usize) {
        assert!(!self.fragile.swap(false, Ordering::Relaxed), "as asked");
    }
}

struct NoHandler;

impl Handler for NoHandler {
    fn initialize(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn preprocess(&self, _: &Request) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }

    fn postprocess(&self, _: Vec<Tensor>, _: &Request) -> Result<Response> {
        Ok(Response::bytes("", ""))
    }
}

/// A version whose loads and forward passes the test ends one by one.
pub(super) struct Bench {
    pub(super) version: Arc<ModelVersion>,
    pub(super) loads: Receiver<Call>,
    pub(super) passes: Receiver<Call>,
    pub(super) fragile: Arc<AtomicBool>,
}

impl Bench {
    pub(super) fn new(config: &serde_json::Value) -> Self {
        Self::with("m", config, false)
    }

    pub(super) fn with(name: &str, config: &serde_json::Value, shareable: bool) -> Self {
        let policy = BatchPolicy::of(1, Duration::ZERO);
        let rules = QueueRules { capacity: 100, policy, idle_only: false };
        let identity = Identity {
            name: name.into(),
            version: "1".into(),
            url: String::new(),
            archive: "".into(),
            at_startup: false,
            network: None,
            startup_timeout: LONG,
        };
        let workshop = Workshop::open(1, Duration::from_millis(1)).unwrap();
        let version =
            Arc::new(ModelVersion::loading(identity, rules, Arc::new(NoEvents), workshop));
        let (load, loads) = channel();
        let (pass, passes) = channel();
        let fragile = Arc::<AtomicBool>::default();
        let runtime = FakeRuntime {
            loads: Calls(load),
            passes: Calls(pass),
            shareable,
            fragile: Arc::clone(&fragile),
        };
        let none = Overrides::default();
        let layers = Layers {
            overrides: &none,
            archive: config.as_object().unwrap(),
            listed: &none,
            defaults: &Defaults { workers: Some(1), ..Defaults::default() },
            at_startup: false,
        };
        let machine = Machine { cuda_devices: 0, runtime: "fake" };
        version.open(Loaded {
            labels: None,
            handler: Box::new(NoHandler),
            runtime: Arc::new(runtime),
            file: "".into(),
            options: serde_json::Map::new(),
            cache: None,
            unpacked: None,
            interface: Interface::default(),
            network: None,
            plan: Plan::resolve(layers, machine).unwrap(),
            samples: KnownAnswers::open(VerifySamples::Off, Path::new("")).unwrap(),
            weights: Weights::default(),
        });
        Self { version, loads, passes, fragile }
    }

    /// A version with so many workers, ready.
    pub(super) fn serving(config: &serde_json::Value, shareable: bool, workers: usize) -> Self {
        let bench = Self::with("m", config, shareable);
        let scaling = bench.scale(workers);
        for _ in 0..if shareable { 1 } else { workers } {
            bench.load().end(Do::Well);
        }
        scaling.wait().unwrap();
        bench
    }

    pub(super) fn scale(&self, workers: usize) -> Scaling {
        self.version.scale(workers, workers, None).unwrap()
    }

    /// The next load that begins.
    pub(super) fn load(&self) -> Call {
        self.loads.recv_timeout(LONG).expect("nobody loads")
    }

    /// The next forward pass that begins.
    pub(super) fn pass(&self) -> Call {
        self.passes.recv_timeout(LONG).expect("nobody serves")
    }

    pub(super) fn push(&self) -> Pending {
        self.try_push().expect("no place")
    }

    /// A request, if there is a place for it.
    pub(super) fn try_push(&self) -> Option<Pending> {
        let now = Instant::now();
        let inputs = vec![Tensor::from_vec(&[1], vec![0_u8]).unwrap()];
        let work = Work::of_handler(inputs, true);
        let (job, pending) = Job::new(String::new(), work, Terms::plain(now, now + LONG));
        self.version.reserve().unwrap().ok()?.push(job);
        Some(pending)
    }

    pub(super) fn states(&self) -> Vec<WorkerState> {
        self.version.workers().iter().map(|worker| worker.state).collect()
    }

    /// Gives up whoever should be back within the next hours.
    pub(super) fn give_up_all(&self) {
        self.version.give_up_overdue(Instant::now() + Duration::from_hours(9));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.version.close();
        self.version.workshop.close();
    }
}

/// What becomes of a request.
pub(super) fn answer(mut pending: Pending) -> Result<()> {
    let mut answer = None;
    until(|| match pending.reply.try_recv() {
        Err(TryRecvError::Empty) => false,
        other => {
            answer = Some(other);
            true
        }
    });
    answer.unwrap().expect("the request was dropped").map(drop)
}

pub(super) fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "it never happened");
        thread::yield_now();
    }
}

pub(super) fn config(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}
