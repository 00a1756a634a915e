//! What an archive says of the tensors that its network takes.

use mar_handler::{DType, Result, TensorSpec};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::section::wrong;

/// What the only input is called where the archive does not say.
pub(super) const UNNAMED: &str = "input";

/// One of a network's inputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// How clients call it.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default = "float32", deserialize_with = "dtype")]
    pub(super) dtype: DType,
    /// The sides of one request's tensor, without the batch's, -1 where a side is free; `None` where all is.
    #[serde(default)]
    pub(super) shape: Option<Vec<i64>>,
}

/// The declared inputs, each with a name of its own.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the input that is wrong.
pub(super) fn checked(inputs: Option<Vec<Input>>) -> Result<Vec<Input>> {
    let one = || vec![Input { name: String::new(), dtype: float32(), shape: None }];
    let mut inputs = inputs.unwrap_or_else(one);
    let count = inputs.len();
    if count == 0 {
        return Err(wrong(&"inputs is empty; leave it out, or name what the network takes"));
    }
    for (index, input) in inputs.iter_mut().enumerate() {
        if input.name.is_empty() {
            input.name = if count == 1 { UNNAMED.into() } else { format!("input_{index}") };
        }
        let shape = input.shape.as_deref().unwrap_or_default();
        if let Some(side) = shape.iter().find(|side| **side < -1) {
            return Err(wrong(&format!(
                "inputs: {:?} has a side of {side}; write -1 for one that is free",
                input.name
            )));
        }
    }
    if let Some(twice) = (1..count).find(|i| inputs[..*i].iter().any(|b| b.name == inputs[*i].name))
    {
        return Err(wrong(&format!("inputs: {:?} stands twice", inputs[twice].name)));
    }
    Ok(inputs)
}

impl Input {
    /// What is wrong with a tensor of this shape, if anything.
    pub(super) fn refuses(&self, shape: &[usize]) -> Option<String> {
        let declared = self.shape.as_deref()?;
        let fits = |(declared, side): (&i64, &usize)| {
            *declared == -1 || usize::try_from(*declared) == Ok(*side)
        };
        let fits = declared.len() == shape.len() && declared.iter().zip(shape).all(fits);
        let sides =
            || format!("shape {shape:?} does not fit {declared:?}, without a batch dimension");
        (!fits).then(sides)
    }

    /// The shape that so many elements have, where at most one side is free.
    pub(super) fn shape_of(&self, elements: usize) -> Option<Vec<usize>> {
        let declared = self.shape.as_deref()?;
        let known: Vec<usize> =
            declared.iter().filter_map(|side| usize::try_from(*side).ok()).collect();
        let product = known.iter().try_fold(1_usize, |product, side| product.checked_mul(*side))?;
        let free = match declared.len() - known.len() {
            0 if product == elements => 0,
            1 if product > 0 && elements.is_multiple_of(product) => elements / product,
            _ => return None,
        };
        Some(declared.iter().map(|side| usize::try_from(*side).unwrap_or(free)).collect())
    }

    /// What the network takes, with the batch's side.
    pub(super) fn spec(&self) -> TensorSpec {
        let side = |side: &i64| usize::try_from(*side).ok();
        let sides =
            |shape: &Vec<i64>| std::iter::once(None).chain(shape.iter().map(side)).collect();
        let shape = self.shape.as_ref().map(sides);
        TensorSpec { name: self.name.clone(), dtype: Some(self.dtype), shape }
    }

    /// What clients are told of it.
    pub(super) fn describe(&self) -> Value {
        json!({ "name": self.name, "dtype": self.dtype.name(), "shape": self.shape })
    }
}

/// A type by the name that NumPy and PyTorch give it.
pub(super) fn by_name(name: &str) -> Option<DType> {
    DTYPES.into_iter().find(|dtype| dtype.name() == name)
}

const DTYPES: [DType; 13] = [
    DType::Bool,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
];

fn float32() -> DType {
    DType::F32
}

fn dtype<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<DType, D::Error> {
    let name = String::deserialize(deserializer)?;
    by_name(&name).ok_or_else(|| {
        let known = DTYPES.map(DType::name).join(", ");
        serde::de::Error::custom(format_args!("inputs: no dtype {name:?}; known: {known}"))
    })
}
