use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use serde_json::Value;

use crate::support::faults::every_fault_is_named;
use crate::support::http::{agent, answer, get};
use crate::support::server::TestServer;
use crate::support::store::repository;

/// Probabilities, and numbers as a part of themselves.
const TOLERANCE: f64 = 1e-4;
/// Probabilities nearer than this are equal in single precision: they have no order.
const EQUAL: f64 = 1e-6;
const BATCH: usize = 8;

fn parity(file: &str) -> PathBuf {
    repository("tests/parity/fastai").join(file)
}

fn archive(name: &str) -> PathBuf {
    parity(&format!("archives/{name}.mar"))
}

/// An input and what FastAI says of it.
struct Known(Value);

impl Known {
    /// All of an archive; the first entry has the versions.
    fn all(name: &str) -> Vec<Self> {
        let table = fs::read(parity(&format!("answers/{name}.json"))).unwrap();
        let Value::Array(mut rows) = serde_json::from_slice(&table).unwrap() else {
            panic!("a list")
        };
        assert!(
            rows.remove(0)["made by"]["fastai"].is_string(),
            "the first entry has the versions"
        );
        assert!(rows.len() >= 20, "only {} inputs", rows.len());
        rows.into_iter().map(Self).collect()
    }

    fn name(&self) -> String {
        self.0["input"].as_str().map_or_else(|| self.0["row"].to_string(), str::to_owned)
    }

    fn body(&self) -> Vec<u8> {
        match self.0["input"].as_str() {
            Some(input) => fs::read(parity(input)).unwrap(),
            None => self.0["row"].to_string().into_bytes(),
        }
    }

    fn content_type(&self) -> &str {
        if self.0["row"].is_object() { "application/json" } else { "application/octet-stream" }
    }

    fn labels(&self) -> BTreeSet<&str> {
        self.0["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect()
    }

    fn probability(&self, label: &str) -> f64 {
        self.0["probabilities"][label].as_f64().unwrap_or_else(|| panic!("no label {label}"))
    }

    fn mask(&self) -> Vec<u8> {
        fs::read(parity(self.0["mask"].as_str().unwrap())).unwrap()
    }

    fn numbers(&self) -> Vec<f64> {
        self.0["numbers"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    }
}

fn served(name: &str, batch: usize) -> TestServer {
    TestServer::of_archive(archive(name), name, batch)
}

fn ask(server: &TestServer, name: &str, known: &Known, query: &str) -> Vec<u8> {
    let url = server.inference(&format!("/predictions/{name}{query}"));
    let sent = agent().post(&url).header("content-type", known.content_type()).send(known.body());
    let served = answer(sent);
    assert_eq!(served.status, 200, "{}: {}", known.name(), String::from_utf8_lossy(&served.body));
    served.body
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)))
}

/// Labels with their probabilities, in the order of the answer.
fn probabilities(body: &[u8]) -> Vec<(String, f64)> {
    let Value::Object(labels) = json(body) else { panic!("{}", String::from_utf8_lossy(body)) };
    labels.into_iter().map(|(label, p)| (label, p.as_f64().unwrap())).collect()
}

/// Every label has FastAI's probability.
fn assert_probabilities(served: &[(String, f64)], known: &Known) {
    assert_eq!(served.len(), known.0["probabilities"].as_object().unwrap().len());
    for (label, p) in served {
        let expected = known.probability(label);
        let near = (p - expected).abs() <= TOLERANCE;
        assert!(near, "{}: {label} {p}, FastAI {expected}", known.name());
    }
}

/// No label comes before one that FastAI finds likelier.
fn assert_order(served: &[(String, f64)], known: &Known) {
    for pair in served.windows(2) {
        let [first, second] = [&pair[0].0, &pair[1].0].map(|label| known.probability(label));
        assert!(first > second - EQUAL, "{}: {served:?}", known.name());
    }
}

fn assert_mask(served: &[u8], expected: &[u8], what: &str) {
    assert_eq!(served.len(), expected.len(), "{what}");
    let different = served.iter().zip(expected).filter(|(a, b)| a != b).count();
    assert!(1000 * different <= expected.len(), "{what}: {different} pixels differ");
}

#[test]
fn one_label_is_fastais_with_every_probability_in_order() {
    let server = served("label", 1);
    let mut said = BTreeSet::new();
    let all = Known::all("label");
    for known in &all {
        let answered = probabilities(&ask(&server, "label", known, "?top_k=100"));
        assert_probabilities(&answered, known);
        assert_order(&answered, known);
        assert_eq!(BTreeSet::from([answered[0].0.as_str()]), known.labels(), "{}", known.name());
        said.insert(known.labels());
    }
    assert!(said.len() >= 3, "a classifier that always says {said:?} proves nothing");
}

#[test]
fn several_labels_are_those_that_fastai_chooses() {
    let server = served("labels", 1);
    let mut said = BTreeSet::new();
    let all = Known::all("labels");
    for known in &all {
        let chosen = probabilities(&ask(&server, "labels", known, ""));
        let chosen: BTreeSet<&str> = chosen.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(chosen, known.labels(), "{}", known.name());
        let every = probabilities(&ask(&server, "labels", known, "?top_k=100&threshold=0"));
        assert_probabilities(&every, known);
        assert_order(&every, known);
        said.insert(known.labels());
    }
    assert!(said.len() >= 3, "{said:?}");
}

