//! One sample on its way through a handler and a model, as a request would go.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use mar::{KnownAnswer, KnownStage, KnownTensor, Opened, Sample};
use mar_handler::{
    Batch, Error, ErrorCode, Handler, Model, Part, Request, Response, Result, Stage, Tensor,
};

use super::recorder::{Recorder, Seen};
use super::report::{SampleReport, StageReport, StageVerdict};
use super::{Compared, answer, output, tensors};
use crate::open::invalid;
use crate::pool::panicked;

const FORWARD: &str = "forward";
const ANSWER: &str = "answer";

/// What samples are replayed with. It takes the thread that it runs on.
pub(crate) struct Replay<'a> {
    pub(crate) opened: &'a Opened,
    pub(crate) handler: &'a dyn Handler,
    pub(crate) model: &'a dyn Model,
}

/// How much is replayed at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) samples: usize,
    /// No sample is begun after that time and no answer asked for, but the first.
    pub(crate) time: Duration,
}

impl Limit {
    /// All samples, however long they take.
    pub(crate) const NONE: Self = Self { samples: usize::MAX, time: Duration::MAX };
}

/// What came of samples.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// One entry a sample, in order.
    pub(crate) reports: Vec<SampleReport>,
    /// How the network failed at its worst, where it did.
    pub(crate) failed: Option<Failed>,
    /// What is wrong with the files of the sample that comes next, where the replay ended for that.
    pub(crate) unreadable: Option<Error>,
}

/// A step that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// Whether it panicked, which leaves a model in an unknown state.
    pub(crate) panicked: bool,
}

impl Replay<'_> {
    /// Replays samples in order, up to the limit or to the first whose files cannot be read. `elapsed` tells
    /// the time since the first began.
    pub(crate) fn within(&self, limit: Limit, elapsed: impl Fn() -> Duration) -> Replayed {
        let in_time = || elapsed() < limit.time;
        let mut replayed = Replayed::default();
        for sample in self.opened.samples().samples.iter().take(limit.samples) {
            if !replayed.reports.is_empty() && !in_time() {
                break;
            }
            // How the network failed counts, whatever comes after that.
            match self.sample(sample, &in_time, &mut replayed.failed) {
                Ok(report) => replayed.reports.push(report),
                Err(error) => {
                    replayed.unreadable = Some(error);
                    break;
                }
            }
        }
        replayed
    }

    fn sample(
        &self,
        sample: &Sample,
        in_time: &dyn Fn() -> bool,
        failed: &mut Option<Failed>,
    ) -> Result<SampleReport> {
        let input: Bytes = self.opened.input(sample).map_err(|error| invalid(&error))?.into();
        let mut going = Going { replay: self, sample, input, in_time, stages: Vec::new(), failed };
        going.preprocessing()?;
        going.network()?;
        Ok(SampleReport {
            sample: sample.name.clone(),
            made_by: sample.known.made_by.clone(),
            stages: going.stages,
        })
    }
}

impl Replayed {
    /// Why nothing at all was compared, where that is so: then nothing is proven either.
    pub(crate) fn nothing_compared(&self) -> Option<String> {
        let mut stages = self.reports.iter().flat_map(|report| &report.stages);
        let is_compared = |stage: &StageReport| stage.verdict != StageVerdict::NotCompared;
        if self.reports.is_empty() || stages.clone().any(is_compared) {
            return None;
        }
        let why = stages.next().map(|first| format!(": {}: {}", first.stage, first.figures));
        Some(format!("nothing that is known can be compared{}", why.unwrap_or_default()))
    }
}

/// A sample that is being replayed.
struct Going<'a> {
    replay: &'a Replay<'a>,
    sample: &'a Sample,
    input: Bytes,
    in_time: &'a dyn Fn() -> bool,
    stages: Vec<StageReport>,
    failed: &'a mut Option<Failed>,
}

