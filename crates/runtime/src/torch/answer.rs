//! What a network answers, as tensors with names: one list of them, or one list a request.

use mar_handler::{Error, ErrorCode, Result};
use tch::{IValue, Tensor};

/// A tensor of an answer, and what a dictionary calls it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Option<String>,
    pub(crate) tensor: Tensor,
}

/// The tensors of a module's answer, in order: a tensor, a tuple or list of them, or a dictionary,
/// such as torchvision's segmentation models give, with `out` first.
pub(crate) fn flatten(answer: IValue) -> Result<Vec<Named>> {
    let mut tensors = Vec::new();
    gather(answer, None, &mut tensors);
    if tensors.is_empty() {
        return Err(failed(
            "the model's answer holds no tensor; a forward pass must return a tensor, or a tuple, list or dictionary of them".into(),
        ));
    }
    Ok(tensors)
}

fn gather(answer: IValue, name: Option<&str>, tensors: &mut Vec<Named>) {
    match answer {
        IValue::Tensor(tensor) => tensors.push(Named { name: name.map(str::to_owned), tensor }),
        IValue::TensorList(list) => {
            for tensor in list {
                gather(IValue::Tensor(tensor), name, tensors);
            }
        }
        IValue::Tuple(items) | IValue::GenericList(items) => {
            for item in items {
                gather(item, name, tensors);
            }
        }
        IValue::GenericDict(mut entries) => {
            entries.sort_by_key(|(key, _)| !matches!(key, IValue::String(name) if name == "out"));
            for (key, value) in entries {
                match key {
                    IValue::String(key) => gather(value, Some(&key), tensors),
                    _ => gather(value, name, tensors),
                }
            }
        }
        _ => {}
    }
}

/// The answers of a network that was given a list of `count` inputs, one list of tensors each. torchvision's
/// detectors answer `(losses, detections)` once they are scripted, and the detections alone where a wrapper
/// was; a network that knows of a single input only may answer with what it found in that.
pub(crate) fn each(answer: IValue, count: usize) -> Result<Vec<Vec<Named>>> {
    match without_losses(answer) {
        // Not several tensors for a single input: those are what was found in it.
        IValue::TensorList(list) if list.len() == count => {
            list.into_iter().map(|tensor| flatten(IValue::Tensor(tensor))).collect()
        }
        IValue::GenericList(list) if list.len() == count => list.into_iter().map(flatten).collect(),
        IValue::GenericList(list) => Err(failed(format!(
            "the network was given {count} inputs and answers for {}; if it was traced with one, set batchSize: 1",
            list.len()
        ))),
        answer if count == 1 => Ok(vec![flatten(answer)?]),
        answer => Err(failed(format!(
            "the network was given {count} inputs and answers with {}; it must return a list with an answer for each, or set batchSize: 1",
            described(&answer)
        ))),
    }
}

/// The second of `(losses, detections)`; anything else as it is.
fn without_losses(answer: IValue) -> IValue {
    match answer {
        IValue::Tuple(mut items) => {
            let losses = matches!(items.first(), Some(IValue::GenericDict(_)));
            let list = matches!(items.get(1), Some(IValue::GenericList(_) | IValue::TensorList(_)));
            if losses && list && items.len() == 2 {
                items.swap_remove(1)
            } else {
                IValue::Tuple(items)
            }
        }
        answer => answer,
    }
}

fn described(answer: &IValue) -> String {
    match answer {
        IValue::Tensor(tensor) => format!("one tensor of shape {:?}", tensor.size()),
        IValue::TensorList(list) => format!("a list of {} tensors", list.len()),
        IValue::GenericList(list) => format!("a list of {}", list.len()),
        IValue::Tuple(items) => format!("a tuple of {}", items.len()),
        IValue::GenericDict(entries) => format!("a dictionary of {}", entries.len()),
        _ => "something that is no tensor".to_owned(),
    }
}

fn failed(message: String) -> Error {
    Error::new(ErrorCode::PredictionFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(value: i64) -> IValue {
        IValue::Tensor(Tensor::from(value))
    }

    fn dictionary(entries: &[(&str, i64)]) -> IValue {
        let entry =
            |(name, value): &(&str, i64)| (IValue::String((*name).to_owned()), tensor(*value));
        IValue::GenericDict(entries.iter().map(entry).collect())
    }

    fn told(answer: &[Named]) -> Vec<(Option<&str>, i64)> {
        let one = |named: &Named| i64::try_from(&named.tensor).unwrap();
        answer.iter().map(|named| (named.name.as_deref(), one(named))).collect()
    }

    #[test]
    fn losses_are_left_out_and_every_input_has_its_own_answer() {
        let detections = || {
            IValue::GenericList(vec![
                dictionary(&[("boxes", 1), ("scores", 2)]),
                dictionary(&[("boxes", 3)]),
            ])
        };
        let scripted = IValue::Tuple(vec![IValue::GenericDict(Vec::new()), detections()]);
        for answer in [scripted, detections()] {
            let answers = each(answer, 2).unwrap();
            assert_eq!(told(&answers[0]), [(Some("boxes"), 1), (Some("scores"), 2)]);
            assert_eq!(told(&answers[1]), [(Some("boxes"), 3)]);
        }
    }

    #[test]
    fn an_answer_may_be_a_tensor_or_a_tuple_for_each() {
        let tuples = IValue::GenericList(vec![IValue::Tuple(vec![tensor(1), tensor(2)])]);
        assert_eq!(told(&each(tuples, 1).unwrap()[0]), [(None, 1), (None, 2)]);
        let tensors = IValue::TensorList(vec![Tensor::from(1_i64), Tensor::from(2_i64)]);
        let answers = each(tensors, 2).unwrap();
        assert_eq!((told(&answers[0]), told(&answers[1])), (vec![(None, 1)], vec![(None, 2)]));
    }

    #[test]
    fn a_network_of_one_input_may_answer_without_a_list() {
        let tuple = IValue::Tuple(vec![tensor(1), tensor(2), tensor(3)]);
        assert_eq!(told(&each(tuple, 1).unwrap()[0]), [(None, 1), (None, 2), (None, 3)]);
        let found = dictionary(&[("boxes", 1), ("labels", 2)]);
        assert_eq!(told(&each(found, 1).unwrap()[0]), [(Some("boxes"), 1), (Some("labels"), 2)]);
        let list = IValue::TensorList(vec![Tensor::from(1_i64), Tensor::from(2_i64)]);
        assert_eq!(told(&each(list, 1).unwrap()[0]), [(None, 1), (None, 2)]);
    }

    #[test]
    fn an_answer_for_another_number_of_inputs_says_what_it_is() {
        let one = IValue::GenericList(vec![dictionary(&[("boxes", 1)])]);
        let error = each(one, 2).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PredictionFailed);
        assert!(error.message().contains("given 2 inputs and answers for 1"), "{error}");
        let error = each(IValue::Tuple(vec![tensor(1), tensor(2), tensor(3)]), 2).unwrap_err();
        assert!(error.message().contains("a tuple of 3"), "{error}");
        assert!(each(tensor(1), 2).unwrap_err().message().contains("one tensor of shape []"));
        assert!(each(IValue::None, 1).unwrap_err().message().contains("holds no tensor"));
    }
}
