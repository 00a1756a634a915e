//! A runtime and a handler that need no tensor library and do what a test asks for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mar_handler::{
    Context, Device, Epilogue, Error, ErrorCode, Handler, LoadSpec, Model, Registration, Request,
    Response, Result, Runtime, Tensor,
};
use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value, json};

use super::picture;

/// Opens `.fake` files. What the file says is what the model does: `echo`, or one of
///
/// - `gated`: each forward pass tells the test that it is entered, and waits to be let through;
/// - `shared`: as `echo`, and its workers may share it;
/// - `times N`: gives N times its input, which is of `F32`;
/// - `sums`: gives one number for all its inputs, whose elements are of `F32`;
/// - `uneven`: as `times 2`, and on the second CUDA device `times 3`;
/// - `panics`: each forward pass panics;
/// - `ballast N`: as `shared`, with N megabytes of weights;
/// - `broken`, `panics on load`, `hangs on load`, `runs out of memory on load`: it does not load.
///
/// It takes any option but `unheard_of`, and its models tell which they were given.
pub(crate) struct FakeRuntime {
    cuda_devices: usize,
    seen: Seen,
    entered: Sender<()>,
    release: Arc<Gate>,
}

/// What a runtime and its models have been asked.
#[derive(Clone, Default)]
struct Seen {
    loads: Arc<Mutex<Vec<LoadSpec>>>,
    batches: Arc<Mutex<Vec<usize>>>,
    threads: Arc<Mutex<Vec<usize>>>,
}

/// The test's end of a runtime: hears when a `gated` model is entered, and lets it go on.
pub(crate) struct Control {
    pub(crate) entered: Receiver<()>,
    release: Arc<Gate>,
    seen: Seen,
}

impl Control {
    /// Lets one forward pass of a `gated` model end, or one load of a model that hangs.
    pub(crate) fn release_one(&self) {
        self.release.let_through(1);
    }

    /// Lets everybody through from now on.
    pub(crate) fn release_all(&self) {
        self.release.let_through(1_000_000);
    }

    /// How often a model was loaded.
    pub(crate) fn loads(&self) -> usize {
        self.seen.loads.lock().len()
    }

    /// Where models were loaded, in order.
    pub(crate) fn devices(&self) -> Vec<Device> {
        self.seen.loads.lock().iter().map(|spec| spec.device).collect()
    }

    /// The file that was loaded last.
    pub(crate) fn loaded_file(&self) -> PathBuf {
        self.seen.loads.lock().last().unwrap().file.clone()
    }

    /// What was asked of the runtime at the last load.
    pub(crate) fn options(&self) -> Map<String, Value> {
        self.seen.loads.lock().last().unwrap().options.clone()
    }

    /// Where the runtime might keep what it made at the last load.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        self.seen.loads.lock().last().unwrap().cache.clone()
    }

    /// How many requests, or rows of tensors, each forward pass was given, in order; none is told twice.
    pub(crate) fn take_batches(&self) -> Vec<usize> {
        std::mem::take(&mut *self.seen.batches.lock())
    }

    /// How many threads workers were told to use, in order.
    pub(crate) fn threads(&self) -> Vec<usize> {
        self.seen.threads.lock().clone()
    }
}

pub(crate) fn runtime() -> (Arc<dyn Runtime>, Control) {
    runtime_with(0)
}

/// A runtime on a machine with so many CUDA devices.
pub(crate) fn runtime_with(cuda_devices: usize) -> (Arc<dyn Runtime>, Control) {
    let (entered, hears) = mpsc::channel();
    let release = Arc::new(Gate::default());
    let seen = Seen::default();
    let runtime =
        FakeRuntime { cuda_devices, seen: seen.clone(), entered, release: Arc::clone(&release) };
    (Arc::new(runtime), Control { entered: hears, release, seen })
}

impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["fake"]
    }

    fn section(&self) -> Option<&'static str> {
        Some("fake")
    }

    fn check_options(&self, spec: &LoadSpec) -> Result<()> {
        match spec.options.get("unheard_of") {
            Some(_) => Err(Error::invalid_model("option \"unheard_of\" is not known to fake")),
            None => Ok(()),
        }
    }

    fn keeps_files(&self) -> bool {
        true
    }

    fn cuda_devices(&self) -> usize {
        self.cuda_devices
    }

    fn load(&self, spec: &LoadSpec) -> Result<Arc<dyn Model>> {
        self.seen.loads.lock().push(spec.clone());
        let behaviour = std::fs::read_to_string(&spec.file)
            .map_err(|error| Error::invalid_model(error.to_string()))?;
        let megabytes = match behaviour.as_str() {
            "broken" => return Err(Error::invalid_model("the weights are broken")),
            "runs out of memory on load" => {
                return Err(Error::new(ErrorCode::OutOfMemory, "no room for the weights"));
            }
            "panics on load" => panic!("no such layer"),
            "hangs on load" => {
                self.entered.send(()).ok();
                self.release.wait();
                0
            }
            other => other.strip_prefix("ballast ").map_or(0, |n| n.parse().unwrap()),
        };
        Ok(Arc::new(FakeModel {
            behaviour,
            device: spec.device,
            options: spec.options.clone(),
            seen: self.seen.clone(),
            entered: self.entered.clone(),
            release: Arc::clone(&self.release),
            weights: vec![1; megabytes << 20],
        }))
    }
}

struct FakeModel {
    behaviour: String,
    device: Device,
    options: Map<String, Value>,
    seen: Seen,
    entered: Sender<()>,
    release: Arc<Gate>,
    weights: Vec<u8>,
}

impl Model for FakeModel {
    fn forward(&self, inputs: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
        let rows = inputs[0].shape().first().copied().unwrap_or(1);
        self.seen.batches.lock().push(rows);
        assert_ne!(self.behaviour, "panics", "a tensor of lead");
        let behaviour = match (self.behaviour.as_str(), self.device) {
            ("uneven", Device::Cuda(1)) => "times 3",
            ("uneven", _) => "times 2",
            (other, _) => other,
        };
        if let Some(factor) = behaviour.strip_prefix("times ") {
            let factor: f32 = factor.parse().unwrap();
            let values = inputs[0].as_slice::<f32>()?.iter().map(|value| factor * value).collect();
            return Ok(vec![Tensor::from_vec(inputs[0].shape(), values)?]);
        }
        if behaviour == "sums" {
            let sum = inputs[0].as_slice::<f32>()?.iter().sum::<f32>();
            return Ok(vec![Tensor::from_vec(&[1], vec![sum])?]);
        }
        let item = inputs[0].bytes().len() / rows.max(1);
        let asks = |word: &str| {
            inputs[0].bytes().chunks(item.max(1)).any(|item| item.starts_with(word.as_bytes()))
        };
        if self.behaviour == "gated" || asks("hang in forward") {
            self.entered.send(()).ok();
            self.release.wait();
        }
        assert!(!asks("panic in forward"), "a tensor of lead");
        if asks("run out of memory in forward") {
            return Err(Error::new(ErrorCode::OutOfMemory, "the device has no memory for it"));
        }
        if asks("fail in forward") {
            return Err(Error::new(ErrorCode::PredictionFailed, "the model failed: as asked"));
        }
        if asks("lose the device") {
            return Err(Error::new(ErrorCode::DeviceLost, "the model failed: CUDA error"));
        }
        if asks("run out of memory") {
            return Err(Error::new(ErrorCode::OutOfMemory, "the model failed: out of memory"));
        }
        Ok(inputs)
    }

    fn device(&self) -> Device {
        self.device
    }

    fn is_shareable(&self) -> bool {
        self.behaviour == "shared" || !self.weights.is_empty()
    }

    fn use_threads(&self, threads: usize) {
        self.seen.threads.lock().push(threads);
    }

    fn describe(&self) -> Map<String, Value> {
        self.options.clone()
    }
}

/// What is answered without a long way.
const BRIEF: &str = "name the thread at once";