impl Going<'_> {
    fn note(&mut self, stage: &str, verdict: StageVerdict, figures: impl AsRef<str>) {
        /// In characters; logs and tables show all of them.
        const MOST: usize = 2000;

        // In one line, whatever names and messages hold.
        let mut figures = figures.as_ref().replace(char::is_control, " ");
        if let Some((end, _)) = figures.char_indices().nth(MOST) {
            figures.truncate(end);
            figures.push_str("...");
        }
        self.stages.push(StageReport { stage: stage.into(), verdict, figures });
    }

    fn compared(&mut self, stage: &str, compared: Compared) {
        match compared {
            Ok(figures) => self.note(stage, StageVerdict::Reproduced, figures),
            Err(figures) => self.note(stage, StageVerdict::Differs, figures),
        }
    }

    fn request(&self, query: &[(String, String)]) -> Request {
        request(self.sample, self.input.clone(), query)
    }

    fn preprocessing(&mut self) -> Result<()> {
        let known = &self.sample.known.stages;
        let Some(first) = known.first() else { return Ok(()) };
        let request = self.request(&[]);
        match caught(Stage::PREPROCESS, || self.replay.handler.stages(&request)) {
            Ok(ours) => {
                for stage in known {
                    self.stage(stage, &ours, known.last().is_some_and(|last| last == stage))?;
                }
            }
            Err(failed) => {
                self.note(&first.stage, StageVerdict::Differs, failed.error.message());
            }
        }
        Ok(())
    }

    fn stage(&mut self, known: &KnownStage, ours: &[Stage], is_last: bool) -> Result<()> {
        let found = ours.iter().find(|stage| stage.name == known.stage);
        // A handler that shows no stages shows what it makes in the end.
        let shown = found
            .or_else(|| ours.last().filter(|stage| is_last && stage.name == Stage::PREPROCESS));
        let Some(shown) = shown else {
            let names: Vec<&str> = ours.iter().map(|stage| stage.name).collect();
            let figures = format!("the handler shows no such stage; it shows {}", names.join(", "));
            self.note(&known.stage, StageVerdict::NotCompared, figures);
            return Ok(());
        };
        let (expected, made) = (known.tensors.len(), shown.tensors.len());
        if expected != made {
            let figures = format!("{made} tensors where {expected} were known");
            self.note(&known.stage, StageVerdict::Differs, figures);
            return Ok(());
        }
        let mut same = Vec::new();
        for (index, (known_tensor, tensor)) in known.tensors.iter().zip(&shown.tensors).enumerate()
        {
            let called = if made > 1 { format!("tensor {index}: ") } else { String::new() };
            match self.tensor(known_tensor, tensor)? {
                Ok(figures) => same.push(format!("{called}{figures}")),
                Err(figures) => {
                    self.note(&known.stage, StageVerdict::Differs, format!("{called}{figures}"));
                    return Ok(());
                }
            }
        }
        self.note(&known.stage, StageVerdict::Reproduced, same.join("; "));
        Ok(())
    }

    fn tensor(&self, known: &KnownTensor, ours: &Tensor) -> Result<Compared> {
        tensors::compare(known, ours, || {
            let read = known.copy.as_ref().map(|file| self.replay.opened.read(file));
            read.transpose().map_err(|error| invalid(&error))
        })
    }

    /// The network's own output, and what becomes of it for each of the known answers.
    fn network(&mut self) -> Result<()> {
        let known = &self.sample.known;
        if known.answers.is_empty() {
            if !known.output.is_empty() {
                self.run(&self.request(&[]), true);
            }
            return Ok(());
        }
        for (index, answer) in known.answers.iter().enumerate() {
            if index > 0 && !(self.in_time)() {
                let left = known.answers.len() - index;
                let figures = format!("the time was over before the last {left} were asked for");
                self.note(ANSWER, StageVerdict::NotCompared, figures);
                break;
            }
            let request = self.request(&answer.query);
            let records = index == 0 && !known.output.is_empty();
            let Some(outputs) = self.run(&request, records) else { continue };
            self.answer(answer, outputs, &request)?;
        }
        Ok(())
    }

    /// Takes a request through preprocessing and the network; `None` where it came to no outputs.
    fn run(&mut self, request: &Request, records: bool) -> Option<Vec<Tensor>> {
        let Replay { handler, model, .. } = *self.replay;
        let inputs = match caught(Stage::PREPROCESS, || handler.preprocess(request)) {
            Ok(inputs) => inputs,
            Err(failed) => {
                let figures = with_query(&request.query, failed.error.message());
                self.note(Stage::PREPROCESS, StageVerdict::Differs, figures);
                return None;
            }
        };
        let recorder = Recorder::new(model, records);
        let outputs = caught("inference", || {
            let mut outputs = handler.inference(&recorder, Batch::stack(vec![inputs])?)?;
            if outputs.len() != 1 {
                let message = format!("the handler answered {} of 1 request", outputs.len());
                return Err(Error::prediction_failed(message));
            }
            Ok(outputs.remove(0))
        });
        let Seen { outputs: seen, is_network_done } = recorder.into_seen();
        if let Some(seen) = seen {
            let compared = output::compare(&self.sample.known.output, &seen, model.device());
            self.compared(FORWARD, compared);
        } else if records && outputs.is_ok() {
            self.note(FORWARD, StageVerdict::NotCompared, "the handler ran no network");
        }
        match outputs {
            Ok(outputs) => Some(outputs),
            Err(failed) => {
                // What a handler does with what the network gave belongs to the answer.
                if is_network_done && !failed.panicked {
                    self.answered(&request.query, Err(failed.error.message().to_owned()));
                } else {
                    let figures = with_query(&request.query, failed.error.message());
                    self.note(FORWARD, StageVerdict::Differs, figures);
                }
                if self.failed.as_ref().is_none_or(|before| before.severity() < failed.severity()) {
                    *self.failed = Some(failed);
                }
                None
            }
        }
    }

    fn answer(
        &mut self,
        known: &KnownAnswer,
        outputs: Vec<Tensor>,
        request: &Request,
    ) -> Result<()> {
        let body = self.replay.opened.read(&known.file).map_err(|error| invalid(&error))?;
        let made: Result<Response, Failed> =
            caught("postprocess", || self.replay.handler.postprocess(outputs, request));
        let compared = match made {
            Ok(response) => answer::compare(known, &body, &response, self.replay.model.device()),
            Err(failed) => Err(failed.error.message().to_owned()),
        };
        self.answered(&known.query, compared);
        Ok(())
    }

    fn answered(&mut self, query: &[(String, String)], compared: Compared) {
        let compared = compared.map(|figures| with_query(query, &figures)).map_err(|figures| {
            let unknown = self.sample.known.output.is_empty();
            let hint = "; what the network gave is not known, so it may be the cause";
            let figures = with_query(query, &figures);
            if unknown { figures + hint } else { figures }
        });
        self.compared(ANSWER, compared);
    }
}