#[test]
fn a_mask_is_fastais_but_for_a_thousandth_of_its_pixels() {
    let server = served("mask", 1);
    let mut said = BTreeSet::new();
    for known in &Known::all("mask") {
        let expected = known.mask();
        assert_mask(&ask(&server, "mask", known, "?format=raw"), &expected, &known.name());
        said.extend(expected);
    }
    assert!(said.len() >= 3, "{said:?}");
}

#[test]
fn numbers_read_off_an_image_are_fastais() {
    let server = served("numbers", 1);
    let mut said = BTreeSet::new();
    for known in &Known::all("numbers") {
        let expected = known.numbers();
        let answered = json(&ask(&server, "numbers", known, ""));
        let answered = answered.as_array().unwrap();
        assert_eq!(answered.len(), expected.len());
        for (served, expected) in answered.iter().zip(&expected) {
            let off = (served.as_f64().unwrap() - expected).abs();
            assert!(off <= TOLERANCE * expected.abs(), "{}: {served}, {expected}", known.name());
        }
        said.insert(format!("{:.1}", expected[0]));
    }
    assert!(said.len() >= 3, "{said:?}");
}

#[test]
fn a_row_with_holes_has_fastais_label() {
    let server = served("row", 1);
    let all = Known::all("row");
    for known in &all {
        let answered = probabilities(&ask(&server, "row", known, ""));
        assert_probabilities(&answered, known);
        let likeliest = answered.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(BTreeSet::from([likeliest.0.as_str()]), known.labels(), "{}", known.name());
    }
    assert!(all.iter().any(|known| known.0["row"]["age"].is_null()), "no row has a hole");
    assert!(all.iter().map(Known::labels).collect::<BTreeSet<_>>().len() >= 3);
}

/// What eight requests at once are answered, and that they went through the network together.
fn together(name: &str, known: &[Known], query: &str) -> Vec<Vec<u8>> {
    let server = served(name, BATCH);
    let start = Barrier::new(BATCH);
    let bodies = thread::scope(|scope| {
        let ask = |known| {
            let (server, start) = (&server, &start);
            scope.spawn(move || {
                start.wait();
                ask(server, name, known, query)
            })
        };
        let asked: Vec<_> = known.iter().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let metrics = get(&format!("{}/metrics", server.metrics().unwrap()));
    let figure = |part: &str| -> f64 {
        let begin = format!("marserve_batch_size_{part}{{");
        let line = metrics.text().lines().find(|line| line.starts_with(&begin)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let passes = (figure("count"), figure("sum"));
    assert_eq!(passes, (1.0, 8.0), "forward passes, and the requests in them");
    bodies
}

/// Eight different inputs, and what each is answered alone.
fn alone(name: &str, query: &str) -> (Vec<Known>, Vec<Vec<u8>>) {
    let server = served(name, 1);
    let known: Vec<Known> = Known::all(name).into_iter().take(BATCH).collect();
    let bodies = known.iter().map(|known| ask(&server, name, known, query)).collect();
    (known, bodies)
}

#[test]
fn a_classifier_says_the_same_in_a_batch_of_eight_as_alone() {
    let (known, alone) = alone("label", "?top_k=100");
    for (alone, batched) in alone.iter().zip(together("label", &known, "?top_k=100")) {
        let (alone, batched) = (probabilities(alone), probabilities(&batched));
        assert_eq!(alone.len(), batched.len());
        for ((label, p), (batched_label, batched_p)) in alone.iter().zip(&batched) {
            assert_eq!(label, batched_label, "{alone:?}, in a batch {batched:?}");
            assert!((p - batched_p).abs() <= TOLERANCE, "{label}: {p}, in a batch {batched_p}");
        }
    }
}

#[test]
fn a_unet_says_the_same_in_a_batch_of_eight_as_alone() {
    let (known, alone) = alone("mask", "?format=raw");
    let batched = together("mask", &known, "?format=raw");
    for ((known, alone), batched) in known.iter().zip(&alone).zip(&batched) {
        assert_mask(batched, alone, &known.name());
        assert_mask(batched, &known.mask(), &known.name());
    }
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "the inputs have masks of their own");
}

#[test]
fn every_archive_reproduces_what_it_knows() {
    for name in ["label", "labels", "mask", "numbers", "row"] {
        let checked = Command::new(env!("CARGO_BIN_EXE_marserve"))
            .arg("check")
            .arg(archive(name))
            .args(["--device", "cpu", "--json"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(0), "{name}: {said}");
        let stages: &[&str] = match name {
            "row" => &["preprocess", "forward", "answer"],
            _ => &["decode", "resize", "normalise", "forward", "answer"],
        };
        for sample in json(&checked.stdout)["samples"].as_array().unwrap() {
            let reproduced = sample["stages"].as_array().unwrap().iter();
            let reproduced = reproduced.filter(|stage| stage["verdict"] == "reproduced");
            let names: BTreeSet<&str> = reproduced.map(|s| s["stage"].as_str().unwrap()).collect();
            assert_eq!(names, stages.iter().copied().collect(), "{name}: {said}");
        }
    }
}

#[test]
fn faults_put_into_a_classifier_are_named() {
    every_fault_is_named(&archive("label"));
}

#[test]
fn faults_put_into_a_unet_are_named() {
    every_fault_is_named(&archive("mask"));
}

#[test]
fn the_archives_are_small_enough_to_keep() {
    let sizes = |folder: &Path| -> u64 {
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    assert!(sizes(&parity("archives")) < 1_500_000);
}
