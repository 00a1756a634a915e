//! A model that is looked at while it runs.

use mar_handler::{Device, Epilogue, Model, Result, Tensor};
use parking_lot::Mutex;

/// Runs a model, and keeps what the network itself gave to the first request of the first batch: before the
/// epilogue that the handler asked for.
pub(super) struct Recorder<'a> {
    model: &'a dyn Model,
    records: bool,
    seen: Mutex<Option<Vec<Tensor>>>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(model: &'a dyn Model, records: bool) -> Self {
        Self { model, records, seen: Mutex::default() }
    }

    /// What the network gave, without the batch's dimension; `None` where it was not run.
    pub(super) fn into_seen(self) -> Option<Vec<Tensor>> {
        self.seen.into_inner()
    }

    fn record(&self, outputs: impl FnOnce() -> Result<Vec<Tensor>>) -> Result<()> {
        let mut seen = self.seen.lock();
        if self.records && seen.is_none() {
            *seen = Some(outputs()?);
        }
        Ok(())
    }
}

impl Model for Recorder<'_> {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        if !self.records || self.seen.lock().is_some() {
            return self.model.forward(inputs, epilogue);
        }
        let outputs = self.model.forward(inputs.clone(), Epilogue::None)?;
        self.record(|| outputs.iter().map(alone).collect())?;
        if epilogue == Epilogue::None { Ok(outputs) } else { self.model.forward(inputs, epilogue) }
    }

    fn forward_list(&self, items: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        let answers = self.model.forward_list(items)?;
        self.record(|| Ok(answers.first().cloned().unwrap_or_default()))?;
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
