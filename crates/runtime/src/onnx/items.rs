//! Networks that are run once for each item, such as torchvision's detectors, which take one image.

use mar_handler::{Result, Tensor};
use ort::session::Session;
use ort::value::{Outlet, ValueType};

/// How a network that is given one item at a time takes it.
#[derive(Debug)]
pub(super) struct Items {
    /// How many sides its input has; `None` where it has several inputs, or does not say.
    rank: Option<usize>,
    /// For each output, whether its first side is that of the input's batch.
    batched: Vec<bool>,
}

impl Items {
    pub(super) fn of(session: &Session) -> Self {
        let [input] = session.inputs() else { return Self { rank: None, batched: Vec::new() } };
        let (rank, batch) = (rank(input), first_side(input));
        // A first side of any length counts something else, such as boxes, unless it is called as the input's is.
        let is_batch = |output| match first_side(output) {
            Some(Side::Named(name)) => batch == Some(Side::Named(name)),
            side => side == Some(Side::Fixed(1)),
        };
        let batched = session.outputs().iter().map(is_batch);
        Self { rank, batched: batched.collect() }
    }

    /// The shape of a batch with this item alone, where the network takes a batch.
    pub(super) fn batch(&self, item: &[usize]) -> Option<Vec<usize>> {
        (self.rank == Some(item.len() + 1)).then(|| [&[1], item].concat())
    }

    /// The answer to a batch of one as that to its item.
    pub(super) fn without_batch(&self, answers: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let one = |(answer, batched): (Tensor, &bool)| {
            let shape = answer.shape().to_vec();
            match shape.split_first() {
                Some((1, rest)) if *batched => answer.reshape(rest),
                _ => Ok(answer),
            }
        };
        answers.into_iter().zip(&self.batched).map(one).collect()
    }
}

#[derive(PartialEq)]
enum Side<'a> {
    Fixed(i64),
    Named(&'a str),
}

fn rank(port: &Outlet) -> Option<usize> {
    let ValueType::Tensor { shape, .. } = port.dtype() else { return None };
    (!shape.is_empty()).then(|| shape.len())
}

fn first_side(port: &Outlet) -> Option<Side<'_>> {
    let ValueType::Tensor { shape, dimension_symbols, .. } = port.dtype() else { return None };
    match (shape.first()?, dimension_symbols.first()) {
        (-1, Some(name)) if !name.is_empty() => Some(Side::Named(name)),
        (-1, _) => None,
        (length, _) => Some(Side::Fixed(*length)),
    }
}
