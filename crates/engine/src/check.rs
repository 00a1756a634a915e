//! One archive's known answers on one device, without a server around them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mar::Archive;
use mar_handler::{Device, Error, LoadSpec, Registration, Result, Runtime};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::execution::Execution;
use crate::infer::Interface;
use crate::interface::known;
use crate::open::{Opener, Unpacked, context, invalid, options, understood};
use crate::plan::{Machine, first_device};
use crate::pool::panicked;
use crate::probe::Probe;
use crate::samples::{FirstDifference, Limit, Replay, SampleReport};
use crate::work_dir::WorkDir;

/// What is to be checked, and where.
#[derive(Clone, Debug, Default)]
pub struct CheckRequest {
    /// The archive: a file or a folder.
    pub archive: PathBuf,
    /// Where its model runs; where a server would run it, where `None`.
    pub device: Option<Device>,
    /// The handler, where it is not to be the manifest's.
    pub handler: Option<String>,
    /// Threads of a forward pass on the processor.
    pub threads: usize,
    /// Where the archive is unpacked.
    pub temp_dir: PathBuf,
}

/// What the known answers of an archive came to: all of them.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The model's name, as the manifest has it.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Where it ran.
    pub device: String,
    /// What it ran on.
    pub execution: Execution,
    /// One entry a sample, in the archive's order.
    pub samples: Vec<SampleReport>,
}

impl Checked {
    /// The first stage of the first sample that differs.
    pub fn first_difference(&self) -> Option<FirstDifference> {
        self.samples.iter().find_map(SampleReport::first_difference)
    }
}

/// Replays every known answer of an archive, on this thread.
///
/// # Errors
/// Where there is nothing to replay, or nothing to replay it with: an archive without known answers or that
/// cannot be opened, a device that is not there, a model that does not load. That answers differ is no error.
pub fn check(
    request: &CheckRequest,
    handlers: Vec<Registration>,
    runtimes: Vec<Arc<dyn Runtime>>,
) -> Result<Checked> {
    let opener = Opener { handlers, runtimes };
    let archive = Archive::open(&request.archive).map_err(|error| invalid(&error))?;
    let work_dir = WorkDir::create(&request.temp_dir)?;
    let checking = Checking { request, opener: &opener, archive: &archive };
    let model_dir = work_dir.fresh();
    catch_unwind(AssertUnwindSafe(|| checking.run(&model_dir))).unwrap_or_else(|panic| {
        Err(Error::invalid_model(panicked("loading", panic.as_ref()).message()))
    })
}

struct Checking<'a> {
    request: &'a CheckRequest,
    opener: &'a Opener,
    archive: &'a Archive,
}

impl Checking<'_> {
    fn run(&self, model_dir: &Path) -> Result<Checked> {
        let Self { request, archive, .. } = self;
        // First of all: what there is to say of an archive without any needs no handler and no runtime.
        let some = |opened: &mar::Opened| !opened.samples().samples.is_empty();
        if !archive.samples().map_err(|error| invalid(&error))?.is_some_and(|opened| some(&opened))
        {
            return Err(self.none());
        }
        let unpacked =
            self.opener.unpack(archive, [request.handler.as_deref(), None], model_dir)?;
        // Files are read from the folder, of which each is at hand.
        let opened = mar::read_samples(model_dir).map_err(|error| invalid(&error))?;
        let opened = opened.ok_or_else(|| self.none())?;
        let Unpacked { registration, runtime, file, settings } = unpacked;
        let device = device(request.device, runtime.as_ref(), &settings)?;
        let model = &archive.manifest().model;
        let signature = known(&settings, runtime.signature(&file)?)?;
        let context = context(model, model_dir, settings, signature);
        let handler = registration.initialize(&context)?;
        let options = options(runtime.as_ref(), &context.config)?;
        understood(runtime.as_ref(), (&options, true), &[device])?;
        let interface = Interface::of_archive(context.signature, handler.as_ref());
        let (samples, network) = (Some(&opened), None);
        let probe = Probe { handler: handler.as_ref(), interface: &interface, samples, network };
        let network = runtime.load(&LoadSpec {
            file,
            device,
            intra_op_threads: request.threads,
            options,
            cache: None,
            inputs: probe.inputs(runtime.as_ref()),
        })?;
        let network = interface.fit(network);
        network.use_threads(request.threads);
        let replay = Replay { opened: &opened, handler: handler.as_ref(), model: network.as_ref() };
        let replayed = replay.within(Limit::NONE, || Duration::ZERO);
        if let Some(why) = replayed.nothing_compared() {
            return Err(Error::invalid_model(why));
        }
        if let Some(error) = replayed.unreadable {
            return Err(error);
        }
        Ok(Checked {
            model: context.model_name,
            version: context.model_version,
            device: device.to_string(),
            execution: Execution::of(runtime.as_ref(), network.as_ref()),
            samples: replayed.reports,
        })
    }

    fn none(&self) -> Error {
        Error::invalid_model(format!(
            "{} has no known answers; pack it with mar pack --sample FILE --expect FILE",
            self.request.archive.display()
        ))
    }
}

/// The device that was asked for, which has to be there, else the archive's.
pub(crate) fn device(
    asked: Option<Device>,
    runtime: &dyn Runtime,
    settings: &Map<String, Value>,
) -> Result<Device> {
    let (cuda_devices, name) = (runtime.cuda_devices(), runtime.name());
    match asked {
        Some(Device::Cuda(index)) if index >= cuda_devices => Err(Error::invalid_model(format!(
            "there is no {}: {name} finds {}; give --device cpu",
            Device::Cuda(index),
            match cuda_devices {
                0 => "no CUDA device".to_owned(),
                1 => "one CUDA device, cuda:0".to_owned(),
                several => format!("{several} CUDA devices, numbered from 0"),
            }
        ))),
        Some(device) => Ok(device),
        None => first_device(settings, Machine { cuda_devices, runtime: name }),
    }
}
