use std::path::PathBuf;

use mar_handler::{Epilogue, ErrorCode, Model};
use serde_json::json;

use super::super::model::TorchModel;
use super::*;

/// A fixture, asked for in a form, and tried on numbers of this shape.
fn spec(file: &str, optimize: &str, shape: &[usize]) -> LoadSpec {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let options =
        [("optimize".to_owned(), optimize.into()), ("optimize_seconds".to_owned(), 0.1.into())];
    let options = options.into_iter().collect();
    let inputs = if shape.is_empty() { Vec::new() } else { vec![numbers(shape)] };
    LoadSpec { options, inputs, ..LoadSpec::new(file) }
}

/// Numbers from -1 to 1, other ones in each place.
fn numbers(shape: &[usize]) -> mar_handler::Tensor {
    let count: u16 = shape.iter().product::<usize>().try_into().unwrap();
    let values = (0..count).map(|i| (f32::from(i) * 0.7).sin()).collect();
    mar_handler::Tensor::from_vec(shape, values).unwrap()
}

fn load(spec: &LoadSpec) -> TorchModel {
    TorchModel::load(spec).unwrap()
}

fn answer(model: &TorchModel, shape: &[usize]) -> Vec<f32> {
    let answer = model.forward(vec![numbers(shape)], Epilogue::None).unwrap();
    answer.iter().flat_map(|tensor| tensor.as_slice::<f32>().unwrap().to_vec()).collect()
}

#[track_caller]
fn assert_close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0_f32, |most, value| most.max(value.abs()));
    let differ = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * largest.max(1e-3);
    assert!(!got.iter().zip(expected).any(differ), "{got:?} where {expected:?} is expected");
}

const IMAGE: [usize; 4] = [1, 3, 64, 64];
const FASTUNET: &str = "../../../../examples/street_scenes/fastunet.pt";

#[test]
fn every_form_answers_as_the_network_itself_whatever_the_batch_and_the_image() {
    let sizes = [vec![1, 3, 64, 64], vec![2, 3, 64, 64], vec![5, 3, 32, 96], vec![1, 3, 96, 32]];
    for file in ["images.pt", FASTUNET] {
        let own = load(&spec(file, "none", &[]));
        for form in ["freeze", "channels_last", "inference", "auto"] {
            let model = load(&spec(file, form, &IMAGE));
            for size in &sizes {
                assert_close(&answer(&model, size), &answer(&own, size));
            }
            // Once more where another size was in between.
            assert_close(&answer(&model, &sizes[0]), &answer(&own, &sizes[0]));
        }
    }
}

#[test]
fn what_is_chosen_is_one_of_the_forms_and_their_times_are_told() {
    let told = Value::Object(load(&spec("images.pt", "auto", &IMAGE)).describe());
    let chosen = told["optimize"].as_str().unwrap();
    let times = told["milliseconds"].as_object().unwrap();
    let forms: Vec<&str> = times.keys().map(String::as_str).collect();
    assert_eq!(forms, ["none", "freeze", "channels_last", "inference"]);
    assert!(times.values().all(|time| time.as_f64().unwrap() > 0.0), "{told}");
    // On a busy machine, the smaller ones.
    let timed_on = told["timed_on"].as_str().unwrap();
    assert!(["[1, 3, 64, 64]", "[1, 3, 32, 32]"].contains(&timed_on), "{timed_on}");
    assert!(times.contains_key(chosen), "{told}");
}

#[test]
fn what_is_asked_for_by_name_is_what_runs() {
    for form in ["none", "freeze", "channels_last", "inference"] {
        for (file, shape) in [("images.pt", &IMAGE[..]), ("images.pt", &[]), ("busy.pt", &[4])] {
            let told = Value::Object(load(&spec(file, form, shape)).describe());
            assert_eq!(told, json!({ "optimize": form }), "{file}");
        }
    }
}

