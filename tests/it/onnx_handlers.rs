use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mar::Archive;
use mar_engine::{LoadRequest, Overrides, VerifySamples, VersionState};
use mar_server::Settings;
use serde_json::{Value, json};

use crate::support::http::{Answer, agent, answer, get};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// Of numbers, relative to those above 1: the runtimes order their sums differently.
const TOLERANCE: f64 = 1e-5;
const FORMS: [&str; 2] = ["torchscript", "onnx"];

fn parity(file: &str) -> PathBuf {
    repository("tests/parity").join(file)
}

/// An archive of a TorchScript file unpacked, in which the manifest names its twin instead.
fn twin(store: &Store, archive: &Path, network: &str) -> PathBuf {
    let folder = store.path().join("twin");
    Archive::open(archive).unwrap().extract(&folder).unwrap();
    let file = format!("{network}.onnx");
    fs::copy(parity("onnx/twins").join(&file), folder.join(&file)).unwrap();
    let manifest = folder.join("MAR-INF/MANIFEST.json");
    let mut told: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(told["model"]["serializedFile"], format!("{network}.pt"));
    told["model"]["serializedFile"] = file.into();
    fs::write(&manifest, told.to_string()).unwrap();
    folder
}

/// One server of both forms of a network, the known answers of the archive replayed by each.
fn both(archive: &Path, network: &str, batch: usize) -> (Store, TestServer) {
    let store = Store::new();
    let mut settings = Settings { max_request_size: 1_000_000, ..settings() };
    settings.engine.defaults.verify_samples = VerifySamples::Strict;
    let server = TestServer::of_both_runtimes(settings);
    let archives = [archive.to_owned(), twin(&store, archive, network)];
    for (name, archive) in FORMS.into_iter().zip(archives) {
        let overrides = Overrides {
            batch_size: Some(batch),
            // No test outlives it: a batch goes once it is full.
            max_batch_delay: (batch > 1).then_some(Duration::from_secs(1000)),
            ..Overrides::default()
        };
        let named = Some(name.to_owned());
        let request = LoadRequest { archive, name: named, overrides, ..Default::default() };
        server.engine.load_as(&request).unwrap();
        assert_eq!(server.state(name), VersionState::Ready);
    }
    (store, server)
}

/// What a client sends.
struct Sent {
    name: String,
    body: Vec<u8>,
    content_type: &'static str,
}

impl Sent {
    fn files(files: &[&str]) -> Vec<Self> {
        let file = |name: &&str| Self {
            name: (*name).to_owned(),
            body: fs::read(parity(name)).unwrap(),
            content_type: "application/octet-stream",
        };
        files.iter().map(file).collect()
    }

    fn json(body: &Value) -> Self {
        let body = body.to_string();
        Self { name: body.clone(), body: body.into_bytes(), content_type: "application/json" }
    }
}

/// The answers of both forms, all requests at the same time.
fn asked(server: &TestServer, sent: &[Sent], query: &str) -> Vec<[Answer; 2]> {
    let ask = |form: &str, sent: &Sent| {
        let url = server.inference(&format!("/predictions/{form}{query}"));
        let request = agent().post(&url).header("content-type", sent.content_type);
        let answer = answer(request.send(&sent.body));
        assert_eq!(answer.status, 200, "{form}, {}: {}", sent.name, answer.text());
        answer
    };
    thread::scope(|scope| {
        let of = |sent| FORMS.map(|form| scope.spawn(move || ask(form, sent)));
        let begun: Vec<_> = sent.iter().map(of).collect();
        begun.into_iter().map(|pair| pair.map(|asked| asked.join().unwrap())).collect()
    })
}

/// Both hold the same in the same order: names, texts and whole numbers exactly, others within the tolerance.
fn assert_alike(one: &Value, other: &Value, what: &str) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{what}: {one} and {other}");
            a.values().zip(b.values()).for_each(|(a, b)| assert_alike(a, b, what));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{what}: {one} and {other}");
            a.iter().zip(b).for_each(|(a, b)| assert_alike(a, b, what));
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a - b).abs() <= TOLERANCE * a.abs().max(1.0), "{what}: {a} and {b}");
        }
        _ => assert_eq!(one, other, "{what}"),
    }
}

/// Serves a network in both forms, sends each the same, and wants the same answers as JSON.
fn alike(archive: &Path, network: &str, batch: usize, sent: &[Sent]) -> Vec<Value> {
    let (_store, server) = both(archive, network, batch);
    let answers = asked(&server, sent, "").into_iter().zip(sent);
    let compared = |([torchscript, onnx], sent): ([Answer; 2], &Sent)| {
        assert_alike(&torchscript.json(), &onnx.json(), &format!("{network}, {}", sent.name));
        onnx.json()
    };
    answers.map(compared).collect()
}

const IMAGES: [&str; 7] = [
    "handlers/wide.png",
    "handlers/small.png",
    "handlers/gray.png",
    "handlers/palette.png",
    "handlers/alpha.png",
    "handlers/photo.jpg",
    "handlers/gray.jpg",
];

