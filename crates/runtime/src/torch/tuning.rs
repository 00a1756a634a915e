//! The form in which a network runs: asked for by name, or found by running each when it is loaded.
//!
//! The network as it was exported is what answers are compared with, so nothing is chosen that answers
//! otherwise. [`trials`](super::trials) says on what that is tried, [`contest`](super::contest) which is faster.

use std::time::{Duration, Instant};

use mar_handler::{Error, LoadSpec, Result};
use serde_json::{Map, Value};
use tch::{CModule, TchError};

use super::contest::between;
use super::convert::{borrowed, device};
use super::error::{first_cause, prediction};
use super::form::{Form, Module, Nature};
use super::options::{OPTIMIZE_SECONDS, Optimise, Options};
use super::script::Script;
use super::sharing;
use super::trials::Trials;

/// A pass that takes a larger share of the time there is to choose is timed on smaller images, if it can be.
const QUICK: u32 = 10;

/// The module that runs, and why it is that one.
#[derive(Debug)]
pub(super) struct Tuned {
    pub(super) script: CModule,
    /// Whether several workers may run it at the same time.
    pub(super) shareable: bool,
    pub(super) report: Report,
}

/// What there is to say of a choice.
#[derive(Debug)]
pub(super) struct Report {
    form: Form,
    /// The quickest pass of each form that was timed.
    times: Vec<(Form, Duration)>,
    /// The shapes of what they were timed on.
    timed_on: String,
    /// Forms that were not, and why.
    passed_over: Vec<(Form, String)>,
    /// Why none was tried.
    left_alone: Option<String>,
}

impl Report {
    fn of(form: Form) -> Self {
        let (times, passed_over) = (Vec::new(), Vec::new());
        Self { form, times, timed_on: String::new(), passed_over, left_alone: None }
    }

    /// A form is timed once in each contest that it takes part in.
    fn note(&mut self, form: Form, time: Duration) {
        match self.times.iter_mut().find(|(known, _)| *known == form) {
            Some((_, known)) => *known = time.min(*known),
            None => self.times.push((form, time)),
        }
    }

    pub(super) fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert("optimize".to_owned(), self.form.name().into());
        if !self.times.is_empty() {
            let time = |(form, time): &(Form, Duration)| {
                let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
                (form.name().to_owned(), Value::from(f64::from(micros) / 1e3))
            };
            told.insert("milliseconds".to_owned(), self.times.iter().map(time).collect());
            told.insert("timed_on".to_owned(), self.timed_on.as_str().into());
        }
        if !self.passed_over.is_empty() {
            let reason =
                |(form, why): &(Form, String)| (form.name().to_owned(), Value::from(why.as_str()));
            let reasons = self.passed_over.iter().map(reason).collect();
            told.insert("not_optimized".to_owned(), reasons);
        }
        if let Some(reason) = &self.left_alone {
            told.insert("not_optimized".to_owned(), reason.as_str().into());
        }
        told
    }
}

/// Opens a network in the form that is asked for, or the fastest.
///
/// # Errors
/// Where the file does not open, or a form that is asked for by name cannot be had without other answers.
pub(super) fn open(
    spec: &LoadSpec,
    options: Options,
    script: Option<&Script>,
) -> Result<Tuned, Failed> {
    let plain = Form::Plain.open(&spec.file, spec.device)?;
    let alone = sharing::leaves_itself_alone(script);
    let tuning = Tuning { spec, time: options.time };
    match options.optimise {
        Optimise::Only(Form::Plain) => Ok(tuned(plain, alone, Report::of(Form::Plain))),
        Optimise::Only(form) => tuning.by_name(&plain, form, alone).map_err(Failed::Refused),
        Optimise::Auto => {
            let reason = if !options.optimises {
                Some("its graphs are not to be optimised")
            } else if script.is_some_and(Script::takes_a_list) {
                Some("it takes a list")
            } else {
                None
            };
            let Some(reason) = reason else { return Ok(tuning.fastest(plain, alone)) };
            Ok(left_alone(plain, alone, reason.to_owned()))
        }
    }
}

/// Why there is no module.
#[derive(Debug)]
pub(super) enum Failed {
    /// The file does not open.
    NotOpened(TchError),
    /// What is asked for cannot be had.
    Refused(Error),
}

impl From<TchError> for Failed {
    fn from(error: TchError) -> Self {
        Self::NotOpened(error)
    }
}

fn tuned(module: Module, alone: bool, report: Report) -> Tuned {
    // Freezing knows better than the text, which does not see what no pass reaches.
    let shareable = module.nature.map_or(alone, |nature| !nature.writes_into_itself);
    Tuned { script: module.script, shareable, report }
}

fn left_alone(plain: Module, alone: bool, reason: String) -> Tuned {
    let report = Report { left_alone: Some(reason), ..Report::of(Form::Plain) };
    tuned(plain, alone, report)
}

struct Tuning<'a> {
    spec: &'a LoadSpec,
    /// How long forms are timed, all of them together.
    time: Duration,
}

