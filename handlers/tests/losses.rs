//! What becomes of a network's output, against what FastAI's losses make of it: see `make.py` in
//! `tests/parity/losses`. Where a runtime does the work, FastAI's own numbers stand in for it here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::path::PathBuf;
use std::sync::LazyLock;

use mar_handler::{
    Batch, Context, Device, Epilogue, Handler, Model, Part, Request, Response, Result, Tensor,
};
use mar_vision::{RgbImage8, rgb_png};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Table {
    single: Vec<Case<Vec<f32>, usize>>,
    several: Vec<Case<Vec<f32>, Vec<bool>>>,
    masks: Vec<Case<Mask<f32>, Mask<bool>>>,
}

/// Channels of rows.
type Mask<T> = Vec<Vec<Vec<T>>>;

/// A loss, and for some outputs of a network what the loss makes of them.
#[derive(Deserialize)]
struct Case<Output, Decoded> {
    loss: String,
    threshold: Option<f32>,
    output: Vec<Output>,
    activated: Vec<Output>,
    decoded: Vec<Decoded>,
}

impl<Output, Decoded> Case<Output, Decoded> {
    fn rows(&self) -> impl Iterator<Item = (&Output, &Output, &Decoded)> {
        let both = self.output.iter().zip(&self.activated);
        both.zip(&self.decoded).map(|((output, activated), decoded)| (output, activated, decoded))
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../tests/parity/losses/losses.json")).unwrap()
});

/// A network that gives `raw`, and `softmax` where the runtime is asked for it.
struct Network {
    raw: Tensor,
    softmax: Option<Tensor>,
}

impl Model for Network {
    fn forward(&self, _: Vec<Tensor>, epilogue: Epilogue) -> Result<Vec<Tensor>> {
        Ok(vec![match epilogue {
            Epilogue::None => self.raw.clone(),
            Epilogue::Softmax { dim: 1 } => self.softmax.clone().unwrap(),
            other => panic!("nobody asked for {other:?}"),
        }])
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

fn handler(name: &str, section: &Value) -> Box<dyn Handler> {
    let config = json!({ "handler": section }).as_object().unwrap().clone();
    let context = Context {
        model_name: "m".into(),
        model_version: "1.0".into(),
        model_dir: PathBuf::from("no such folder"),
        config,
        ..Context::default()
    };
    let known = mar_handlers::all().into_iter().find(|known| known.name() == name).unwrap();
    known.initialize(&context).unwrap()
}

/// An answer of this handler, where the network gives this to a request of `body`.
fn answered(
    handler: &dyn Handler,
    network: &Network,
    body: &[u8],
    query: &[(&str, &str)],
) -> Response {
    let part = Part { name: "body".into(), content_type: None, data: body.to_vec().into() };
    let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let request = Request { parts: vec![part], query, ..Request::default() };
    let batch = Batch::stack(vec![handler.preprocess(&request).unwrap()]).unwrap();
    let outputs = handler.inference(network, batch).unwrap().remove(0);
    handler.postprocess(outputs, &request).unwrap()
}

/// Labels and their numbers, in the answer's order.
fn labelled(response: &Response) -> Vec<(String, f32)> {
    let answer: Value = serde_json::from_slice(&response.body).unwrap();
    let entries = answer.as_object().unwrap().iter();
    #[expect(clippy::cast_possible_truncation, reason = "it was of single precision")]
    entries.map(|(label, number)| (label.clone(), number.as_f64().unwrap() as f32)).collect()
}

fn row(values: &[f32]) -> Tensor {
    Tensor::from_vec(&[1, values.len()], values.to_vec()).unwrap()
}

/// A prediction may be this far from FastAI's.
const NEAR: f32 = 1e-6;

#[test]
fn of_one_label_the_likeliest_comes_first() {
    let every = handler("image_classifier", &json!({ "top_k": 5 }));
    for case in &TABLE.single {
        for (output, activated, decoded) in case.rows() {
            let network = Network { raw: row(output), softmax: Some(row(activated)) };
            let told = labelled(&answered(&*every, &network, b"[[[0]]]", &[]));
            assert_eq!(told[0].0, decoded.to_string(), "{}: {output:?}", case.loss);
            assert_eq!(told.len(), output.len());
            for (label, probability) in told {
                let known = activated[label.parse::<usize>().unwrap()];
                assert_eq!(probability.to_bits(), known.to_bits(), "{}: {output:?}", case.loss);
            }
        }
    }
}

#[test]
fn a_table_has_the_same_probabilities() {
    for case in &TABLE.single {
        for (output, activated, decoded) in case.rows() {
            let labels: Vec<String> = (0..output.len()).map(|class| class.to_string()).collect();
            let table = handler("tensor", &json!({ "activation": "softmax", "labels": labels }));
            let network = Network { raw: row(output), softmax: None };
            let told = labelled(&answered(&*table, &network, b"[0]", &[]));
            for ((_, probability), known) in told.iter().zip(activated) {
                assert!((probability - known).abs() <= NEAR, "{}: {output:?}: {told:?}", case.loss);
            }
            // Of equal ones the first, as PyTorch takes it.
            let most = told.iter().map(|(_, p)| *p).fold(f32::MIN, f32::max);
            let first = told.iter().position(|(_, p)| p.total_cmp(&most).is_eq());
            assert_eq!(first, Some(*decoded), "{}: {output:?}", case.loss);
        }
    }
}

#[test]
fn of_several_labels_those_above_the_threshold_are_told() {
    for case in &TABLE.several {
        let section = json!({ "activation": "sigmoid", "threshold": case.threshold.unwrap() });
        let labels = handler("image_classifier", &section);
        for (output, activated, decoded) in case.rows() {
            let network = Network { raw: row(output), softmax: None };
            let mut told = labelled(&answered(&*labels, &network, b"[[[0]]]", &[]));
            told.sort_by(|(a, _), (b, _)| a.cmp(b));
            let known = activated.iter().zip(decoded).enumerate();
            let known: Vec<(String, f32)> = known
                .filter(|(_, (_, is_told))| **is_told)
                .map(|(class, (probability, _))| (class.to_string(), *probability))
                .collect();
            let names =
                |of: &[(String, f32)]| of.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
            assert_eq!(names(&told), names(&known), "{:?}: {output:?}", case.threshold);
            for ((_, ours), (_, theirs)) in told.iter().zip(&known) {
                assert!((ours - theirs).abs() <= NEAR, "{output:?}: {told:?}");
            }
        }
    }
}

#[test]
fn a_mask_of_one_logit_is_one_above_the_threshold() {
    let image = rgb_png(&RgbImage8::new(6, 4, vec![0; 72]).unwrap()).unwrap();
    for case in &TABLE.masks {
        let masks = handler("mask_segmenter", &json!({ "threshold": case.threshold.unwrap() }));
        for (output, _, decoded) in case.rows() {
            let logits = output.concat().concat();
            let raw = Tensor::from_vec(&[1, 1, 4, 6], logits).unwrap();
            let network = Network { raw, softmax: None };
            let told = answered(&*masks, &network, &image, &[("format", "raw")]);
            let known: Vec<u8> = decoded.concat().concat().into_iter().map(u8::from).collect();
            assert_eq!(told.body, known, "{:?}: {output:?}", case.threshold);
        }
    }
}
