//! Networks whose batch has one size, because they were exported so.
//!
//! Requests that share a batch are as many as came together, and such a network takes no other number than its
//! own. One of a single row takes requests one by one. One of several is given full batches: what is missing is
//! filled up with copies of the last row, whose answers nobody gets.

use std::sync::Arc;

use mar_handler::{Device, Epilogue, Model, Result, Signature, Tensor};
use serde_json::{Map, Value};

use crate::plan::{BatchLimit, Plan};

/// The size of batch that a network fixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedBatch {
    /// The input that fixes it.
    pub input: String,
    /// Rows, no more and no less.
    pub rows: usize,
}

impl FixedBatch {
    /// What inputs that are a batch's rows fix; `None` where their first sides are free.
    pub(crate) fn of(signature: &Signature) -> Option<Self> {
        let inputs = signature.inputs.as_deref().unwrap_or_default();
        inputs.iter().find_map(|input| {
            let rows = match input.shape.as_deref()? {
                [] => 1,
                [first, ..] => (*first)?,
            };
            Some(Self { input: input.name.clone(), rows })
        })
    }

    /// Makes a plan's batches no larger than the network takes.
    pub(crate) fn limit(&self, plan: &mut Plan) {
        let Self { input, rows } = self;
        let most = (*rows).max(1);
        let asked = plan.batch_size;
        plan.batch_size = asked.min(most);
        let fixed = format!("the network fixes the first side of input \"{input}\" to {rows}");
        let advice = "export it with a dynamic first side";
        let reason = match *rows {
            0 | 1 if asked == 1 => return,
            0 | 1 => format!("{fixed}, so requests share no batches; {advice}"),
            _ => format!(
                "{fixed}, so a batch has at most {rows} requests, and one of fewer is filled up and takes as long; {advice}"
            ),
        };
        plan.batch_limit = Some(BatchLimit { asked, reason });
    }

    /// The network as it is run.
    pub(crate) fn fit(&self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        if self.rows > 1 { Arc::new(Filled { model, rows: self.rows }) } else { model }
    }
}

/// A network that takes this many rows, given fewer.
struct Filled {
    model: Arc<dyn Model>,
    rows: usize,
}

impl Model for Filled {
    fn forward(&self, inputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        let given = inputs.first().and_then(|input| input.shape().first().copied());
        let alike = |rows: usize| inputs.iter().all(|input| input.shape().first() == Some(&rows));
        // Anything else is no batch of requests, and what the network says of it is said to the client.
        let Some(given) = given.filter(|rows| (1..self.rows).contains(rows) && alike(*rows)) else {
            return self.model.forward(inputs, epilogue);
        };
        let filled = inputs.into_iter().map(|input| {
            let last = input.rows(given - 1..given)?;
            let missing = std::iter::repeat_n(last, self.rows - given);
            Tensor::concat(std::iter::once(input).chain(missing).collect())
        });
        let outputs = self.model.forward(filled.collect::<Result<_>>()?, epilogue)?;
        let own = |output: Tensor| match output.shape().first() {
            Some(rows) if *rows == self.rows => output.rows(0..given),
            _ => Ok(output),
        };
        outputs.into_iter().map(own).collect()
    }

    fn forward_list(&self, items: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        self.model.forward_list(items)
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

    fn describe(&self) -> Map<String, Value> {
        self.model.describe()
    }

    fn changes(&self) -> u64 {
        self.model.changes()
    }
}

#[cfg(test)]
mod tests {
    use mar_handler::{Error, Side, TensorSpec};

    use super::*;

    /// Adds up neighbours in rows of two, and takes four rows alone.
    struct Four;

    impl Model for Four {
        fn forward(&self, inputs: Vec<Tensor>, _: Epilogue) -> Result<Vec<Tensor>> {
            if inputs.iter().any(|input| input.shape().first() != Some(&4)) {
                return Err(Error::prediction_failed("four rows"));
            }
            let sums =
                inputs[0].as_slice::<f32>()?.chunks(2).map(|row| row.iter().sum::<f32>()).collect();
            Ok(vec![
                Tensor::from_vec(&[4], sums)?.named("sums"),
                Tensor::from_vec(&[], vec![7_u8])?,
            ])
        }

        fn device(&self) -> Device {
            Device::Cpu
        }
    }

    fn signature(inputs: &[(&str, Option<&[Side]>)]) -> Signature {
        let spec = |(name, shape): &(&str, Option<&[Side]>)| TensorSpec {
            shape: shape.map(<[Side]>::to_vec),
            ..TensorSpec::named(*name)
        };
        Signature { inputs: Some(inputs.iter().map(spec).collect()), outputs: None }
    }

    #[test]
    fn the_first_input_that_fixes_its_first_side_says_how_many() {
        let free: (&str, Option<&[Side]>) = ("a", Some(&[None, Some(2)]));
        let of = |inputs: &[_]| FixedBatch::of(&signature(inputs)).map(|it| (it.input, it.rows));
        assert_eq!(of(&[free, ("b", None)]), None);
        assert_eq!(of(&[free, ("b", Some(&[Some(4)]))]), Some(("b".into(), 4)));
        assert_eq!(of(&[("a", Some(&[]))]), Some(("a".into(), 1)), "a number takes no batch");
        assert_eq!(FixedBatch::of(&Signature::default()), None);
    }

    #[test]
    fn fewer_rows_are_filled_up_and_their_own_answers_given_back() {
        let fixed = FixedBatch { input: "x".into(), rows: 4 };
        let model = fixed.fit(Arc::new(Four));
        let rows = |rows: u8| -> Vec<f32> { (0..2 * rows).map(f32::from).collect() };
        for given in 1..=4 {
            let input = Tensor::from_vec(&[usize::from(given), 2], rows(given)).unwrap();
            let outputs = model.forward(vec![input.clone(), input], Epilogue::None).unwrap();
            let sums: Vec<f32> = (0..given).map(|row| f32::from(4 * row + 1)).collect();
            assert_eq!(outputs[0].as_slice::<f32>().unwrap(), sums);
            assert_eq!(outputs[0].name(), Some("sums"));
            assert_eq!(outputs[1].shape(), [0_usize; 0], "what counts no rows stays as it is");
        }
        for shape in [&[5, 2][..], &[0, 2], &[]] {
            let data = vec![0_f32; shape.iter().product()];
            let input = Tensor::from_vec(shape, data).unwrap();
            let error = model.forward(vec![input], Epilogue::None).unwrap_err();
            assert_eq!(error.message(), "four rows", "{shape:?} is the network's to refuse");
        }
    }

    #[test]
    fn a_network_of_one_row_is_run_as_it_is() {
        let model: Arc<dyn Model> = Arc::new(Four);
        let fixed = FixedBatch { input: "x".into(), rows: 1 };
        assert!(Arc::ptr_eq(&fixed.fit(Arc::clone(&model)), &model));
    }
}
