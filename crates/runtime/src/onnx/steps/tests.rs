//! The small networks on the processor, bound as on a device: they give what the host gives.

use std::path::Path;

use mar_handler::{Device, Epilogue};

use super::*;

/// As on a device, but for where its memory is.
fn steps() -> Steps {
    made(Some(Places::of_processor()))
}

fn made(places: Option<Places>) -> Steps {
    let library = Library::start().unwrap();
    Steps::new(&library, &LoadSpec::new(Path::new("none.onnx")), places)
}

/// Scores as a model would leave them, through the small networks where they take them.
fn through(steps: &Steps, outputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
    let Some(first) = outputs.first() else { return apply(outputs, epilogue) };
    let scores = on_device(first);
    if steps.take(epilogue, scores.dtype()) {
        steps.apply(&scores, epilogue)
    } else {
        apply(outputs, epilogue)
    }
}

fn through_steps(outputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
    through(&steps(), outputs, epilogue)
}

mod on_the_processor {
    use super::*;

    fn through_steps(outputs: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        through(&made(None), outputs, epilogue)
    }

    crate::epilogue_tests::epilogue_tests!(through_steps);
}

/// The tensor as a value of its own.
fn on_device(tensor: &Tensor) -> DynValue {
    // The library has to be there before it can look at anything.
    Library::start().unwrap();
    let element = match Input::of(tensor, "scores").unwrap() {
        Input::Borrowed(view) => view.dtype().clone(),
        _ => panic!("numbers"),
    };
    let ValueType::Tensor { ty, .. } = element else { panic!("a tensor") };
    let step = Step::copy(ty, tensor.shape().len());
    let network = steps().network(step).unwrap();
    let view = Input::of(tensor, "scores").unwrap();
    network.run_bound(&[view], 1, &Places::of_processor().device).unwrap().remove(0)
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
                Epilogue::TopK { k: 2 },
            ] {
                let scores = match epilogue {
                    Epilogue::TopK { .. } => scores.clone().reshape(&[1, 3]).unwrap(),
                    _ => scores.clone(),
                };
                let host = apply(vec![scores.clone()], epilogue).unwrap();
                let steps = made((epilogue != Epilogue::TopK { k: 2 }).then(Places::of_processor));
                assert!(steps.take(epilogue, on_device(&scores).dtype()));
                let here = through(&steps, vec![scores], epilogue).unwrap();
                assert_eq!(here.len(), host.len());
                for (here, host) in here.iter().zip(&host) {
                    assert_eq!((here.dtype(), here.shape()), (host.dtype(), host.shape()));
                    let pairs = (0..host.numbers().len())
                        .map(|place| (here.numbers().at(place), host.numbers().at(place)));
                    for (a, b) in pairs {
                        let same = a.total_cmp(&b).is_eq()
                            || (a - b).abs() < 1e-6
                            || (a.is_nan() && b.is_nan());
                        assert!(same, "{a} for {b} of {first}, {second}: {epilogue:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn each_epilogue_is_done_where_it_takes_the_least_time() {
    let kind = |tensor: Tensor| on_device(&tensor).dtype().clone();
    let float = kind(Tensor::from_vec(&[1, 2], vec![1_f32, 2.0]).unwrap());
    let half = kind(Tensor::from_vec(&[1, 2], vec![half::f16::ZERO; 2]).unwrap());
    let whole = kind(Tensor::from_vec(&[1, 2], vec![1_i64, 2]).unwrap());
    let (device, processor) = (steps(), made(None));
    for (epilogue, on_device, on_processor) in [
        (Epilogue::None, false, false),
        (Epilogue::ArgMax { dim: 1 }, true, false),
        (Epilogue::ArgMaxWithProbability { dim: 1 }, true, false),
        (Epilogue::Softmax { dim: 1 }, true, true),
        (Epilogue::TopK { k: 1 }, false, true),
    ] {
        assert_eq!(device.take(epilogue, &float), on_device, "{epilogue:?}");
        assert_eq!(device.take(epilogue, &half), on_device, "{epilogue:?}");
        assert_eq!(processor.take(epilogue, &float), on_processor, "{epilogue:?}");
        assert!(!processor.take(epilogue, &half) && !device.take(epilogue, &whole), "{epilogue:?}");
    }
    let numbers = on_device(&Tensor::from_vec(&[1, 2], vec![1_i64, 2]).unwrap());
    assert_eq!(device.fetched(&numbers).unwrap().as_slice::<i64>().unwrap(), [1, 2]);
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