#[test]
fn image_classifier() {
    let archive = parity("handlers/classifier.mar");
    for batch in [1, IMAGES.len()] {
        let answers = alike(&archive, "classifier", batch, &Sent::files(&IMAGES));
        let likeliest = |answer: &Value| answer.as_object().unwrap().keys().next().cloned();
        let found: std::collections::BTreeSet<_> = answers.iter().map(likeliest).collect();
        assert!(found.len() > 1, "one class alone says little: {found:?}");
    }
}

#[test]
fn image_regressor() {
    let archive = parity("fastai/archives/numbers.mar");
    for batch in [1, IMAGES.len()] {
        let answers = alike(&archive, "numbers", batch, &Sent::files(&IMAGES));
        assert_ne!(answers[0], answers[1]);
    }
}

#[test]
fn image_segmenter() {
    let archive = parity("handlers/segmenter.mar");
    for batch in [1, 3] {
        let answers = alike(&archive, "segmenter", batch, &Sent::files(&IMAGES[..3]));
        assert_ne!(answers[0], answers[1]);
    }
}

#[test]
fn mask_segmenter() {
    let (_store, server) = both(&parity("fastai/archives/mask.mar"), "mask", 1);
    let sent = Sent::files(&IMAGES);
    for ([torchscript, onnx], sent) in asked(&server, &sent, "?format=raw").iter().zip(&sent) {
        assert_eq!(torchscript.body.len(), 48 * 64);
        let differ = torchscript.body.iter().zip(&onnx.body).filter(|(a, b)| a != b).count();
        assert_eq!((torchscript.body.len(), differ), (onnx.body.len(), 0), "{}", sent.name);
    }
    let told = |form: &str| get(&server.inference(&format!("/v2/models/{form}"))).json();
    assert_eq!(told("onnx")["inputs"][0]["name"], "image", "the graph's own names");
    assert_eq!(told("onnx")["inputs"][0]["shape"], json!([-1, 3, -1, -1]));
}

#[test]
fn text_classifier() {
    let expected: Value =
        serde_json::from_slice(&fs::read(parity("handlers/expected.json")).unwrap()).unwrap();
    let text = |text: &String| Sent {
        name: text.clone(),
        body: text.clone().into_bytes(),
        content_type: "text/plain",
    };
    let texts: Vec<Sent> = expected["topics"].as_object().unwrap().keys().map(text).collect();
    assert!(texts.len() >= 6);
    alike(&parity("handlers/topics.mar"), "topics", 1, &texts);
    // Texts of one length share a pass.
    let same: Vec<Sent> =
        [(); 3].iter().map(|()| Sent::json(&json!("five words of one text"))).collect();
    alike(&parity("handlers/topics.mar"), "topics", 3, &same);
}

#[test]
fn tensor() {
    let table = |config: &str, network: &str, sent: &[Sent]| {
        let store = Store::new();
        let weights = parity(&format!("handlers/{network}.pt"));
        for batch in [1, sent.len()] {
            let archive = store.network("tensor", weights.clone(), config, &[]);
            alike(&archive, network, batch, sent);
            fs::remove_file(archive).unwrap();
        }
    };
    let rows = [[0.5, -1.0, 2.0, 3.0], [1e3, 0.0, -7.5, 0.25]].map(|row| Sent::json(&json!(row)));
    table("{}", "table", &rows);
    table("{handler: {activation: softmax}}", "table", &rows);
    let named = [(3, [0.5, 1.5, -2.0]), (0, [9.0, -1.0, 0.0])].map(|(category, numbers)| {
        Sent::json(&json!({ "category": category, "numbers": numbers }))
    });
    let inputs = "{inputs: [{name: category, dtype: int64, shape: []}, {name: numbers}], outputs: [scores, largest]}";
    table(&format!("{{handler: {inputs}}}"), "two_inputs", &named);
}

#[test]
fn columns_of_a_table() {
    let row = |work: &str, grade: u8, age: Value| {
        Sent::json(
            &json!({ "work": work, "grade": grade, "married": grade > 2, "age": age, "hours": 40, "debt": 17.5 }),
        )
    };
    let rows =
        [row(" Private", 1, json!(30)), row("-", 5, Value::Null), row("unheard of", 3, json!(99))];
    for batch in [1, rows.len()] {
        alike(&parity("fastai/archives/row.mar"), "row", batch, &rows);
    }
}

#[test]
fn object_detector() {
    for network in ["faster_rcnn", "ssd"] {
        let store = Store::new();
        let weights = parity(&format!("detector/{network}.pt"));
        let names = [parity("detector/index_to_name.json")];
        let archive = store.network("object_detector", weights, "{}", &names);
        let images = ["detector/a.png", "detector/b.png", "detector/c.png"];
        let answers = alike(&archive, network, 1, &Sent::files(&images));
        assert!(answers[0].as_array().unwrap().len() > 1, "{}", answers[0]);
        // Images of one size share a batch.
        alike(&archive, network, 2, &Sent::files(&images[..2]));
    }
}
