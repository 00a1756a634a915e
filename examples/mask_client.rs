//! Sends an image to a served segmentation model and shows what comes back.
//!
//! ```sh
//! cargo run --release --example mask_client -- http://127.0.0.1:8080/predictions/fastunet scene.jpg out
//! ```
//!
//! writes `out/mask.png` (the mask as a palette image), `out/overlay.png` (the image with its classes in
//! colour over it), and prints each class's share.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mar_vision::{DecodeLimits, class_shares, decode, overlay, palette_png, rgb_png};
use serde::Deserialize;

/// How much of the colour shows over the image.
const OPACITY: f32 = 0.55;

/// What `mask_segmenter` answers.
#[derive(Debug, Deserialize)]
struct Answer {
    base64_prediction: String,
    shape: [u32; 2],
    labels: Vec<String>,
    palette: Vec<[u8; 3]>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, image, out] = arguments.as_slice() else {
        bail!("usage: mask_client URL IMAGE OUT_FOLDER");
    };
    let encoded = fs::read(image).with_context(|| format!("cannot read {image}"))?;
    let answer = predict(url, &encoded)?;
    let mask = STANDARD.decode(&answer.base64_prediction).context("the mask is not base64")?;
    let [height, width] = answer.shape;

    let out = Path::new(out);
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let scene = decode(&encoded, &DecodeLimits::default())?;
    let coloured = overlay(&scene, &mask, width, height, &answer.palette, OPACITY)?;
    write(&out.join("mask.png"), &palette_png(&mask, width, height, &answer.palette)?)?;
    write(&out.join("overlay.png"), &rgb_png(&coloured)?)?;
    print_shares(&answer, &mask);
    Ok(())
}

fn predict(url: &str, image: &[u8]) -> Result<Answer> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response =
        agent.post(url).send(image).with_context(|| format!("no answer from {url}"))?;
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
    ensure!(response.status().is_success(), "{url} answers {}: {text}", response.status());
    serde_json::from_str(&text).with_context(|| format!("{url} answers no mask"))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn print_shares(answer: &Answer, mask: &[u8]) {
    println!("{:<14} {:>7}", "class", "share");
    for (label, share) in answer.labels.iter().zip(class_shares(mask, answer.labels.len())) {
        println!("{label:<14} {:>6.2} %", 100.0 * share);
    }
}
