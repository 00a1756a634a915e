//! Times the way from an image file to a network's planes:
//! `cargo run --release -p mar-vision --example prepare -- photo.jpg [side]`

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use mar_vision::{DecodeLimits, Pipeline, PipelineConfig, Sides, decode};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name an image file")?;
    let side = arguments.next().map_or(Ok(224), |side| side.parse())?;
    let file = std::fs::read(path)?;
    let config = PipelineConfig { size: Some(Sides::One(side)), ..Default::default() };
    let pipeline = Pipeline::new(config)?;
    println!("{}", pipeline.describe());

    let image = decode(&file, &DecodeLimits::default())?;
    let decoding = best_of_20(|| decode(&file, &DecodeLimits::default()).is_ok());
    let whole = best_of_20(|| pipeline.run(&file).is_ok());
    println!("{}x{}: decode {decoding:.2?}, whole {whole:.2?}", image.width(), image.height());
    Ok(())
}

fn best_of_20(work: impl Fn() -> bool) -> Duration {
    let once = |_| {
        let start = Instant::now();
        assert!(work());
        start.elapsed()
    };
    (0..20).map(once).min().unwrap_or_default()
}
