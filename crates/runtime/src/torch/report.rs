//! What there is to say of the form that was chosen for a network.

use std::time::Duration;

use mar_handler::{Error, ErrorCode};
use serde_json::{Map, Value};

use super::form::Form;
use super::options::OPTIMIZE;

/// What there is to say of a choice.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) form: Form,
    /// The quickest pass of each form that was timed.
    times: Vec<(Form, Duration)>,
    /// The shapes of what they were timed on.
    pub(super) timed_on: String,
    /// Forms that were not, and why.
    passed_over: Vec<(Form, String)>,
    /// Why none was tried.
    left_alone: Option<String>,
    /// Whether another load may end otherwise, because there was too little memory for this one.
    may_pass: bool,
}

impl Report {
    pub(super) fn of(form: Form) -> Self {
        let (times, passed_over) = (Vec::new(), Vec::new());
        let timed_on = String::new();
        Self { form, times, timed_on, passed_over, left_alone: None, may_pass: false }
    }

    /// That nothing was tried, and why.
    pub(super) fn left_alone(reason: impl Into<String>) -> Self {
        Self { left_alone: Some(reason.into()), ..Self::of(Form::Plain) }
    }

    /// That trying failed.
    pub(super) fn failed(error: &Error) -> Self {
        Self { may_pass: may_pass(error), ..Self::left_alone(error.message()) }
    }

    /// That a form was not timed, or not to its end.
    pub(super) fn pass_over(&mut self, form: Form, error: &Error) {
        self.passed_over.push((form, error.message().to_owned()));
        self.may_pass |= may_pass(error);
    }

    /// Whether it holds for the next load, too.
    pub(super) fn is_lasting(&self) -> bool {
        !self.may_pass
    }

    /// A form is timed once in each contest that it takes part in.
    pub(super) fn note(&mut self, form: Form, time: Duration) {
        match self.times.iter_mut().find(|(known, _)| *known == form) {
            Some((_, known)) => *known = time.min(*known),
            None => self.times.push((form, time)),
        }
    }

    /// As people and programs are told it.
    pub(super) fn describe(&self) -> Map<String, Value> {
        let mut told = Map::new();
        told.insert(OPTIMIZE.to_owned(), self.form.name().into());
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

fn may_pass(error: &Error) -> bool {
    error.code() == ErrorCode::OutOfMemory
}
