//! One archive's network measured in this process: every file that a runtime here opens, in every way it can be
//! run, against each other on the same inputs. No queue, no workers, no protocol: this is the floor under what
//! a server can do.
//!
//! [`contenders`] says what is compared, [`inputs`] on what, [`rounds`] takes the times, [`parity`] compares the
//! answers.

mod contenders;
mod inputs;
mod parity;
mod rounds;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mar::Archive;
use mar_handler::{Batch, Device, Epilogue, Error, Handler, Model, Registration, Result, Runtime};
use serde::Serialize;
use serde_json::{Map, Value};

use self::contenders::{Contender, Opened};
use self::inputs::{Inputs, adapted};
use self::parity::Answer;
use self::rounds::{Lane, alternate};
use crate::open::{Opener, invalid};
use crate::pool::caught;
use crate::work_dir::WorkDir;

pub(crate) use self::inputs::one_made_up;
pub use self::parity::Parity;
pub use self::rounds::Spread;

/// Passes that are not counted, of each contender before its first that is: libtorch optimises a graph during
/// the first two.
const WARM_UP: usize = 3;

/// What is to be measured, and where.
#[derive(Clone, Debug)]
pub struct MeasureRequest {
    /// The archive: a file or a folder.
    pub archive: PathBuf,
    /// Where the network runs; where a server would run it, where `None`.
    pub device: Option<Device>,
    /// The handler, where it is not to be the manifest's.
    pub handler: Option<String>,
    /// Requests in a batch.
    pub batch_sizes: Vec<usize>,
    /// Threads of a forward pass on the processor.
    pub threads: Vec<usize>,
    /// For how long each row is measured; three passes at least.
    pub time: Duration,
    /// Sides of inputs, without the batch's. Where there are any, the inputs are made up, not the archive's
    /// samples.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Measures what the handler does with a batch on a worker, not the network alone.
    pub through_handler: bool,
    /// Where the archive is unpacked.
    pub temp_dir: PathBuf,
}

/// What measuring came to.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The model's name, as the manifest has it.
    pub model: String,
    /// Its version.
    pub version: String,
    /// Where it ran.
    pub device: String,
    /// What it was fed.
    pub inputs: String,
    /// What a pass was: the network alone, or the handler's inference.
    pub pass: &'static str,
    /// By threads, then by the size of the batch, then in the order of the files and the ways of running them.
    pub rows: Vec<MeasuredRow>,
    /// What was not measured.
    pub not_measured: Vec<Unmeasured>,
}

/// One contender at one size of batch, on one number of threads.
#[derive(Clone, Debug, Serialize)]
pub struct MeasuredRow {
    /// The file, by its name in the archive.
    pub file: String,
    /// The way it was run.
    pub variant: String,
    /// Threads that were asked for.
    pub threads: usize,
    /// Requests in a batch.
    pub batch_size: usize,
    /// Passes that were counted.
    pub passes: usize,
    /// How long a pass took.
    pub milliseconds: Spread,
    /// Requests in a second, by the median.
    pub items_per_second: f64,
    /// How many times as fast as the first row of the same batch and threads.
    pub speed: f64,
    /// How like that row's its answer is; `None` of that row itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parity: Option<Parity>,
    /// What its runtime says of how it ran.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub how: Map<String, Value>,
}

/// What was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmeasured {
    /// The file, by its name in the archive.
    pub file: String,
    /// The way to run it; `None` for every one.
    pub variant: Option<String>,
    /// On how many threads; `None` for any number.
    pub threads: Option<usize>,
    /// In batches of which size; `None` for every one.
    pub batch_size: Option<usize>,
    /// Why.
    pub reason: String,
    /// Whether it should have run: not so where a network merely takes no batch of this size.
    pub failed: bool,
}

