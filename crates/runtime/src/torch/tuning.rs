//! The form in which a network runs: asked for by name, or found by running each when it is loaded.
//!
//! The network as it was exported is what answers are compared with, so nothing is chosen that answers
//! otherwise. [`trials`](super::trials) says on what that is tried, [`contest`](super::contest) which is faster.

use std::time::{Duration, Instant};

use mar_handler::{Error, ErrorCode, LoadSpec, Result};
use serde_json::{Map, Value};
use tch::{CModule, TchError};

use super::contest::between;
use super::convert::{borrowed, device};
use super::error::{first_cause, prediction};
use super::form::{Form, Module, Nature};
use super::kept::{Choice, Kept};
use super::options::{OPTIMIZE_SECONDS, Optimise, Options};
use super::report::Report;
use super::script::Script;
use super::sharing;
use super::trials::Trials;
use crate::failure;

/// A pass that takes a larger share of the time there is to choose is timed on smaller images, if it can be.
const QUICK: u32 = 5;

const NOBODY_SAYS: &str = "nobody says what it takes; declare its inputs' shapes, or name a form";
/// Whether the choice was made at an earlier load.
const FROM_CACHE: &str = "form_from_cache";

/// The module that runs, and why it is that one.
#[derive(Debug)]
pub(super) struct Tuned {
    pub(super) script: CModule,
    /// Whether several workers may run it at the same time.
    pub(super) shareable: bool,
    /// What people may ask of the choice.
    pub(super) told: Map<String, Value>,
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
    let plain = || Form::Plain.open(&spec.file, spec.device);
    let alone = sharing::leaves_itself_alone(script);
    let tuning = Tuning { spec, time: options.time };
    let reason = match options.optimise {
        Optimise::Only(Form::Plain) => return Ok(tuned(plain()?, alone, &Report::of(Form::Plain))),
        Optimise::Only(form) => {
            return tuning.by_name(&plain()?, form, alone).map_err(Failed::Refused);
        }
        Optimise::Auto if !options.optimises => Some("its graphs are not to be optimised"),
        Optimise::Auto if script.is_some_and(Script::takes_a_list) => Some("it takes a list"),
        Optimise::Auto if spec.inputs.is_empty() && alone => Some(NOBODY_SAYS),
        Optimise::Auto => None,
    };
    if let Some(reason) = reason {
        return Ok(tuned(plain()?, alone, &Report::left_alone(reason)));
    }
    let kept = Kept::of(spec, &options);
    if let Some(known) = kept.as_ref().and_then(|kept| tuning.as_known(kept)) {
        return Ok(known);
    }
    let (module, alone, report) = tuning.fastest(plain()?, alone);
    let mut tuned = tuned(module, alone, &report);
    if let Some(kept) = kept {
        if report.is_lasting() {
            kept.keep(tuned.shareable, &tuned.told);
        }
        tuned.told.insert(FROM_CACHE.to_owned(), false.into());
    }
    Ok(tuned)
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

fn tuned(module: Module, alone: bool, report: &Report) -> Tuned {
    told(module, alone, report.describe())
}

fn told(module: Module, alone: bool, told: Map<String, Value>) -> Tuned {
    // Freezing knows better than the text, which does not see what no pass reaches.
    let shareable = module.nature.map_or(alone, |nature| !nature.writes_into_itself);
    Tuned { script: module.script, shareable, told }
}

struct Tuning<'a> {
    spec: &'a LoadSpec,
    /// How long forms are timed, all of them together.
    time: Duration,
}

impl Tuning<'_> {
    fn form(&self, form: Form) -> Result<Module> {
        form.open(&self.spec.file, self.spec.device).map_err(|error| {
            let text = error.to_string();
            let code = match failure::code(&text) {
                ErrorCode::OutOfMemory => ErrorCode::OutOfMemory,
                _ => ErrorCode::InvalidModel,
            };
            let message = format!("libtorch cannot make it: {}", first_cause(&text));
            Error::new(code, message).caused_by(error)
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
        Ok(tuned(module, alone, &Report::of(form)))
    }

    /// The form that was chosen before, if one was. One that does not open any more is forgotten.
    fn as_known(&self, kept: &Kept) -> Option<Tuned> {
        let Choice { form, shareable, told: mut of } = kept.find()?;
        match form.open(&self.spec.file, self.spec.device) {
            Ok(module) => {
                of.insert(FROM_CACHE.to_owned(), true.into());
                Some(told(module, shareable, of))
            }
            Err(error) => {
                kept.forget(&format!("{}: {}", form.name(), first_cause(&error.to_string())));
                None
            }
        }
    }

    /// The fastest form of those that answer as the network itself does, whether the network leaves itself alone, and
    /// how that was found.
    fn fastest(&self, plain: Module, alone: bool) -> (Module, bool, Report) {
        let frozen = match self.form(Form::Frozen) {
            Ok(frozen) => frozen,
            Err(error) => return (plain, alone, Report::failed(&error)),
        };
        let alone = frozen.nature.map_or(alone, |nature| !nature.writes_into_itself);
        if let Some(reason) = frozen.nature.and_then(Nature::forbids_trials) {
            return (plain, alone, Report::left_alone(reason));
        }
        if self.spec.inputs.is_empty() {
            return (plain, alone, Report::left_alone(NOBODY_SAYS));
        }
        match self.with_inputs(|inputs| self.contest(&plain, frozen, inputs)) {
            Ok((fastest, report)) => (fastest.unwrap_or(plain), alone, report),
            Err(error) => (plain, alone, Report::failed(&error)),
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
                Err(error) => report.pass_over(form, &error),
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
