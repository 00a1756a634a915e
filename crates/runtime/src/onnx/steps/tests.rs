//! The small networks on the processor, bound as on a device: they give what the host gives.

use std::path::Path;

use mar_handler::{Device, Epilogue};

use super::*;

fn steps() -> Steps {
    let library = Library::start().unwrap();
    Steps::new(&library, &LoadSpec::new(Path::new("none.onnx")), Places::of_processor())
}

/// Scores as a model on a device would leave them, through the small networks where they take them.
fn through_steps(outputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
    let steps = steps();
    let Some(first) = outputs.first() else { return apply(outputs, epilogue) };
    let scores = on_device(first);
    if take(epilogue, scores.dtype()) {
        steps.apply(&scores, epilogue)
    } else {
        apply(outputs, epilogue)
    }
}

/// The tensor as a value of its own.
fn on_device(tensor: &Tensor) -> DynValue {
    let element = match Input::of(tensor, "scores").unwrap() {
        Input::Borrowed(view) => view.dtype().clone(),
        _ => panic!("numbers"),
    };
    let ValueType::Tensor { ty, .. } = element else { panic!("a tensor") };
    let step = Step::copy(ty, tensor.shape().len());
    let network = steps().network(step).unwrap();
    let view = Input::of(tensor, "scores").unwrap();
    network.run_bound(&[view], 1, &steps().places.device).unwrap().remove(0)
}

crate::epilogue_tests::epilogue_tests!(through_steps);

#[test]
fn ties_and_numbers_that_are_none_are_as_on_the_host() {
    let values = [1_f32, 7.0, 7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for first in values {
        for second in values {
            let scores = Tensor::from_vec(&[1, 3, 1], vec![first, second, 7.0]).unwrap();
            for epilogue in [
                Epilogue::ArgMax { dim: 1 },
                Epilogue::ArgMaxWithProbability { dim: 1 },
                Epilogue::Softmax { dim: 1 },
            ] {
                let host = apply(vec![scores.clone()], epilogue).unwrap();
                let here = through_steps(vec![scores.clone()], epilogue).unwrap();
                assert_eq!(here.len(), host.len());
                for (here, host) in here.iter().zip(&host) {
                    assert_eq!((here.dtype(), here.shape()), (host.dtype(), host.shape()));
                    let pairs = (0..host.numbers().len())
                        .map(|place| (here.numbers().at(place), host.numbers().at(place)));
                    for (a, b) in pairs {
                        let same = (a - b).abs() < 1e-6 || (a.is_nan() && b.is_nan());
                        assert!(same, "{a} for {b} of {first}, {second}: {epilogue:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_device_takes_floats_and_leaves_lists_to_the_host() {
    let float = on_device(&Tensor::from_vec(&[1, 2], vec![1_f32, 2.0]).unwrap());
    let whole = on_device(&Tensor::from_vec(&[1, 2], vec![1_i64, 2]).unwrap());
    let steps = steps();
    assert!(take(Epilogue::ArgMax { dim: 1 }, float.dtype()));
    assert!(!take(Epilogue::TopK { k: 1 }, float.dtype()));
    assert!(!take(Epilogue::None, float.dtype()));
    assert!(!take(Epilogue::ArgMax { dim: 1 }, whole.dtype()));
    assert_eq!(steps.fetched(&whole).unwrap().as_slice::<i64>().unwrap(), [1, 2]);
}

#[test]
fn a_small_network_is_made_once() {
    let steps = steps();
    let scores = on_device(&Tensor::from_vec(&[1, 2], vec![1_f32, 2.0]).unwrap());
    for _ in 0..3 {
        let winner = steps.apply(&scores, Epilogue::ArgMax { dim: 1 }).unwrap();
        assert_eq!(winner[0].as_slice::<u8>().unwrap(), [1]);
    }
    assert_eq!(steps.made.lock().len(), 1);
    assert_eq!(steps.spec.device, Device::Cpu);
}