/// Measures an archive's network on this thread. `tell` hears what is being done.
///
/// # Errors
/// Where nothing can be measured at all: an archive that cannot be opened, a device that is not there, inputs
/// whose shapes nobody knows. A file that does not load is a part of the result.
pub fn measure(
    request: &MeasureRequest,
    handlers: Vec<Registration>,
    runtimes: Vec<Arc<dyn Runtime>>,
    tell: &mut dyn FnMut(&str),
) -> Result<Measured> {
    let opener = Opener { handlers, runtimes };
    let archive = Archive::open(&request.archive).map_err(|error| invalid(&error))?;
    let work_dir = WorkDir::create(&request.temp_dir)?;
    let model_dir = work_dir.fresh();
    let opened = caught("loading", || Opened::open(request, &opener, &archive, &model_dir))?;
    let model = &archive.manifest().model;
    let mut measured = Measured {
        model: model.model_name.clone(),
        version: model.model_version.clone(),
        device: opened.device.to_string(),
        inputs: String::new(),
        pass: "the network alone",
        rows: Vec::new(),
        not_measured: opened.unopened.iter().map(Unmeasured::file).collect(),
    };
    if opened.contenders.is_empty() {
        return Ok(measured);
    }
    let handler = match &opened.handler {
        Ok(handler) => Some(handler.as_ref()),
        Err(error) if request.through_handler => {
            return Err(Error::new(error.code(), error.message()));
        }
        Err(_) => None,
    };
    let stacked = handler.is_none_or(Handler::stacks);
    let samples = || match handler.filter(|_| request.shapes.is_empty()) {
        Some(handler) => caught("preprocess", || Inputs::of_samples(&model_dir, handler)),
        None => Ok(None),
    };
    let inputs = match samples()? {
        Some(inputs) => inputs,
        None => Inputs::made_up(&opened.signature, &request.shapes, stacked)?,
    };
    request.batch_sizes.iter().try_for_each(|size| inputs.check(*size))?;
    measured.inputs = match &opened.handler {
        Ok(_) => inputs.from.clone(),
        Err(error) => format!("{}; the handler is left out: {error}", inputs.from),
    };
    // A network that takes no stacked requests is fed by its handler alone.
    let through = handler.filter(|_| request.through_handler || !stacked);
    if through.is_some() {
        measured.pass = "the handler's inference";
    }
    let bench = Bench { opened: &opened, inputs: &inputs, through, stacked, time: request.time };
    for &threads in &request.threads {
        let models = bench.load(threads, &mut measured.not_measured);
        for &size in &request.batch_sizes {
            tell(&format!("batch {size}, {}", in_words(threads, "thread")));
            bench.cell(&models, (threads, size), &mut measured)?;
        }
    }
    Ok(measured)
}

/// A number of things: "1 thread", "2 threads".
fn in_words(number: usize, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

/// What all cells share.
struct Bench<'a> {
    opened: &'a Opened,
    inputs: &'a Inputs,
    through: Option<&'a dyn Handler>,
    /// Whether the first side of the network's inputs is the batch's.
    stacked: bool,
    time: Duration,
}

/// A contender that is loaded.
struct Running<'a> {
    contender: &'a Contender,
    model: Arc<dyn Model>,
}

/// A contender whose passes are counted.
struct Entrant<'a> {
    running: &'a Running<'a>,
    batch: Batch,
    answer: Answer,
}

