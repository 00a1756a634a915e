//! What a network takes and gives, as far as somebody knows.

use crate::DType;

/// The length of one side; `None` where it may be any.
pub type Side = Option<usize>;

/// One input or output of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name it is known by.
    pub name: String,
    /// The type of its elements; `None` where nobody says.
    pub dtype: Option<DType>,
    /// Its sides, the batch's among them; `None` where nobody says how many there are.
    pub shape: Option<Vec<Side>>,
}

impl TensorSpec {
    /// A tensor of which the name alone is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), dtype: None, shape: None }
    }
}

/// The inputs and outputs of a network, in its own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// In the order in which [`Model::forward`](crate::Model::forward) takes them; `None` where nobody knows
    /// how many there are.
    pub inputs: Option<Vec<TensorSpec>>,
    /// In the order in which [`Model::forward`](crate::Model::forward) gives them; `None` where nobody knows
    /// how many there are.
    pub outputs: Option<Vec<TensorSpec>>,
}