#[test]
fn a_network_that_writes_into_itself_is_left_alone_and_not_shared() {
    let model = load(&spec("counter.pt", "auto", &[1, 2]));
    let told = Value::Object(model.describe());
    assert_eq!(told, json!({ "optimize": "none", "not_optimized": "it writes into itself" }));
    assert!(!model.is_shareable());
    let one = |model: &TorchModel| {
        let x = mar_handler::Tensor::from_vec(&[1, 2], vec![1_f32, 2.0]).unwrap();
        model.forward(vec![x], Epilogue::None).unwrap()[0].as_slice::<f32>().unwrap().to_vec()
    };
    assert_eq!((one(&model), one(&model)), (vec![2.0, 4.0], vec![3.0, 6.0]), "from the start");
    let frozen = load(&spec("counter.pt", "freeze", &[1, 2]));
    assert_eq!((one(&frozen), one(&frozen)), (vec![2.0, 4.0], vec![3.0, 6.0]));
    assert!(!frozen.is_shareable());
}

#[test]
fn what_cannot_be_chosen_says_why() {
    for (file, shape, words) in [
        ("images.pt", &[][..], "nobody says what it takes"),
        ("images.pt", &[1, 4, 64, 64], "to have 3 channels, but got 4"),
        ("noise.pt", &[4], "from one pass to the next its answers differ"),
        ("text.pt", &[4], "holds no tensor"),
        ("busy.pt", &[4], "it has loops"),
    ] {
        let told = load(&spec(file, "auto", shape)).describe();
        assert_eq!(told["optimize"], "none", "{file}");
        let reason = told["not_optimized"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
    }
    let mut disabled = spec("images.pt", "auto", &IMAGE);
    disabled.options.insert("DISABLE_OPTIMIZED_EXECUTION".into(), true.into());
    let told = load(&disabled).describe();
    assert_eq!(told["not_optimized"], "its graphs are not to be optimised");
}

#[test]
fn a_pass_that_takes_too_long_to_be_timed_is_not() {
    let mut short = spec("images.pt", "auto", &IMAGE);
    short.options.insert("optimize_seconds".into(), 1e-9.into());
    let told = load(&short).describe();
    let reason = told["not_optimized"].as_str().unwrap();
    assert!(reason.contains("give optimize_seconds more"), "{reason}");
}

#[test]
fn a_pass_that_is_slow_for_that_is_timed_on_smaller_images() {
    let spec = spec(FASTUNET, "auto", &[1, 3, 64, 64]);
    let network = Form::Plain.open(&spec.file, spec.device).unwrap();
    let timed_on = |quick: Duration| {
        let tuning = Tuning { spec: &spec, time: quick };
        let trials = |inputs: &[tch::Tensor]| Trials::of(&network.script, inputs, quick);
        tuning.with_inputs(|inputs| Ok(trials(inputs)?.timed_on())).unwrap()
    };
    assert_eq!(timed_on(Duration::ZERO), "[1, 3, 32, 32]");
    assert_eq!(timed_on(Duration::from_mins(1)), "[1, 3, 64, 64]");
}

#[test]
fn a_form_that_answers_otherwise_is_passed_over_and_refused_by_name() {
    let told = Value::Object(load(&spec("overwritten.pt", "auto", &[1, 2, 2, 2])).describe());
    assert_ne!(told["optimize"], "inference");
    let reason = told["not_optimized"]["inference"].as_str().unwrap();
    assert!(reason.contains("its answers differ: output 1"), "{reason}");
    let error = TorchModel::load(&spec("overwritten.pt", "inference", &[1, 2, 2, 2])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidModel);
    let words = "optimize: inference cannot be had: its answers differ: output 1";
    assert!(error.message().contains(words), "{error}");
    assert!(error.message().ends_with("write auto or none"), "{error}");
}

#[test]
fn freezing_tells_that_a_scripted_network_may_be_shared() {
    let plain = load(&spec("images.pt", "none", &[]));
    assert!(!plain.is_shareable(), "its text has what only training reaches");
    for (form, shape) in [("freeze", &[][..]), ("auto", &[]), ("auto", &IMAGE)] {
        assert!(load(&spec("images.pt", form, shape)).is_shareable(), "{form}");
    }
}

#[test]
fn one_tuned_network_runs_on_several_threads() {
    for form in ["freeze", "channels_last", "inference"] {
        let model = load(&spec("images.pt", form, &IMAGE));
        let expected = answer(&model, &IMAGE);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert_close(&answer(&model, &IMAGE), &expected);
                    }
                });
            }
        });
    }
}
