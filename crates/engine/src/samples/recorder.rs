//! A model that is looked at while it runs.

use mar_handler::{Device, Epilogue, Model, Result, Tensor};
use parking_lot::Mutex;

/// Runs a model, and keeps what the network itself gave to the first request of the first batch: before the
/// epilogue that the handler asked for.
pub(super) struct Recorder<'a> {
    model: &'a dyn Model,
    records: bool,
    seen: Mutex<Seen>,
}

/// What became of the model's passes.
#[derive(Default)]
pub(super) struct Seen {
    /// What the network gave, without the batch's dimension; `None` where it was not run or not recorded.
    pub(super) outputs: Option<Vec<Tensor>>,
    /// Whether it was run, and the last time without an error.
    pub(super) is_network_done: bool,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(model: &'a dyn Model, records: bool) -> Self {
        Self { model, records, seen: Mutex::default() }
    }

    pub(super) fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }

    fn is_wanted(&self) -> bool {
        self.records && self.seen.lock().outputs.is_none()
    }

    /// Runs the network, and takes note of whether it failed.
    fn watched<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let outcome = run();
        self.seen.lock().is_network_done = outcome.is_ok();
        outcome
    }
}

impl Model for Recorder<'_> {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        if !self.is_wanted() {
            return self.watched(|| self.model.forward(inputs, epilogue));
        }
        let outputs = self.watched(|| self.model.forward(inputs.clone(), Epilogue::None))?;
        let alone = outputs.iter().map(alone).collect::<Result<_>>()?;
        self.seen.lock().outputs = Some(alone);
        if epilogue == Epilogue::None {
            return Ok(outputs);
        }
        self.watched(|| self.model.forward(inputs, epilogue))
    }

    fn forward_list(&self, items: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        let answers = self.watched(|| self.model.forward_list(items))?;
        if self.is_wanted() {
            self.seen.lock().outputs = Some(answers.first().cloned().unwrap_or_default());
        }
        Ok(answers)
    }

    fn device(&self) -> Device {
        self.model.device()
    }

    fn is_shareable(&self) -> bool {
        self.model.is_shareable()
    }

    fn use_threads(&self, threads: usize) {
        self.model.use_threads(threads);
    }
}

/// An output of a batch of one, without the batch's dimension. What counts no requests stays as it is.
fn alone(output: &Tensor) -> Result<Tensor> {
    match output.shape() {
        [1, rest @ ..] => {
            let rest = rest.to_vec();
            output.clone().reshape(&rest)
        }
        _ => Ok(output.clone()),
    }
}
