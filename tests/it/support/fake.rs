//! A runtime and a handler that need no tensor library and do what a test asks for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mar_handler::{
    Context, Device, Epilogue, Error, ErrorCode, Handler, LoadSpec, Model, Registration, Request,
    Response, Result, Runtime, Tensor,
};
use parking_lot::{Condvar, Mutex};
use serde_json::json;

/// Opens `.fake` files. What the file says is what the model does.
pub(crate) struct FakeRuntime {
    entered: Sender<()>,
    release: Arc<Gate>,
    loads: Arc<Mutex<Vec<PathBuf>>>,
}

/// The test's end of a runtime: hears when a `gated` model is entered, and lets it go on.
pub(crate) struct Control {
    pub(crate) entered: Receiver<()>,
    release: Arc<Gate>,
    loads: Arc<Mutex<Vec<PathBuf>>>,
}

impl Control {
    /// Lets one forward pass of a `gated` model end.
    pub(crate) fn release_one(&self) {
        self.release.let_one_through();
    }

    /// How often a model was loaded.
    pub(crate) fn loads(&self) -> usize {
        self.loads.lock().len()
    }

    /// The file that was loaded last.
    pub(crate) fn loaded_file(&self) -> PathBuf {
        self.loads.lock().last().unwrap().clone()
    }
}

pub(crate) fn runtime() -> (Arc<dyn Runtime>, Control) {
    let (entered, hears) = mpsc::channel();
    let release = Arc::new(Gate::default());
    let loads: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let runtime = FakeRuntime { entered, release: Arc::clone(&release), loads: Arc::clone(&loads) };
    (Arc::new(runtime), Control { entered: hears, release, loads })
}

impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["fake"]
    }

    fn cuda_devices(&self) -> usize {
        0
    }

    fn load(&self, spec: &LoadSpec) -> Result<Box<dyn Model>> {
        self.loads.lock().push(spec.file.clone());
        let behaviour = std::fs::read_to_string(&spec.file)
            .map_err(|error| Error::invalid_model(error.to_string()))?;
        match behaviour.as_str() {
            "broken" => Err(Error::invalid_model("the weights are broken")),
            "panics on load" => panic!("no such layer"),
            _ => Ok(Box::new(FakeModel {
                behaviour,
                entered: self.entered.clone(),
                release: Arc::clone(&self.release),
            })),
        }
    }
}

struct FakeModel {
    behaviour: String,
    entered: Sender<()>,
    release: Arc<Gate>,
}

impl Model for FakeModel {
    fn forward(&self, inputs: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
        let asks = |word: &str| inputs[0].bytes().starts_with(word.as_bytes());
        if self.behaviour == "gated" {
            self.entered.send(()).unwrap();
            self.release.wait();
        }
        assert!(!asks("panic in forward"), "a tensor of lead");
        if asks("run out of memory in forward") {
            return Err(Error::new(ErrorCode::OutOfMemory, "the device has no memory for it"));
        }
        if asks("fail in forward") {
            return Err(Error::new(ErrorCode::PredictionFailed, "the model failed: as asked"));
        }
        Ok(inputs)
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// Sends the payload's bytes through the model and back, unless they ask for something else. The header
/// `x-describe` asks for a description of the request, whatever its body is.
struct Echo {
    prefix: String,
}

impl Handler for Echo {
    fn initialize(context: &Context) -> Result<Self> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Settings {
            #[serde(default)]
            prefix: String,
        }
        Ok(Self { prefix: context.settings::<Settings>()?.prefix })
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
        Ok(vec![Tensor::from_vec(&[data.len()], data.to_vec())?])
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
                "parts": request.parts.iter().map(|part| {
                    let data = String::from_utf8_lossy(&part.data);
                    json!([part.name, part.content_type, data])
                }).collect::<Vec<_>>(),
            })),
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
    vec![Registration::of::<Echo>("echo")]
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

    fn let_one_through(&self) {
        *self.passes.lock() += 1;
        self.changed.notify_one();
    }
}
