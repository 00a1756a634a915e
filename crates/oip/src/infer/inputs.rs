//! What a client sends as inputs, against what the network takes.

use mar_engine::{DType, Error, Interface, Result, Side, Tensor, TensorSpec};

use crate::InputTensor;
use crate::infer::of_tensor;
use crate::quoted::{Quoted, Sides, list, sides};
use crate::shared_memory::{Place, SharedMemory};

/// The inputs in the order in which the network takes them, each checked against what is known of it.
///
/// # Errors
/// [`ErrorCode::InvalidInput`](mar_engine::ErrorCode::InvalidInput) naming the input that is wrong, missing,
/// or not the network's.
pub(super) fn ordered(
    model: &str,
    interface: &Interface,
    inputs: Vec<InputTensor>,
) -> Result<Vec<InputTensor>> {
    let specs = interface.signature.inputs.as_deref();
    let places = places(model, specs, &inputs)?;
    for (input, place) in inputs.iter().zip(&places) {
        let spec = specs.and_then(|specs| specs.get(*place));
        check(input, spec, interface).map_err(|error| of_tensor("input", &input.name, &error))?;
    }
    if interface.batched {
        check_rows(interface.max_rows, &inputs)?;
    }
    let mut placed: Vec<(usize, InputTensor)> = places.into_iter().zip(inputs).collect();
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, input)| input).collect())
}

/// An input's tensor, under its name: what was sent, or what lies in shared memory.
pub(super) fn tensor(input: InputTensor, memory: &SharedMemory) -> Result<Tensor> {
    let InputTensor { name, dtype, shape, parameters, data } = input;
    let data = match (data, Place::of(&parameters)?) {
        (Some(data), None) => data,
        (None, Some(place)) => {
            // Before so much is read.
            if let Some(bytes) = dtype.bytes_of(&shape) {
                check_size(dtype, &shape, bytes as u64, place.byte_size())?;
            }
            memory.read(&place)?
        }
        (Some(_), Some(_)) => {
            return Err(Error::invalid_input("it has data and a shared memory region; send one"));
        }
        (None, None) => {
            return Err(Error::invalid_input(
                "it has no data; send data, a binary tensor or a shared memory region",
            ));
        }
    };
    if dtype.size().is_some() {
        let bytes = dtype.bytes_of(&shape).ok_or_else(|| {
            Error::invalid_input(format!("shape {} is of no tensor in any memory", sides(&shape)))
        })?;
        check_size(dtype, &shape, bytes as u64, data.len() as u64)?;
    }
    if dtype == DType::Bool && data.iter().any(|&byte| byte > 1) {
        return Err(Error::invalid_input("a BOOL is a byte of 0 or 1, and here is another"));
    }
    let tensor = Tensor::from_bytes(dtype, &shape, data)
        .map_err(|error| Error::invalid_input(error.message()))?;
    Ok(tensor.named(name))
}

fn check_size(dtype: DType, shape: &[usize], wanted: u64, found: u64) -> Result<()> {
    if wanted == found {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "{} of shape {} takes {wanted} bytes, and here are {found}",
        dtype.datatype(),
        sides(shape)
    )))
}

/// Which of the network's inputs each one is.
fn places(model: &str, specs: Option<&[TensorSpec]>, inputs: &[InputTensor]) -> Result<Vec<usize>> {
    let known = |specs: &[TensorSpec]| list(specs.iter().map(|spec| spec.name.as_str()));
    let Some(specs) = specs else { return Ok(unknown_places(inputs)) };
    let by_number = specs.iter().all(|spec| number(&spec.name).is_some());
    let mut places = Vec::with_capacity(inputs.len());
    for input in inputs {
        let named = specs.iter().position(|spec| spec.name == input.name);
        let numbered = || number(&input.name).filter(|n| by_number && *n < specs.len());
        let place = named.or_else(numbered).ok_or_else(|| {
            Error::invalid_input(format!(
                "unexpected input {} for model {}; its inputs: {}",
                Quoted(&input.name),
                Quoted(model),
                known(specs)
            ))
        })?;
        if places.contains(&place) {
            let message = format!("input {} is given twice", Quoted(&specs[place].name));
            return Err(Error::invalid_input(message));
        }
        places.push(place);
    }
    let missing: Vec<&str> = specs
        .iter()
        .enumerate()
        .filter(|(place, _)| !places.contains(place))
        .map(|(_, spec)| spec.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(places);
    }
    Err(Error::invalid_input(format!(
        "expected {} inputs for model {} and got {}; missing: {}",
        specs.len(),
        Quoted(model),
        inputs.len(),
        list(missing.into_iter())
    )))
}

/// By the numbers at the ends of their names where those are exactly places, else in the order given.
fn unknown_places(inputs: &[InputTensor]) -> Vec<usize> {
    let numbers: Option<Vec<usize>> = inputs.iter().map(|input| number(&input.name)).collect();
    let is_order = |numbers: &Vec<usize>| {
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.iter().copied().eq(0..inputs.len())
    };
    numbers.filter(is_order).unwrap_or_else(|| (0..inputs.len()).collect())
}

