//! A batch of one request as a network will get it, for runtimes that try a model on it when they open it.
//!
//! What an archive's known answers or a configuration's warm-up are asked, else made-up numbers of the shapes
//! that are known. Where nobody knows enough there is none, which is no failure.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mar::Opened;
use mar_handler::{Batch, Handler, Result, Runtime, Tensor, TensorSpec};

use crate::infer::Interface;
use crate::measure::one_made_up;
use crate::network::Network;
use crate::open::invalid;
use crate::samples::request;

/// The length of a side that is free: images and texts are at least that long, and most networks take it.
const FREE_SIDE: usize = 128;

/// Who knows what a network takes.
pub(crate) struct Probe<'a> {
    pub(crate) handler: &'a dyn Handler,
    pub(crate) interface: &'a Interface,
    /// The archive's known answers.
    pub(crate) samples: Option<&'a Opened>,
    /// The network that it is, where it lies in no archive.
    pub(crate) network: Option<&'a Network>,
}

impl Probe<'_> {
    /// The batch; nothing where the runtime has no use for it, or nobody knows enough.
    pub(crate) fn inputs(&self, runtime: &dyn Runtime) -> Vec<Tensor> {
        if !runtime.tries_inputs() {
            return Vec::new();
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.batch()));
        match made {
            Ok(Ok(inputs)) => inputs.unwrap_or_default(),
            Ok(Err(error)) => {
                log::debug!("nothing to try the network on: {error}");
                Vec::new()
            }
            // What panics here does so again on a request, and is told there.
            Err(_) => Vec::new(),
        }
    }

    fn batch(&self) -> Result<Option<Vec<Tensor>>> {
        if let Some(warmup) = self.network.and_then(|network| network.warmup.first()) {
            return Ok(Some(warmup.inputs.clone()));
        }
        match self.sample()? {
            Some(request) => self.stacked(request).map(Some),
            None => self.made_up(),
        }
    }

    /// The first known answer's input as the handler prepares it.
    fn sample(&self) -> Result<Option<Vec<Tensor>>> {
        let Some(opened) = self.samples else { return Ok(None) };
        let Some(sample) = opened.samples().samples.first() else { return Ok(None) };
        let input = opened.input(sample).map_err(|error| invalid(&error))?;
        self.handler.preprocess(&request(sample, input.into(), &[])).map(Some)
    }

    /// Made-up numbers, where it is known of every input how many sides it has.
    fn made_up(&self) -> Result<Option<Vec<Tensor>>> {
        let signature = &self.interface.signature;
        let Some(inputs) = &signature.inputs else { return Ok(None) };
        let counts_rows = self.counts_rows();
        let sides = |input: &TensorSpec| {
            let own = input.shape.as_deref()?.get(usize::from(counts_rows)..).unwrap_or_default();
            let sides = own.iter().map(|side| side.unwrap_or(FREE_SIDE)).collect();
            Some((input.name.clone(), sides))
        };
        let Some(shapes) = inputs.iter().map(sides).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let request = one_made_up(signature, &shapes, counts_rows)?;
        if counts_rows { self.stacked(request).map(Some) } else { Ok(Some(request)) }
    }

    /// Whether the first side of the network's inputs counts requests.
    fn counts_rows(&self) -> bool {
        match self.network {
            Some(_) => self.interface.batched,
            None => self.handler.stacks(),
        }
    }

    /// A batch of one request, or of as many as the network takes if it takes no other number.
    fn stacked(&self, request: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let rows = self.interface.fixed.as_ref().map_or(1, |fixed| fixed.rows.max(1));
        Ok(Batch::stack(vec![request; rows])?.into_tensors())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mar_handler::{Context, DType, Error, LoadSpec, Model, Request, Response, Side, Signature};

    use super::*;
    use crate::fixed::FixedBatch;
    use crate::network::Warmup;

    /// A handler that stacks requests, or does not.
    struct Plain(bool);

    impl Handler for Plain {
        fn initialize(_: &Context) -> Result<Self> {
            Ok(Self(true))
        }

        fn preprocess(&self, _: &Request) -> Result<Vec<Tensor>> {
            Ok(Vec::new())
        }

        fn postprocess(&self, _: Vec<Tensor>, _: &Request) -> Result<Response> {
            Ok(Response::bytes("", ""))
        }

        fn stacks(&self) -> bool {
            self.0
        }
    }

    /// A runtime that tries inputs, or does not.
    struct Tries(bool);

    impl Runtime for Tries {
        fn name(&self) -> &'static str {
            "tries"
        }

        fn extensions(&self) -> &'static [&'static str] {
            &[]
        }

        fn cuda_devices(&self) -> usize {
            0
        }

        fn tries_inputs(&self) -> bool {
            self.0
        }

        fn load(&self, _: &LoadSpec) -> Result<Arc<dyn Model>> {
            Err(Error::invalid_model("it opens nothing"))
        }
    }

    fn interface(shapes: &[Option<&[Side]>]) -> Interface {
        let input = |(index, shape): (usize, Option<&[Side]>)| TensorSpec {
            shape: shape.map(<[_]>::to_vec),
            dtype: Some(DType::F32),
            ..TensorSpec::named(index.to_string())
        };
        let inputs = Some(shapes.iter().copied().enumerate().map(input).collect());
        let signature = Signature { inputs, outputs: None };
        Interface { signature, batched: true, ..Interface::default() }
    }

    fn shapes(interface: &Interface, stacks: bool, network: Option<&Network>) -> Vec<Vec<usize>> {
        let handler = Plain(stacks);
        let probe = Probe { handler: &handler, interface, samples: None, network };
        assert!(probe.inputs(&Tries(false)).is_empty(), "nobody asks");
        probe.inputs(&Tries(true)).iter().map(|tensor| tensor.shape().to_vec()).collect()
    }

    #[test]
    fn numbers_are_made_up_where_it_is_known_how_many_sides_there_are() {
        let image = [None, Some(3), None, Some(64)];
        let both = interface(&[Some(&image), Some(&[None])]);
        assert_eq!(shapes(&both, true, None), [vec![1, 3, 128, 64], vec![1]]);
        assert!(shapes(&interface(&[Some(&image), None]), true, None).is_empty());
        assert!(shapes(&Interface::default(), true, None).is_empty());
        let whole = interface(&[Some(&[Some(5), None])]);
        assert_eq!(shapes(&whole, false, None), [[5, 128]], "no side is the batch's");
    }

    #[test]
    fn a_batch_is_as_large_as_the_network_takes() {
        let fixed = Some(FixedBatch { input: "0".into(), rows: 4 });
        let four = Interface { fixed, ..interface(&[Some(&[Some(4), Some(2)])]) };
        assert_eq!(shapes(&four, true, None), [[4, 2]]);
        let network = Network::default();
        let single = Interface { batched: false, ..interface(&[Some(&[Some(4), Some(2)])]) };
        assert_eq!(shapes(&single, true, Some(&network)), [[4, 2]]);
    }

    #[test]
    fn what_a_worker_is_warmed_up_with_goes_before_made_up_numbers() {
        let inputs = vec![Tensor::from_vec(&[1, 7], vec![0_f32; 7]).unwrap()];
        let warmup = vec![Warmup { name: "seven".into(), count: 1, inputs }];
        let network = Network { warmup, ..Network::default() };
        let known = interface(&[Some(&[None, Some(2)])]);
        assert_eq!(shapes(&known, true, Some(&network)), [[1, 7]]);
    }
}
