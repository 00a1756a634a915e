//! What is made of a network's scores on the host: where ONNX Runtime runs it, and does not do so itself.
//!
//! The file that does it is taken in as it is, so that neither library is needed to measure it.

#[path = "../../../benches/calibration.rs"]
mod calibration;
#[path = "../src/epilogue.rs"]
#[expect(dead_code, unused_imports, reason = "its tests, which no benchmark runs")]
mod epilogue;
#[path = "../src/epilogue_tests.rs"]
mod epilogue_tests;

use divan::Bencher;
use epilogue::{BYTE_CLASSES, apply, classes};
use mar_handler::{Epilogue, Tensor};

fn main() {
    divan::main();
}

/// Height and width of masks, of seven classes.
const SIZES: [(usize, usize); 2] = [(96, 128), (384, 512)];

/// Scores among which no class is the largest for long.
fn scores(shape: &[usize]) -> Tensor {
    let mut state = 1_u32;
    let score = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from((state >> 16) as u16) / 8192.0 - 4.0
    };
    Tensor::from_vec(shape, (0..shape.iter().product()).map(score).collect()).expect("scores")
}

#[divan::bench(args = SIZES)]
fn arg_max(bencher: Bencher<'_, '_>, (height, width): (usize, usize)) {
    let scores = scores(&[1, 7, height, width]);
    assert!(classes(scores.shape(), 1).expect("seven") <= BYTE_CLASSES, "the mask is of bytes");
    let outputs = || vec![scores.clone()];
    bencher.with_inputs(outputs).bench_values(|it| apply(it, Epilogue::ArgMax { dim: 1 }));
}

#[divan::bench(args = SIZES)]
fn arg_max_with_probability(bencher: Bencher<'_, '_>, (height, width): (usize, usize)) {
    let scores = scores(&[1, 7, height, width]);
    let outputs = || vec![scores.clone()];
    bencher
        .with_inputs(outputs)
        .bench_values(|it| apply(it, Epilogue::ArgMaxWithProbability { dim: 1 }));
}

#[divan::bench]
fn top_5_of_1000(bencher: Bencher<'_, '_>) {
    let scores = scores(&[8, 1000]);
    let outputs = || vec![scores.clone()];
    bencher.with_inputs(outputs).bench_values(|it| apply(it, Epilogue::TopK { k: 5 }));
}