impl Tuning<'_> {
    fn form(&self, form: Form) -> Result<Module> {
        form.open(&self.spec.file, self.spec.device).map_err(|error| {
            let cause = first_cause(&error.to_string());
            Error::invalid_model(format!("libtorch cannot make it: {cause}")).caused_by(error)
        })
    }

    /// A form that is asked for, held against the network itself where its inputs are known.
    fn by_name(&self, plain: &Module, form: Form, alone: bool) -> Result<Tuned> {
        let refused = |error: Error| {
            let (name, cause) = (form.name(), error.message());
            let message = format!("optimize: {name} cannot be had: {cause}; write auto or none");
            Error::invalid_model(message).caused_by(error)
        };
        let module = self.form(form).map_err(refused)?;
        // A network that changes with each pass has no answers to compare with.
        let may_be_tried = module.nature.is_none_or(|nature| nature.forbids_trials().is_none());
        if may_be_tried && !self.spec.inputs.is_empty() {
            let tried = self.with_inputs(|inputs| {
                let Ok(trials) = Trials::of(&plain.script, inputs, self.quick()) else {
                    return Ok(());
                };
                trials.try_before(&module.script)?;
                trials.try_after(&module.script)
            });
            tried.map_err(refused)?;
        }
        Ok(tuned(module, alone, Report::of(form)))
    }

    /// The fastest form of those that answer as the network itself does.
    fn fastest(&self, plain: Module, alone: bool) -> Tuned {
        let nobody_says = "nobody says what it takes; declare its inputs' shapes, or name a form";
        if self.spec.inputs.is_empty() && alone {
            return left_alone(plain, alone, nobody_says.to_owned());
        }
        let frozen = match self.form(Form::Frozen) {
            Ok(frozen) => frozen,
            Err(error) => return left_alone(plain, alone, error.message().to_owned()),
        };
        let alone = frozen.nature.map_or(alone, |nature| !nature.writes_into_itself);
        if let Some(reason) = frozen.nature.and_then(Nature::forbids_trials) {
            return left_alone(plain, alone, reason.to_owned());
        }
        if self.spec.inputs.is_empty() {
            return left_alone(plain, alone, nobody_says.to_owned());
        }
        match self.with_inputs(|inputs| self.contest(&plain, frozen, inputs)) {
            Ok((Some(fastest), report)) => tuned(fastest, alone, report),
            Ok((None, report)) => tuned(plain, alone, report),
            Err(error) => left_alone(plain, alone, error.message().to_owned()),
        }
    }

    /// The form that is faster than the network itself, if there is one. Two are held beside the network at a time.
    fn contest(
        &self,
        plain: &Module,
        frozen: Module,
        inputs: &[tch::Tensor],
    ) -> Result<(Option<Module>, Report)> {
        let trials = Trials::of(&plain.script, inputs, self.quick())?;
        let begun = Instant::now();
        trials.pass(&plain.script)?;
        let pass = begun.elapsed();
        if pass > self.time / 2 {
            let (pass, time) = (pass.as_secs_f32(), self.time.as_secs_f32());
            return Err(Error::invalid_model(format!(
                "a pass takes {pass:.2} s, and all forms are timed for {time} s; give {OPTIMIZE_SECONDS} more, or name a form"
            )));
        }
        let forms = Form::ALL
            .into_iter()
            .filter(|form| *form != Form::Plain && form.is_for(self.spec.device));
        let forms: Vec<Form> = forms.collect();
        let time = self.time / u32::try_from(forms.len()).unwrap_or(1);
        let (mut champion, mut report) = (None::<Module>, Report::of(Form::Plain));
        report.timed_on = trials.timed_on();
        let mut frozen = Some(frozen);
        for form in forms {
            let made = match frozen.take() {
                Some(frozen) => Ok(frozen),
                None => self.form(form),
            };
            let round = made.and_then(|challenger| {
                trials.try_before(&challenger.script)?;
                let reigning = champion.as_ref().unwrap_or(plain);
                let quickest = between(
                    &mut || trials.pass(&reigning.script),
                    &mut || trials.pass(&challenger.script),
                    time,
                    &|| begun.elapsed(),
                )?;
                if quickest.challenger_wins() {
                    trials.try_after(&challenger.script)?;
                }
                Ok((challenger, quickest))
            });
            match round {
                Ok((challenger, quickest)) => {
                    report.note(report.form, quickest.champion);
                    report.note(form, quickest.challenger);
                    if quickest.challenger_wins() {
                        (champion, report.form) = (Some(challenger), form);
                    }
                }
                Err(error) => report.passed_over.push((form, error.message().to_owned())),
            }
        }
        Ok((champion, report))
    }

    /// Passes that take longer are timed on smaller images, if there are any.
    fn quick(&self) -> Duration {
        self.time / QUICK
    }

    /// Works on what is known of the inputs, on the network's device, as a worker does.
    fn with_inputs<T>(&self, work: impl FnOnce(&[tch::Tensor]) -> Result<T>) -> Result<T> {
        let place = device(self.spec.device);
        tch::no_grad(|| {
            borrowed(&self.spec.inputs, |views| {
                let placed = views.iter().map(|view| view.f_to_device(place));
                work(&placed.collect::<Result<Vec<_>, _>>().map_err(prediction)?)
            })
        })
    }
}

#[cfg(test)]
mod tests;