/// The request that the inference port makes of a sample.
pub(crate) fn request(sample: &Sample, input: Bytes, query: &[(String, String)]) -> Request {
    let content_type = sample.input.content_type.clone();
    let headers = content_type.iter().map(|of| ("content-type".to_owned(), of.clone()));
    let media_type = content_type.as_deref().and_then(|of| of.split(';').next());
    Request {
        id: format!("sample {}", sample.name),
        headers: headers.collect(),
        query: query.to_vec(),
        parts: vec![Part {
            name: "body".into(),
            content_type: media_type.map(|of| of.trim().to_owned()),
            data: input,
        }],
        ..Request::default()
    }
}

/// Figures of an answer that was asked for in a way of its own.
fn with_query(query: &[(String, String)], figures: &str) -> String {
    if query.is_empty() {
        return figures.to_owned();
    }
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("?{}: {figures}", pairs.join("&"))
}

/// Runs a step of the handler's; a panic is a failure too.
fn caught<T>(step: &str, run: impl FnOnce() -> Result<T>) -> Result<T, Failed> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) => Err(Failed { error, panicked: false }),
        Err(panic) => Err(Failed { error: panicked(step, panic.as_ref()), panicked: true }),
    }
}

impl Failed {
    /// What becomes of the weights is up to the worst that happened, not to the first.
    fn severity(&self) -> u8 {
        match (self.error.code(), self.panicked) {
            (ErrorCode::DeviceLost, _) => 3,
            (_, true) => 2,
            _ if self.may_pass() => 1,
            _ => 0,
        }
    }

    /// Whether the same may do better another time.
    pub(crate) fn may_pass(&self) -> bool {
        self.error.code() == ErrorCode::OutOfMemory
    }
}