/// Sends the payload's bytes through the model and back, unless they ask for something else. The header
/// `x-describe` asks for a description of the request, whatever its body is.
struct Echo {
    prefix: String,
    labels: Vec<String>,
}

impl Echo {
    /// Never returns, and does not keep the processor busy.
    fn hang() -> ! {
        loop {
            std::thread::park();
        }
    }
}

impl Handler for Echo {
    fn initialize(context: &Context) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            #[serde(default)]
            prefix: String,
            #[serde(default)]
            labels: Vec<String>,
        }
        let Settings { prefix, labels } = context.settings()?;
        assert_ne!(prefix, "panic in initialize", "a label of lead");
        Ok(Self { prefix, labels })
    }

    fn describe(&self) -> Map<String, Value> {
        let mut told = Map::from_iter([("prefix".to_owned(), self.prefix.as_str().into())]);
        if !self.labels.is_empty() {
            told.insert("labels".to_owned(), json!(self.labels));
        }
        told
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        if request.header("x-describe").is_some() {
            let asks = b"describe the request";
            return Ok(vec![Tensor::from_vec(&[asks.len()], asks.to_vec())?]);
        }
        let data = &request.payload()?.data;
        if data.starts_with(b"refuse") {
            return Err(Error::invalid_input("the body asks to be refused"));
        }
        assert!(!data.starts_with(b"panic in preprocess"), "a pixel of lead");
        if data.starts_with(b"hang in preprocess") {
            Self::hang();
        }
        Ok(vec![Tensor::from_vec(&[data.len()], data.to_vec())?])
    }

    fn postprocess_is_brief(&self, bytes: usize) -> bool {
        bytes == BRIEF.len()
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        let echoed = outputs[0].bytes();
        let text = String::from_utf8_lossy(echoed);
        match &*text {
            "panic in postprocess" => panic!("a mask of lead"),
            "describe the request" => Response::json(&json!({
                "url_path": request.url_path,
                "x-test": request.header("X-Test"),
                "headers": request.headers,
                "query": request.query,
                "max_response_bytes": request.max_response_bytes,
                "parts": request.parts.iter().map(|part| {
                    let data = String::from_utf8_lossy(&part.data);
                    json!([part.name, part.content_type, data])
                }).collect::<Vec<_>>(),
            })),
            "hang in postprocess" => Self::hang(),
            "name the thread" | BRIEF => {
                Ok(Response::bytes("", std::thread::current().name().unwrap_or("").to_owned()))
            }
            "be a teapot" => Ok(Response {
                status: 418,
                content_type: None,
                headers: vec![("x-pot".into(), "brown".into())],
                body: "short and stout".into(),
            }),
            "answer status 42" => Ok(Response { status: 42, ..Response::bytes("", "") }),
            "answer nothing" => Ok(Response { status: 204, ..Response::bytes("x/y", "no body") }),
            "set a header that is none" => Ok(Response {
                headers: vec![("x-pot".into(), "brown\r\nx-smuggled: yes".into())],
                ..Response::bytes("text/plain", "")
            }),
            "give the type twice" => Ok(Response {
                headers: vec![("Content-Type".into(), "text/csv".into())],
                ..Response::bytes("text/plain", "")
            }),
            "say it as text" => Ok(Response::bytes("text/plain", "it")),
            _ => {
                let body = [self.prefix.as_bytes(), echoed].concat();
                Ok(Response { content_type: None, ..Response::bytes("", body) })
            }
        }
    }
}

pub(crate) fn handlers() -> Vec<Registration> {
    // Also under a name that `mar pack` knows.
    vec![
        Registration::of::<Echo>("echo"),
        Registration::of::<Echo>("tensor"),
        picture::registration(),
    ]
}

/// Stops those who come until somebody lets one of them through.
#[derive(Default)]
struct Gate {
    passes: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let mut passes = self.passes.lock();
        self.changed.wait_while(&mut passes, |passes| *passes == 0);
        *passes -= 1;
    }

    fn let_through(&self, number: usize) {
        *self.passes.lock() += number;
        self.changed.notify_all();
    }
}
