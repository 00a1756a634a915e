//! One batch through a network, on a worker's thread: put together, run, taken apart.

use std::time::Instant;

use mar_handler::{Batch, Device, Epilogue, Error, ErrorCode, Model, Result, Tensor};

use crate::events::BatchTiming;
use crate::job::{Lane, Work};
use crate::version::Loaded;

/// What each request of a batch is answered, and where the time went.
pub(crate) type Run = (Vec<Vec<Tensor>>, BatchTiming);

impl Loaded {
    /// Runs requests that share a batch: all of one lane, and of the same types and shapes.
    pub(crate) fn run(&self, model: &dyn Model, work: Vec<Work>) -> Result<Run> {
        match work.first() {
            Some(first) if first.lane == Lane::Network => self.run_network(model, work),
            _ => self.run_handler(model, work),
        }
    }

    /// Runs the requests that a worker answers before it is ready, if there are any.
    pub(crate) fn warm_up(&self, model: &dyn Model) -> Result<()> {
        for warmup in self.network.iter().flat_map(|network| &network.warmup) {
            for _ in 0..warmup.count {
                model.forward(warmup.inputs.clone(), Epilogue::None).map_err(|error| {
                    let message = format!("warm-up \"{}\" failed: {error}", warmup.name);
                    Error::new(error.code(), message)
                })?;
            }
        }
        Ok(())
    }

    fn run_handler(&self, model: &dyn Model, work: Vec<Work>) -> Result<Run> {
        let begun = Instant::now();
        let batch = Batch::stack(work.into_iter().map(|work| work.inputs).collect())?;
        let requests = batch.len();
        let input = begun.elapsed();
        let outputs = if self.network.is_some() && !self.interface.batched {
            self.handler.inference(&Unbatched(model), batch)?
        } else {
            self.handler.inference(model, batch)?
        };
        if outputs.len() != requests {
            let message = format!("the handler answered {} of {requests} requests", outputs.len());
            return Err(Error::new(ErrorCode::PredictionFailed, message));
        }
        let inference = begun.elapsed().saturating_sub(input);
        Ok((outputs, BatchTiming { requests, input, inference, ..BatchTiming::default() }))
    }

    /// A request alone is given as it is, and gets what there is.
    fn run_network(&self, model: &dyn Model, mut work: Vec<Work>) -> Result<Run> {
        let begun = Instant::now();
        let requests = work.len();
        let rows: Vec<usize> = work.iter().map(|work| work.rows).collect();
        let inputs = if requests == 1 { work.remove(0).inputs } else { concatenated(work)? };
        let input = begun.elapsed();
        let outputs = model.forward(inputs, Epilogue::None)?;
        let inference = begun.elapsed().saturating_sub(input);
        let outputs = if requests == 1 { vec![outputs] } else { self.parted(&outputs, &rows)? };
        let output = begun.elapsed().saturating_sub(input + inference);
        Ok((outputs, BatchTiming { requests, input, inference, output }))
    }

    /// The rows of each request.
    fn parted(&self, outputs: &[Tensor], rows: &[usize]) -> Result<Vec<Vec<Tensor>>> {
        let all: usize = rows.iter().sum();
        if let Some(index) = outputs.iter().position(|of| of.shape().first() != Some(&all)) {
            return Err(Error::prediction_failed(format!(
                "output {} of a batch of {all} rows has the shape {:?}, and needs {all} as its first side",
                self.interface.output_name(index, &outputs[index]),
                outputs[index].shape()
            )));
        }
        let mut start = 0;
        rows.iter()
            .map(|rows| {
                let own = start..start + rows;
                start = own.end;
                outputs.iter().map(|output| output.rows(own.clone())).collect()
            })
            .collect()
    }
}

/// A network that knows no batches, for a handler that makes one of a single request.
struct Unbatched<'a>(&'a dyn Model);

impl Model for Unbatched<'_> {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        let without = |tensor: Tensor| {
            let sides = tensor.shape().get(1..).unwrap_or_default().to_vec();
            tensor.reshape(&sides)
        };
        let with = |tensor: Tensor| {
            let sides = [&[1], tensor.shape()].concat();
            tensor.reshape(&sides)
        };
        let inputs = inputs.into_iter().map(without).collect::<Result<_>>()?;
        self.0.forward(inputs, epilogue)?.into_iter().map(with).collect()
    }

    fn device(&self) -> Device {
        self.0.device()
    }
}

/// Tensor `i` of each request, one below the other.
fn concatenated(work: Vec<Work>) -> Result<Vec<Tensor>> {
    let count = work.first().map_or(0, |first| first.inputs.len());
    let mut columns: Vec<Vec<Tensor>> =
        (0..count).map(|_| Vec::with_capacity(work.len())).collect();
    for work in work {
        for (column, input) in columns.iter_mut().zip(work.inputs) {
            column.push(input);
        }
    }
    columns.into_iter().map(Tensor::concat).collect()
}
