//! How long ONNX files take to open: without a cache, with an empty one, and with what the time before left
//! there; and that all of them answer the same.
//!
//! `cargo run --release -p mar-runtime --no-default-features --features onnx --example second_start -- FILE..`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, for whoever runs it")]

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mar_handler::{DType, Epilogue, LoadSpec, Model, Runtime, Tensor};
use mar_runtime::Onnx;

/// A side that may be of any length is so long.
const ANY: usize = 1;
const ROUNDS: usize = 9;

fn main() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("median of {ROUNDS} in milliseconds, on {threads} threads");
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9} {:>8}",
        "file", "MB", "no cache", "1st start", "2nd start", "answers"
    );
    let onnx = Onnx::start();
    for file in env::args().skip(1) {
        let plain = LoadSpec { intra_op_threads: threads, ..LoadSpec::new(&file) };
        let folder = tempfile::tempdir().unwrap();
        let cached = |n: usize| {
            let cache = Some(folder.path().join(n.to_string()));
            LoadSpec { cache, ..plain.clone() }
        };
        let (mut without, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        let mut answers = Vec::new();
        // In turn, so that whatever else the machine does strikes all of them alike.
        for round in 0..ROUNDS {
            for (spec, times) in [
                (&plain, &mut without),
                (&cached(round), &mut first),
                (&cached(round), &mut second),
            ] {
                let begun = Instant::now();
                let model = onnx.load(spec).unwrap();
                times.push(begun.elapsed());
                if round == 0 {
                    answers.push(answer(&onnx, &model, Path::new(&file)));
                }
            }
        }
        let same = answers.iter().all(|answer| *answer == answers[0]);
        println!(
            "{:<24} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>8}",
            Path::new(&file).file_name().unwrap().to_string_lossy(),
            bytes(&file) / 1e6,
            median(&mut without),
            median(&mut first),
            median(&mut second),
            if same { "the same" } else { "DIFFER" }
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "megabytes for people")]
fn bytes(file: &str) -> f64 {
    std::fs::metadata(file).unwrap().len() as f64
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// What it answers to waves; `None` where it takes something else than floats.
fn answer(onnx: &Onnx, model: &Arc<dyn Model>, file: &Path) -> Option<Vec<Tensor>> {
    let inputs = onnx.signature(file).unwrap().inputs?;
    let waves = inputs.iter().map(|input| {
        let sides = input.shape.as_ref().filter(|_| input.dtype == Some(DType::F32))?;
        let sides: Vec<usize> = sides.iter().map(|side| side.unwrap_or(ANY)).collect();
        let count = u16::try_from(sides.iter().product::<usize>() % 60_000).ok()?;
        let wave = (0..sides.iter().product::<usize>())
            .map(|n| f32::from(u16::try_from(n % 997).unwrap_or(count)).sin());
        Tensor::from_vec(&sides, wave.collect()).ok()
    });
    model.forward(waves.collect::<Option<_>>()?, Epilogue::None).ok()
}
