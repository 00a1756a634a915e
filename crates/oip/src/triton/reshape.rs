//! Tensors of clients with the sides that the network has, and back: `reshape` of a configuration.

use mar_engine::{Error, Network, Result, Side, Tensor};

/// What the network is given of a client's inputs, which are in the network's order.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) where an input cannot have the network's
/// sides.
pub fn to_network(network: &Network, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    if network.reshaped.is_empty() {
        return Ok(inputs);
    }
    let specs = network.signature.inputs.iter().flatten();
    let mut names = specs.map(|spec| spec.name.as_str());
    let change = |tensor: Tensor| {
        let name = names.next().unwrap_or_default();
        match network.reshaped.get(name) {
            None => Ok(tensor),
            Some(sides) => with_sides(tensor, sides, network.max_batch_size > 0)
                .map_err(|why| Error::invalid_input(format!("input \"{name}\" {why}"))),
        }
    };
    inputs.into_iter().map(change).collect()
}

/// What a client is given of the network's outputs, which are in the network's order.
///
/// # Errors
/// [`ErrorCode::PredictionFailed`](mar_engine::ErrorCode::PredictionFailed) where an output cannot have the
/// sides that the configuration says.
pub fn to_client(network: &Network, outputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    if network.reshaped.is_empty() {
        return Ok(outputs);
    }
    let batched = network.max_batch_size > 0;
    let mut specs = network.signature.outputs.iter().flatten();
    let change = |tensor: Tensor| {
        let Some(spec) = specs.next().filter(|spec| network.reshaped.contains_key(&spec.name))
        else {
            return Ok(tensor);
        };
        let sides = spec.shape.as_deref().unwrap_or_default();
        with_sides(tensor, &sides[usize::from(batched && !sides.is_empty())..], batched)
            .map_err(|why| Error::prediction_failed(format!("output \"{}\" {why}", spec.name)))
    };
    outputs.into_iter().map(change).collect()
}

/// The tensor with these sides behind the batch's; a free one takes what is left.
fn with_sides(
    tensor: Tensor,
    sides: &[Side],
    batched: bool,
) -> std::result::Result<Tensor, String> {
    let shape = tensor.shape().to_vec();
    let told = || {
        let told = sides.iter().map(|side| side.map_or("-1".into(), |n| n.to_string()));
        format!(
            "of shape {shape:?} cannot be given the sides [{}]",
            told.collect::<Vec<_>>().join(", ")
        )
    };
    let (rows, rest) = if batched { shape.split_at(1.min(shape.len())) } else { shape.split_at(0) };
    let elements = rest.iter().product::<usize>();
    let fixed = sides.iter().flatten().product::<usize>();
    let free = elements.checked_div(fixed).unwrap_or(0);
    let sides = sides.iter().map(|side| side.unwrap_or(free));
    let wanted: Vec<usize> = rows.iter().copied().chain(sides).collect();
    tensor.reshape(&wanted).map_err(|_| told())
}
