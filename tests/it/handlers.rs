use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mar_engine::VersionState;
use serde_json::json;

use crate::support::fake;
use crate::support::http::{agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::Store;

/// A server of one archive with a built-in handler, whose network answers with what it is given. `files` lie
/// beside the weights; one called `model-config.yaml` configures it, as in the archives of users.
fn served(handler: &str, files: &[(&str, &str)]) -> (Store, TestServer) {
    let store = Store::new();
    let write = |name: &str, text: &str| -> PathBuf {
        let file = store.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let mut options = mar::PackOptions {
        model_name: "m".into(),
        version: "1.0".into(),
        handler: handler.into(),
        serialized_file: Some(write("weights.fake", "echo")),
        runtime: "python".into(),
        export_path: store.path().into(),
        ..mar::PackOptions::default()
    };
    for (name, text) in files {
        let file = write(name, text);
        if *name == "model-config.yaml" {
            options.config_file = Some(file);
        } else {
            options.extra_files.push(file.to_str().unwrap().to_owned());
        }
    }
    let archive = mar::pack(&options, &mut |_, _| ()).unwrap().path;
    let server = TestServer::start(settings(), mar_handlers::all(), fake::runtime().0);
    server.engine.load(None, &archive).unwrap();
    (store, server)
}

#[test]
fn an_archive_without_a_configuration_names_its_classes() {
    let names = r#"{"0": ["n0", "cat"], "1": "dog", "2": "owl"}"#;
    let (_store, server) = served("image_classifier", &[("index_to_name.json", names)]);
    let url = server.inference("/predictions/m");
    let told = post(&url, b"[0.125, 0.5, 0.25, 0.0625]");
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.header("content-type"), Some("application/json"));
    assert_eq!(told.header("x-parity"), Some("exact"));
    let body = "{\n  \"dog\": 0.5,\n  \"owl\": 0.25,\n  \"cat\": 0.125,\n  \"3\": 0.0625\n}";
    assert_eq!(told.text(), body);
    let most = post(&format!("{url}?top_k=1"), b"[0.125, 0.5, 0.25]");
    assert_eq!(most.json(), json!({ "dog": 0.5 }));
    let (code, _, message) = post(&format!("{url}?top_k=some"), b"[0.125, 0.5]").error();
    assert_eq!((code, message.contains("top_k")), (400, true), "{message}");
}

#[test]
fn an_image_comes_as_a_file_or_as_base64_in_json() {
    let image = mar_vision::RgbImage8::new(300, 260, vec![7; 3 * 300 * 260]).unwrap();
    let png = mar_vision::rgb_png(&image).unwrap();
    let encoded = STANDARD.encode(&png);
    let (_store, server) = served("image_classifier", &[]);
    let url = server.inference("/predictions/m");
    let as_json = json!({ "body": encoded }).to_string();
    for body in [&png[..], encoded.as_bytes(), as_json.as_bytes()] {
        // The network gives back the image, which is no list of classes: so it was read, scaled and cut.
        let (code, _, message) = post(&url, body).error();
        assert!(message.contains("[3, 224, 224] for one request"), "{code}: {message}");
    }
    let (code, _, message) = post(&url, b"{\"picture\": 5}").error();
    assert_eq!(code, 400);
    assert!(message.contains("found: picture"), "{message}");
}

#[test]
fn tensors_go_in_and_come_out_in_each_form() {
    let (_store, server) = served("tensor", &[]);
    let url = server.inference("/predictions/m");
    let told = post(&url, b"[[1, 2.5], [3, 4]]");
    assert_eq!((told.status, told.text()), (200, "[[1.0,2.5],[3.0,4.0]]"));
    let saved = post(&format!("{url}?format=npy"), b"[[1, 2.5], [3, 4]]");
    assert_eq!(saved.header("content-type"), Some("application/x-npy"));
    assert_eq!(post(&url, &saved.body).json(), told.json(), "a file is read as it was written");
    let bytes = [1_f32, 2.5, 3.0, 4.0].map(f32::to_le_bytes).concat();
    let raw = agent()
        .post(&url)
        .header("content-type", "application/octet-stream")
        .header("x-shape", "2,2")
        .header("accept", "application/octet-stream");
    let raw = answer(raw.send(&bytes[..]));
    assert_eq!(raw.body, bytes);
    assert_eq!((raw.header("x-shape"), raw.header("x-dtype")), (Some("2,2"), Some("float32")));
    let (code, _, message) = post(&url, b"[[1, 2], [3]]").error();
    assert_eq!(code, 400);
    assert!(message.contains("the list at [1] has 1 entries"), "{message}");
}

#[test]
fn several_inputs_have_names() {
    let config = "handler: {inputs: [{name: ids, dtype: int64}, {name: weight, shape: []}]}";
    let (_store, server) = served("tensor", &[("model-config.yaml", config)]);
    let url = server.inference("/predictions/m");
    let both = json!({ "ids": [7, 8], "weight": 0.5 });
    assert_eq!(post(&url, both.to_string().as_bytes()).json(), both);
    let form =
        ureq::unversioned::multipart::Form::new().text("ids", "[7, 8]").text("weight", "0.5");
    assert_eq!(answer(agent().post(&url).send(form)).json(), both);
    assert_eq!(
        post(&format!("{url}?output=ids"), both.to_string().as_bytes()).json(),
        json!([7, 8])
    );
    let (code, _, message) = post(&url, br#"{"ids": [7, 8.5], "weight": 1}"#).error();
    assert_eq!(code, 400);
    assert!(message.contains(r#"input "ids": 8.5 at [1] does not fit int64"#), "{message}");
}

#[test]
fn instances_are_tensors_too() {
    let (_store, server) = served("tensor", &[]);
    let url = server.inference("/v1/models/m:predict");
    let told = post(&url, br#"{"instances": [[1, 2], [3, 4], {"data": 5}]}"#);
    assert_eq!(told.json(), json!({ "predictions": [[1.0, 2.0], [3.0, 4.0], 5.0] }));
}

#[test]
fn rows_of_a_table_are_numbered_and_normalised() {
    let config = r#"
handler:
  columns:
    categorical:
      - name: workclass
        categories: [" ?", " Private", "no", 3]
      - name: age_na
        missing: age
    continuous:
      - {name: age, fill: 38.0, mean: 40.0, std: 4.0}
      - name: hours
"#;
    let (_store, server) = served("tensor", &[("model-config.yaml", config)]);
    let url = server.inference("/predictions/m");
    // The network gives back what it gets.
    let told = post(&url, br#"{"workclass": " Private", "age": 49, "hours": 40, "sex": "f"}"#);
    assert_eq!(told.text(), r#"{"x_cat":[2,1],"x_cont":[2.25,40.0]}"#);
    let missing = post(&url, br#"{"workclass": "no", "hours": 1}"#);
    assert_eq!(missing.json(), json!({ "x_cat": [3, 2], "x_cont": [-0.5, 1.0] }));
    let rows = br#"{"instances": [{"workclass": 3.0, "hours": 1}, {"age": 40, "hours": 2}]}"#;
    let told = post(&server.inference("/v1/models/m:predict"), rows).json();
    assert_eq!(
        told["predictions"],
        json!([
            { "x_cat": [4, 2], "x_cont": [-0.5, 1.0] },
            { "x_cat": [0, 1], "x_cont": [0.0, 2.0] },
        ])
    );
    for (row, words) in [
        (&br#"{"workclass": "no"}"#[..], r#"column "hours": is missing"#),
        (br#"{"hours": "40"}"#, r#"column "hours": "40" is text"#),
        (br#"{"stunden": 40}"#, "found: stunden"),
    ] {
        let (code, _, message) = post(&url, row).error();
        assert_eq!((code, message.contains(words)), (400, true), "{message}");
    }
}

#[test]
fn numbers_are_read_off_an_image() {
    let config = "handler: {labels: [age, height]}";
    let (_store, server) = served("image_regressor", &[("model-config.yaml", config)]);
    let url = server.inference("/predictions/m");
    // The network gives back what it gets, which as numbers may be what it would answer.
    let told = post(&url, b"[41.5, 0.1]");
    assert_eq!((told.status, told.text()), (200, r#"{"age":41.5,"height":0.1}"#));
    assert_eq!(told.header("x-parity"), Some("exact"));
    let (code, _, message) = post(&url, b"[1, 2, 3]").error();
    assert!(message.contains("gave 3 numbers; the archive names 2"), "{code}: {message}");
}

#[test]
fn a_text_needs_words_and_the_archive_a_vocabulary() {
    let (_store, server) = served("text_classifier", &[("vocab.txt", "<unk>\nhere\n")]);
    let (code, _, message) =
        post(&server.inference("/predictions/m"), "<b>\u{4f60}</b>".as_bytes()).error();
    assert_eq!((code, message.contains("no word")), (400, true), "{message}");

    let (_store, server) = served("text_classifier", &[]);
    let VersionState::Failed(reason) = server.state("m") else { panic!("it loaded") };
    assert!(reason.contains("source_vocab.pt"), "{reason}");
}

#[test]
fn clients_can_ask_what_a_handler_does() {
    let (_store, server) = served("image_classifier", &[("index_to_name.json", r#"{"0": "cat"}"#)]);
    let told = get(&server.management("/models/m?customized=true")).json();
    let told = &told[0]["customizedMetadata"];
    assert_eq!(told["labels"], json!(["cat"]), "{told}");
    let preprocessing = told["preprocessing"].as_str().unwrap();
    assert!(preprocessing.contains("resize the shorter side to 256"), "{preprocessing}");
}
