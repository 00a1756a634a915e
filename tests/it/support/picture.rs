//! A handler of pictures so small that every stage can be worked out by hand, and the known answers of one.

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use mar::{
    Digest, Input, Known, KnownAnswer, KnownStage, KnownTensor, SAMPLES_FORMAT, SAMPLES_NAME,
    Sample, Samples, Summary,
};
use mar_handler::{
    Context, Error, Handler, Registration, Request, Response, Result, Stage, Tensor,
};
use serde_json::{Map, Value};

use super::store::Store;

pub(crate) const NAME: &str = "picture";

/// Takes two rows of two pixels, red, green and blue, keeps one row, and subtracts a mean. The answer is the
/// mean of each channel of what the network makes of it, the largest first.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Picture {
    row: usize,
    mean: [f32; 3],
    #[serde(default)]
    reversed: bool,
    labels: [String; 3],
    /// The step that panics.
    #[serde(default)]
    panics: String,
}

pub(crate) fn registration() -> Registration {
    Registration::of::<Picture>(NAME)
}

impl Picture {
    fn step(&self, name: &str) {
        assert_ne!(self.panics, name, "a pixel of lead");
    }
}

impl Handler for Picture {
    fn initialize(context: &Context) -> Result<Self> {
        context.settings()
    }

    fn preprocess(&self, request: &Request) -> Result<Vec<Tensor>> {
        Ok(self.stages(request)?.pop().unwrap().tensors)
    }

    fn stages(&self, request: &Request) -> Result<Vec<Stage>> {
        self.step("decode");
        let sent = request.payload()?.data.to_vec();
        if sent.len() != 12 {
            return Err(Error::invalid_input("a picture has 12 bytes"));
        }
        let row = sent[6 * self.row..6 * self.row + 6].to_vec();
        let channel = |c: usize| {
            let from = if self.reversed { 2 - c } else { c };
            [row[from], row[from + 3]].map(|pixel| f32::from(pixel) / 255.0 - self.mean[c])
        };
        let normalised = (0..3).flat_map(channel).collect();
        let stage = |name, tensor: Result<Tensor>| Ok(Stage { name, tensors: vec![tensor?] });
        Ok(vec![
            stage(Stage::DECODE, Tensor::from_vec(&[2, 2, 3], sent))?,
            stage(Stage::RESIZE, Tensor::from_vec(&[1, 2, 3], row))?,
            stage(Stage::NORMALISE, Tensor::from_vec(&[3, 1, 2], normalised))?,
        ])
    }

    fn postprocess(&self, outputs: Vec<Tensor>, request: &Request) -> Result<Response> {
        self.step("answer");
        let values = outputs[0].as_slice::<f32>()?;
        let means = values.chunks(2).map(|pixels| f32::midpoint(pixels[0], pixels[1]));
        let mut means: Vec<(&String, f32)> = self.labels.iter().zip(means).collect();
        means.sort_by(|a, b| b.1.total_cmp(&a.1));
        if request.parameter("format") == Some("winner") {
            return Ok(Response::bytes("text/plain", means[0].0.clone()));
        }
        let answer = means.into_iter().map(|(label, mean)| (label.clone(), Value::from(mean)));
        Response::json(&answer.collect::<Map<String, Value>>())
    }
}

/// The settings that the known answers below belong to.
pub(crate) const CONFIG: &str =
    "handler: {row: 0, mean: [0.5, 0.25, 0.125], labels: [red, green, blue]}\n";
/// The weights that they belong to.
pub(crate) const WEIGHTS: &str = "times 2";
pub(crate) const PIXELS: [u8; 12] = [255, 0, 51, 102, 204, 0, 9, 8, 7, 6, 5, 4];

/// What is known of [`PIXELS`], worked out by hand: 255, 0, 51 and 102, 204, 0 are 1, 0, 0.2 and 0.4, 0.8, 0.
const NORMALISED: [f32; 6] = [0.5, -0.1, -0.25, 0.55, 0.075, -0.125];
const OUTPUT: [f64; 6] = [1.0, -0.2, -0.5, 1.1, 0.15, -0.25];
const ANSWER: &str = r#"{"red": 0.4, "green": 0.3, "blue": -0.05}"#;

/// A folder archive of a picture's network, with as many samples of [`PIXELS`].
pub(crate) fn archive(store: &Store, version: &str, samples: usize) -> PathBuf {
    let folder = store.fake_with("m", version, WEIGHTS, CONFIG);
    let manifest = folder.join("MAR-INF/MANIFEST.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"echo\"", &format!("\"{NAME}\""))).unwrap();
    if samples > 0 {
        know(&folder, (0..samples).map(|index| sample(&folder, index)).collect());
    }
    folder
}

/// Writes the index of an archive's known answers.
pub(crate) fn know(folder: &Path, samples: Vec<Sample>) {
    let index = Samples { format: SAMPLES_FORMAT, samples };
    fs::write(folder.join(SAMPLES_NAME), serde_json::to_vec(&index).unwrap()).unwrap();
}

/// One sample with all that is known of it; its files are written.
pub(crate) fn sample(folder: &Path, index: usize) -> Sample {
    let write = |name: &str, bytes: &[u8]| {
        let name = format!("samples/{index}.{name}");
        fs::create_dir_all(folder.join("samples")).unwrap();
        fs::write(folder.join(&name), bytes).unwrap();
        name
    };
    let bytes = |stage: &str, shape: &[usize], values: &[u8], means: &[f64]| KnownStage {
        stage: stage.into(),
        tensors: vec![KnownTensor {
            dtype: "uint8".into(),
            shape: shape.to_vec(),
            sha256: Digest::of(values).to_string(),
            channel_means: means.to_vec(),
            copy: Some(write(stage, values)),
        }],
    };
    let floats: Vec<u8> = NORMALISED.iter().flat_map(|value| value.to_le_bytes()).collect();
    let halves: Vec<u8> =
        NORMALISED.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
    let normalised = KnownTensor {
        dtype: "float32".into(),
        shape: vec![3, 1, 2],
        sha256: Digest::of(&floats).to_string(),
        channel_means: vec![0.2, 0.15, -0.025],
        copy: Some(write("normalise", &halves)),
    };
    let answer = |query: &[(&str, &str)], content_type: &str, name: &str, body: &str| KnownAnswer {
        query: query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        file: write(name, body.as_bytes()),
        content_type: content_type.into(),
        tolerance: 1e-4,
        agreement: 1.0,
    };
    Sample {
        name: format!("picture-{index}"),
        input: Input {
            file: write("input", &PIXELS),
            content_type: Some("image/x-tiny".into()),
            sha256: Digest::of(&PIXELS).to_string(),
        },
        known: Known {
            made_by: Some("pencil and paper".into()),
            stages: vec![
                bytes("decode", &[2, 2, 3], &PIXELS, &[93.0, 54.25, 15.5]),
                bytes("resize", &[1, 2, 3], &PIXELS[..6], &[178.5, 102.0, 25.5]),
                KnownStage { stage: "normalise".into(), tensors: vec![normalised] },
            ],
            output: vec![Summary {
                name: None,
                dtype: "float32".into(),
                shape: vec![3, 1, 2],
                min: -0.5,
                max: 1.1,
                mean: 1.3 / 6.0,
                // The squares add up to 2.585.
                std: (2.585_f64 / 6.0 - (1.3_f64 / 6.0).powi(2)).sqrt(),
                values: OUTPUT.to_vec(),
            }],
            answers: vec![
                answer(&[], "application/json", "answer.json", ANSWER),
                answer(&[("format", "winner")], "text/plain", "winner.txt", "red"),
            ],
        },
    }
}
