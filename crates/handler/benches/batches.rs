//! Requests' tensors to a batch, and a batch's outputs to each request.

#[path = "../../../benches/calibration.rs"]
mod calibration;

use divan::Bencher;
use mar_handler::{Batch, Tensor};

fn main() {
    divan::main();
}

/// What the example's network sees of one request.
const SEEN: [usize; 3] = [3, 96, 128];

#[divan::bench(args = [1, 8])]
fn stack(bencher: Bencher<'_, '_>, requests: usize) {
    let seen = Tensor::from_vec(&SEEN, vec![0.5_f32; 3 * 96 * 128]).expect("a tensor");
    let batch = vec![vec![seen]; requests];
    bencher.with_inputs(|| batch.clone()).bench_values(Batch::stack);
}

#[divan::bench(args = [1, 8])]
fn split(bencher: Bencher<'_, '_>, requests: usize) {
    let masks = Tensor::from_vec(&[requests, 96, 128], vec![1_u8; requests * 96 * 128]);
    let batch = Batch::new(vec![masks.expect("a tensor")], requests).expect("a batch");
    bencher.with_inputs(|| batch.clone()).bench_values(Batch::split);
}
