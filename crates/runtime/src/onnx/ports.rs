//! The inputs that a network declares, and whether tensors are what they ask for.

use mar_handler::{DType, Error, Result, Side, Tensor};
use ort::value::{Outlet, ValueType};

use super::values::dtype;

/// An input, as the network declares it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    dtype: DType,
    /// `None` where any number of sides will do, or where the file does not tell a scalar from that.
    sides: Option<Vec<Side>>,
}

impl Port {
    /// The inputs of a network.
    ///
    /// # Errors
    /// Where one is no tensor, or one of a type that no client can send: the words for what it is.
    pub(super) fn all(inputs: &[Outlet]) -> Result<Vec<Self>, String> {
        inputs.iter().map(Self::new).collect()
    }

    fn new(input: &Outlet) -> Result<Self, String> {
        let refused = || format!("its input \"{}\" is a {}", input.name(), input.dtype());
        let ValueType::Tensor { ty, shape, .. } = input.dtype() else { return Err(refused()) };
        let sides = shape.iter().map(|side| usize::try_from(*side).ok()).collect::<Vec<Side>>();
        Ok(Self {
            name: input.name().to_owned(),
            dtype: dtype(*ty).ok_or_else(refused)?,
            sides: (!sides.is_empty()).then_some(sides),
        })
    }

    /// Whether a tensor is of the declared type and fits the declared shape.
    pub(super) fn check(&self, tensor: &Tensor) -> Result<()> {
        let fits = |sides: &Vec<Side>| {
            let each = || sides.iter().zip(tensor.shape());
            sides.len() == tensor.shape().len()
                && each().all(|(side, is)| side.is_none_or(|side| side == *is))
        };
        if tensor.dtype() == self.dtype && self.sides.as_ref().is_none_or(fits) {
            return Ok(());
        }
        let hint = if tensor.dtype() != self.dtype || !self.differs_in_batch_alone(tensor) {
            ""
        } else {
            "; a network with a fixed first side takes no other batch, set batchSize to it"
        };
        Err(Error::invalid_input(format!(
            "input \"{}\" is {}{}, the network takes {}{}{hint}",
            self.name,
            tensor.dtype().name(),
            told(tensor.shape().iter().map(|side| Some(*side))),
            self.dtype.name(),
            self.sides.as_ref().map(|sides| told(sides.iter().copied())).unwrap_or_default(),
        )))
    }

    fn differs_in_batch_alone(&self, tensor: &Tensor) -> bool {
        let Some([Some(_), rest @ ..]) = self.sides.as_deref() else { return false };
        let is = tensor.shape().get(1..).unwrap_or_default();
        rest.len() == is.len()
            && rest.iter().zip(is).all(|(side, is)| side.is_none_or(|s| s == *is))
    }
}

/// A shape in brackets, -1 for any length.
fn told(sides: impl Iterator<Item = Side>) -> String {
    let side = |side: Side| side.map_or_else(|| "-1".to_owned(), |side| side.to_string());
    format!("[{}]", sides.map(side).collect::<Vec<_>>().join(", "))
}