/// The place that a name such as `INPUT__0` tells.
pub(super) fn number(name: &str) -> Option<usize> {
    let (_, number) = name.rsplit_once("__")?;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten()
}

/// What is known of one input.
fn check(input: &InputTensor, spec: Option<&TensorSpec>, interface: &Interface) -> Result<()> {
    if let Some(wanted) = spec.and_then(|spec| spec.dtype)
        && wanted != input.dtype
    {
        return Err(Error::invalid_input(format!(
            "datatype is {}, and the model takes {}",
            input.dtype.datatype(),
            wanted.datatype()
        )));
    }
    if let Some(wanted) = spec.and_then(|spec| spec.shape.as_deref()) {
        if !fits(&input.shape, wanted) {
            return Err(Error::invalid_input(format!(
                "shape is {}, and the model takes {}",
                sides(&input.shape),
                Sides(wanted)
            )));
        }
    } else if interface.batched && input.shape.is_empty() {
        return Err(Error::invalid_input("shape is [], and its first side has to count the rows"));
    }
    Ok(())
}

fn fits(shape: &[usize], wanted: &[Side]) -> bool {
    shape.len() == wanted.len()
        && shape.iter().zip(wanted).all(|(side, wanted)| wanted.is_none_or(|it| it == *side))
}

/// As many rows in each, and no more than the model takes.
fn check_rows(most: Option<usize>, inputs: &[InputTensor]) -> Result<()> {
    let rows = |input: &InputTensor| input.shape.first().copied().unwrap_or_default();
    let Some(first) = inputs.first() else { return Ok(()) };
    if let Some(other) = inputs.iter().find(|input| rows(input) != rows(first)) {
        return Err(Error::invalid_input(format!(
            "input {} has {} rows and input {} has {}; all need as many",
            Quoted(&first.name),
            rows(first),
            Quoted(&other.name),
            rows(other)
        )));
    }
    match most.filter(|most| rows(first) > *most) {
        None => Ok(()),
        Some(most) => Err(Error::invalid_input(format!(
            "input {} has {} rows, which is above max_batch_size {most}",
            Quoted(&first.name),
            rows(first)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mar_engine::Signature;

    use super::*;
    use crate::Parameters;

    fn input(name: &str) -> InputTensor {
        let (dtype, shape) = (DType::U8, vec![1]);
        let parameters = Parameters::new();
        InputTensor {
            name: name.into(),
            dtype,
            shape,
            parameters,
            data: Some(Bytes::from_static(&[0])),
        }
    }

    /// The names in the network's order.
    fn order(specs: Option<&[&str]>, given: &[&str]) -> Result<Vec<String>, String> {
        let inputs = specs.map(|names| names.iter().copied().map(TensorSpec::named).collect());
        let signature = Signature { inputs, outputs: None };
        let interface = Interface { signature, ..Interface::default() };
        let inputs = ordered("m", &interface, given.iter().copied().map(input).collect());
        let inputs = inputs.map_err(|error| error.message().to_owned())?;
        Ok(inputs.into_iter().map(|input| input.name).collect())
    }

    #[test]
    fn names_tell_the_place_and_where_nobody_knows_them_their_numbers() {
        let names = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(order(Some(&["a", "b"]), &["b", "a"]), names(&["a", "b"]));
        assert_eq!(order(Some(&["i__0", "i__1"]), &["x__1", "x__0"]), names(&["x__0", "x__1"]));
        assert_eq!(order(None, &["x__1", "x__0"]), names(&["x__0", "x__1"]));
        for as_given in [&["b", "a"][..], &["x__2", "x__0"], &["x__1", "x__1"], &["x__0", "a"]] {
            assert_eq!(order(None, as_given), names(as_given));
        }
        let twice = order(Some(&["i__0", "i__1"]), &["i__0", "x__0"]);
        assert_eq!(twice.unwrap_err(), "input \"i__0\" is given twice");
        // Numbers are no names where the network has names.
        assert!(order(Some(&["a"]), &["x__0"]).unwrap_err().contains("unexpected input \"x__0\""));
        assert!(order(Some(&["i__0"]), &["x__1"]).unwrap_err().contains("unexpected"));
    }

    #[test]
    fn truth_is_a_byte_of_0_or_1_and_data_comes_from_one_place() {
        let memory = SharedMemory::default();
        let mut of = input("x");
        of.dtype = DType::Bool;
        assert_eq!(tensor(of.clone(), &memory).unwrap().name(), Some("x"));
        of.data = Some(Bytes::from_static(&[2]));
        assert!(tensor(of, &memory).unwrap_err().message().contains("0 or 1"));
        let nowhere = InputTensor { data: None, ..input("x") };
        assert!(tensor(nowhere, &memory).unwrap_err().message().contains("has no data"));
        let strings = InputTensor { dtype: DType::Bytes, ..input("x") };
        let cut = tensor(strings, &memory).unwrap_err();
        assert!(cut.message().contains("string 0") && cut.message().contains("cut off"), "{cut}");
    }
}