impl Bench<'_> {
    fn load(&self, threads: usize, failures: &mut Vec<Unmeasured>) -> Vec<Running<'_>> {
        let mut models = Vec::new();
        for contender in &self.opened.contenders {
            match caught("loading", || contender.load(self.opened.device, threads)) {
                Ok(model) => models.push(Running { contender, model }),
                Err(error) => {
                    let failure = Unmeasured::failed(contender, (None, None), &error);
                    if !failures.contains(&failure) {
                        failures.push(failure);
                    }
                }
            }
        }
        models
    }

    fn cell(
        &self,
        models: &[Running<'_>],
        (threads, size): (usize, usize),
        measured: &mut Measured,
    ) -> Result<()> {
        let batch = self.inputs.batch(size)?;
        let mut entrants = Vec::new();
        for running in models {
            let contender = running.contender;
            let only = contender.only_size().filter(|only| self.stacked && *only != size);
            if let Some(only) = only {
                let unfit = Unmeasured::unfit(contender, size, only);
                if !measured.not_measured.contains(&unfit) {
                    measured.not_measured.push(unfit);
                }
                continue;
            }
            running.model.use_threads(threads);
            let warm = || -> Result<Entrant<'_>> {
                let tensors = adapted(batch.tensors().to_vec(), &contender.signature)?;
                let batch = Batch::new(tensors, size)?;
                let mut answer = Answer::new();
                for _ in 0..WARM_UP {
                    answer = self.pass(running.model.as_ref(), batch.clone())?;
                }
                Ok(Entrant { running, batch, answer })
            };
            match warm() {
                Ok(entrant) => entrants.push(entrant),
                Err(error) => {
                    let place = (Some(threads), Some(size));
                    measured.not_measured.push(Unmeasured::failed(contender, place, &error));
                }
            }
        }
        self.race(&entrants, (threads, size), measured);
        Ok(())
    }

    /// Lets those that run take turns, and writes down what came of it.
    fn race(
        &self,
        entrants: &[Entrant<'_>],
        (threads, size): (usize, usize),
        measured: &mut Measured,
    ) {
        let lanes = entrants.iter().map(|entrant| self.lane(entrant, threads));
        let mut lanes: Vec<Lane<'_, Error>> = lanes.collect();
        let begun = Instant::now();
        alternate(&mut lanes, self.time, &|| begun.elapsed());
        let axis = usize::from(self.through.is_none());
        let mut first: Option<(f64, &Answer)> = None;
        for (lane, entrant) in lanes.iter().zip(entrants) {
            let Entrant { running: Running { contender, model }, answer, .. } = entrant;
            if let Some(error) = &lane.failed {
                let place = (Some(threads), Some(size));
                measured.not_measured.push(Unmeasured::failed(contender, place, error));
                continue;
            }
            let milliseconds = Spread::of(&lane.times);
            let (median, parity) = match first {
                None => (milliseconds.median, None),
                Some((median, to)) => (median, Some(Parity::between(to, answer, axis))),
            };
            first.get_or_insert((milliseconds.median, answer));
            measured.rows.push(MeasuredRow {
                file: contender.file.clone(),
                variant: contender.variant.name.clone(),
                threads,
                batch_size: size,
                passes: lane.times.len(),
                milliseconds,
                items_per_second: per_second(size, milliseconds.median),
                speed: median / milliseconds.median,
                parity,
                how: model.describe(),
            });
        }
    }

    fn lane<'a>(&'a self, entrant: &'a Entrant<'_>, threads: usize) -> Lane<'a, Error> {
        let Entrant { running, batch, .. } = entrant;
        // The number of threads is the thread's own, and another contender may have set it.
        let prepare = move || running.model.use_threads(threads);
        Lane::new(prepare, || self.pass(running.model.as_ref(), batch.clone()).map(drop))
    }

    fn pass(&self, model: &dyn Model, batch: Batch) -> Result<Answer> {
        let requests = batch.len();
        let run = || match self.through {
            Some(handler) => {
                let answer = handler.inference(model, batch)?;
                if answer.len() == requests {
                    return Ok(answer);
                }
                let message =
                    format!("the handler answered {} of {requests} requests", answer.len());
                Err(Error::prediction_failed(message))
            }
            None => Ok(vec![model.forward(batch.into_tensors(), Epilogue::None)?]),
        };
        caught("inference", run)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of requests in memory")]
fn per_second(requests: usize, milliseconds: f64) -> f64 {
    1e3 * requests as f64 / milliseconds
}

impl Unmeasured {
    fn file(unopened: &contenders::Unopened) -> Self {
        Self {
            file: unopened.file.clone(),
            variant: None,
            threads: None,
            batch_size: None,
            reason: unopened.reason.clone(),
            failed: true,
        }
    }

    fn failed(
        contender: &Contender,
        (threads, batch_size): (Option<usize>, Option<usize>),
        error: &Error,
    ) -> Self {
        Self {
            file: contender.file.clone(),
            variant: Some(contender.variant.name.clone()),
            threads,
            batch_size,
            reason: error.message().to_owned(),
            failed: true,
        }
    }

    fn unfit(contender: &Contender, size: usize, only: usize) -> Self {
        Self {
            file: contender.file.clone(),
            variant: Some(contender.variant.name.clone()),
            threads: None,
            batch_size: Some(size),
            reason: format!("takes batches of {only} alone"),
            failed: false,
        }
    }
}
