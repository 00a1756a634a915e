//! scikit-learn's models behind the `tensor` handler without a word of configuration: what clients get is what
//! scikit-learn itself predicted of the same rows (`tests/parity/sklearn`).

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use mar::PackOptions;
use mar_engine::{LoadRequest, Overrides, VersionState};
use serde_json::{Map, Value, json};

use crate::support::http::{Answer, agent, answer, get, post};
use crate::support::server::{TestServer, settings};
use crate::support::store::{Store, repository};

/// How far a probability may be from scikit-learn's, which calculates in double precision and sums in another order.
const NEAR: f64 = 1e-6;
/// Rows of one call; the whole table is several.
const CALL: usize = 250;

/// A model of the folder: its file, and the table that it is held against.
#[derive(Clone, Copy)]
struct Model {
    file: &'static str,
    table: &'static str,
}

const CLASSIFIERS: [Model; 8] = [
    Model { file: "forest", table: "forest" },
    Model { file: "forest_zipmap", table: "forest" },
    Model { file: "forest_texts", table: "forest_texts" },
    Model { file: "forest_texts_zipmap", table: "forest_texts" },
    Model { file: "people_forest", table: "people_forest" },
    Model { file: "people_forest_zipmap", table: "people_forest" },
    Model { file: "people_linear", table: "people_linear" },
    Model { file: "people_linear_zipmap", table: "people_linear" },
];

impl Model {
    fn server(self, overrides: Overrides) -> (Store, TestServer) {
        let store = Store::new();
        let archive = store.packed(PackOptions {
            model_name: "m".into(),
            handler: "tensor".into(),
            serialized_file: Some(
                repository("tests/parity/sklearn").join(format!("{}.onnx", self.file)),
            ),
            ..PackOptions::default()
        });
        let runtime = Arc::new(mar_runtime::Onnx::start());
        let server = TestServer::start(settings(), mar_handlers::all(), runtime);
        let request = LoadRequest { archive, overrides, ..LoadRequest::default() };
        server.engine.load_as(&request).unwrap();
        assert_eq!(server.state("m"), VersionState::Ready, "scripts/setup fetches ONNX Runtime");
        (store, server)
    }

    /// The names of label and probabilities, as the exporter calls them.
    fn outputs(self) -> [&'static str; 2] {
        if self.file.ends_with("_zipmap") {
            ["output_label", "output_probability"]
        } else {
            ["label", "probabilities"]
        }
    }
}

/// Rows as clients send them, and what scikit-learn made of each.
struct Table {
    rows: Vec<Value>,
    predicted: Vec<Value>,
    /// What its probabilities are called, by which row they are of and of which class.
    classes: Vec<String>,
    probabilities: Vec<Vec<f64>>,
    distances: Vec<Vec<f64>>,
}

impl Table {
    fn read(name: &str) -> Self {
        let file = repository("tests/parity/sklearn").join(format!("{name}.json.gz"));
        let mut table: Value =
            serde_json::from_reader(GzDecoder::new(File::open(file).unwrap())).unwrap();
        let mut list = |key: &str| match table[key].take() {
            Value::Array(values) => values,
            _ => Vec::new(),
        };
        let numbers = |values: Vec<Value>| values.iter().map(numbers).collect();
        let text = |class: &Value| class.as_str().map_or_else(|| class.to_string(), str::to_owned);
        let made = Self {
            rows: list("rows"),
            predicted: list("predicted"),
            classes: list("classes").iter().map(text).collect(),
            probabilities: numbers(list("probabilities")),
            distances: numbers(list("distances")),
        };
        assert_eq!((made.rows.len(), made.predicted.len()), (1000, 1000));
        made
    }

    /// Holds one row's answer against what scikit-learn predicted.
    fn check(&self, model: Model, row: usize, told: &Value) {
        let [label, probabilities] = model.outputs();
        let of = format!("{}, row {row}: {told}", model.file);
        assert_eq!(told[label], self.predicted[row], "{of}");
        let told = match &told[probabilities] {
            Value::Object(named) => {
                assert!(model.file.ends_with("_zipmap"), "{of}");
                let mut classes = self.classes.clone();
                classes.sort();
                let mut names: Vec<&String> = named.keys().collect();
                names.sort();
                assert_eq!(names, classes.iter().collect::<Vec<_>>(), "{of}");
                self.classes.iter().map(|class| named[class].as_f64().unwrap()).collect()
            }
            list => numbers(list),
        };
        near(&told, &self.probabilities[row], &of);
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn near(told: &[f64], expected: &[f64], of: &str) {
    assert_eq!(told.len(), expected.len(), "{of}");
    for (told, expected) in told.iter().zip(expected) {
        assert!((told - expected).abs() < NEAR, "{of}: {told}, not {expected}");
    }
}

fn predict(server: &TestServer, row: &Value) -> Answer {
    let request = agent().post(server.inference("/predictions/m"));
    let request = request.header("content-type", "application/json");
    answer(request.send(row.to_string()))
}

fn instances(server: &TestServer, rows: &[Value]) -> Vec<Value> {
    let body = json!({ "instances": rows }).to_string();
    let told = post(&server.inference("/v1/models/m:predict"), body.as_bytes());
    assert_eq!(told.status, 200, "{}", told.text());
    let Value::Array(predictions) = told.json()["predictions"].take() else { panic!("a list") };
    assert_eq!(predictions.len(), rows.len());
    predictions
}

fn infer(server: &TestServer, request: &Value) -> Answer {
    post(&server.inference("/v2/models/m/infer"), request.to_string().as_bytes())
}

/// The inputs of a v2 request with these rows, as the model's metadata names and types them.
fn columns(server: &TestServer, rows: &[Value]) -> Vec<Value> {
    let metadata = get(&server.inference("/v2/models/m")).json();
    let inputs = metadata["inputs"].as_array().unwrap().iter();
    let column = |input: &Value| {
        let name = input["name"].as_str().unwrap();
        let cell = |row: &Value| match row {
            Value::Array(cells) => cells.clone(),
            row => vec![row[name].clone()],
        };
        let data: Vec<Value> = rows.iter().flat_map(cell).collect();
        let shape = [rows.len(), data.len() / rows.len()];
        json!({ "name": name, "datatype": input["datatype"], "shape": shape, "data": data })
    };
    inputs.map(column).collect()
}

#[test]
fn every_row_of_every_classifier_is_predicted_as_scikit_learn_does() {
    for model in CLASSIFIERS {
        let table = Table::read(model.table);
        let (_store, server) = model.server(Overrides::default());
        for (chunk, rows) in table.rows.chunks(CALL).enumerate() {
            for (place, told) in instances(&server, rows).iter().enumerate() {
                table.check(model, chunk * CALL + place, told);
            }
        }
        for (place, row) in table.rows.iter().take(20).enumerate() {
            let told = predict(&server, row);
            assert_eq!(told.status, 200, "{}", told.text());
            table.check(model, place, &told.json());
        }
    }
}

#[test]
fn full_batches_of_32_make_no_difference() {
    let overrides = || Overrides {
        batch_size: Some(32),
        // No test outlives it: a batch goes once it is full.
        max_batch_delay: Some(Duration::from_secs(1000)),
        ..Overrides::default()
    };
    for model in CLASSIFIERS.into_iter().filter(|model| model.file.contains("people_forest")) {
        let table = Table::read(model.table);
        let (_store, server) = model.server(overrides());
        for (batch, rows) in table.rows.chunks_exact(32).enumerate() {
            for (place, told) in instances(&server, rows).iter().enumerate() {
                table.check(model, batch * 32 + place, told);
            }
        }
    }
}

#[test]
fn rows_as_tensors_of_the_open_inference_protocol_are_predicted_alike() {
    for model in CLASSIFIERS {
        let table = Table::read(model.table);
        let (_store, server) = model.server(Overrides::default());
        // A number that is missing has no place in a list of numbers.
        let is_whole = |row: &usize| !table.rows[*row].to_string().contains("null");
        let places: Vec<usize> = (0..table.rows.len()).filter(is_whole).collect();
        let rows: Vec<Value> = places.iter().map(|place| table.rows[*place].clone()).collect();
        let told = infer(&server, &json!({ "inputs": columns(&server, &rows) }));
        assert_eq!(told.status, 200, "{}", told.text());
        let told = told.json();
        let [label, probabilities] = model.outputs();
        let output = |name: &str| {
            let mut outputs = told["outputs"].as_array().unwrap().iter();
            outputs.find(|output| output["name"] == name).unwrap()
        };
        assert_eq!(output(probabilities)["datatype"], "FP32");
        assert_eq!(output(probabilities)["shape"], json!([rows.len(), table.classes.len()]));
        let probabilities = numbers(&output(probabilities)["data"]);
        let each = probabilities.chunks_exact(table.classes.len());
        // A dictionary's keys are sorted, as are scikit-learn's classes: the columns are the same.
        for (index, (row, probabilities)) in places.iter().zip(each).enumerate() {
            let of = format!("{}, row {row}", model.file);
            assert_eq!(output(label)["data"][index], table.predicted[*row], "{of}");
            near(probabilities, &table.probabilities[*row], &of);
        }
    }
}

#[test]
fn a_matrix_of_bytes_is_answered_in_bytes() {
    let model = CLASSIFIERS[1];
    let table = Table::read(model.table);
    let (_store, server) = model.server(Overrides::default());
    #[expect(clippy::cast_possible_truncation, reason = "the table has single precision")]
    let row = |row: &Value| numbers(row).into_iter().flat_map(|x| (x as f32).to_le_bytes());
    let bytes: Vec<u8> = table.rows.iter().flat_map(row).collect();
    let request = json!({
        "inputs": [{ "name": "X", "datatype": "FP32", "shape": [1000, 4],
            "parameters": { "binary_data_size": bytes.len() } }],
        "outputs": [{ "name": "output_probability", "parameters": { "binary_data": true } }],
    })
    .to_string();
    let told = agent()
        .post(server.inference("/v2/models/m/infer"))
        .header("inference-header-content-length", request.len().to_string());
    let told = answer(told.send([request.as_bytes(), &bytes].concat()));
    assert_eq!(told.status, 200, "{}", String::from_utf8_lossy(&told.body));
    let length = told.header("inference-header-content-length").unwrap().parse().unwrap();
    let numbers = told.body[length..].as_chunks::<4>().0;
    let numbers: Vec<f64> = numbers.iter().map(|x| f32::from_le_bytes(*x).into()).collect();
    assert_eq!(numbers.len(), 3000);
    for (row, numbers) in numbers.chunks_exact(3).enumerate() {
        near(numbers, &table.probabilities[row], &format!("row {row}"));
    }
}

#[test]
fn numbers_and_clusters_are_predicted_as_scikit_learn_does() {
    let model = Model { file: "regressor", table: "regressor" };
    let table = Table::read(model.table);
    let (_store, server) = model.server(Overrides::default());
    for (chunk, rows) in table.rows.chunks(CALL).enumerate() {
        for (place, told) in instances(&server, rows).iter().enumerate() {
            let row = chunk * CALL + place;
            let expected = table.predicted[row].as_f64().unwrap();
            near(&numbers(told), &[expected], &format!("regressor, row {row}"));
        }
    }
    let model = Model { file: "clusters", table: "clusters" };
    let table = Table::read(model.table);
    let (_store, server) = model.server(Overrides::default());
    for (chunk, rows) in table.rows.chunks(CALL).enumerate() {
        for (place, told) in instances(&server, rows).iter().enumerate() {
            let row = chunk * CALL + place;
            assert_eq!(told["label"], table.predicted[row], "clusters, row {row}");
            let scores = numbers(&told["scores"]);
            let nearest = (0..3).min_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            assert_eq!(nearest.unwrap() as u64, told["label"].as_u64().unwrap(), "row {row}");
            let distances = table.distances[row].iter().zip(&scores);
            for (expected, told) in distances {
                assert!((expected - told).abs() < 1e-5, "clusters, row {row}: {told}");
            }
        }
    }
}

#[test]
fn the_metadata_is_the_files_and_classes_have_their_names() {
    let model = CLASSIFIERS[5];
    let table = Table::read(model.table);
    let (_store, server) = model.server(Overrides::default());
    let metadata = get(&server.inference("/v2/models/m")).json();
    let tensor = |name: &str, datatype: &str, shape: &[i64]| {
        let pairs = [("name", json!(name)), ("datatype", json!(datatype)), ("shape", json!(shape))];
        Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
    };
    let inputs = [("age", "INT64"), ("hours", "FP32"), ("work", "BYTES"), ("city", "BYTES")];
    assert_eq!(metadata["inputs"], json!(inputs.map(|(name, kind)| tensor(name, kind, &[-1, 1]))));
    let outputs =
        [tensor("output_label", "BYTES", &[-1]), tensor("output_probability", "FP32", &[-1, -1])];
    assert_eq!(metadata["outputs"], json!(outputs));

    let wanted = json!([{ "name": "output_probability", "parameters": { "classification": 1 } }]);
    let inputs = columns(&server, &table.rows[..1]);
    let told = infer(&server, &json!({ "inputs": inputs, "outputs": wanted })).json();
    let best = told["outputs"][0]["data"][0].as_str().unwrap();
    let named: Vec<&str> = best.split(':').collect();
    assert_eq!(named.last().copied(), table.predicted[0].as_str(), "{best}");
}

#[test]
fn a_row_that_does_not_fit_fails_alone_and_names_the_column() {
    let model = CLASSIFIERS[5];
    let table = Table::read(model.table);
    let (_store, server) = model.server(Overrides::default());
    let with = |name: &str, value: Value| {
        let mut row = table.rows[0].clone();
        row[name] = value;
        row
    };
    let mut without = table.rows[0].clone();
    without.as_object_mut().unwrap().shift_remove("city");
    for (row, words) in [
        (with("age", json!(3.5)), "input \"age\": 3.5 does not fit int64"),
        (with("age", json!("3")), "input \"age\": invalid type: string"),
        (with("age", Value::Null), "input \"age\": null is no number"),
        (with("work", json!(7)), "input \"work\": 7 is no text; send it in quotes"),
        (with("id", json!(7)), "the model has no input \"id\"; it takes age, hours, work, city"),
        (without, "the input \"city\" is missing"),
        (json!([1, 2.0]), "the list has 2 values; the model takes age, hours, work, city"),
        (json!(table.rows[..2]), "send many as {\"instances\": [...]} to /v1/models/NAME:predict"),
        (json!({ "instances": table.rows[..2] }), "to /v1/models/NAME:predict"),
    ] {
        let (status, _, message) = predict(&server, &row).error();
        assert_eq!(status, 400, "{row}: {message}");
        assert!(message.contains(words), "{row}: {message}");
    }
    // A whole number that is written as a float is one.
    let age = table.rows[0]["age"].as_f64().unwrap();
    table.check(model, 0, &predict(&server, &with("age", json!(age))).json());
    let (status, _, message) = {
        let url = server.inference("/predictions/m?output=output_label&format=raw");
        answer(agent().post(url).send(table.rows[0].to_string())).error()
    };
    assert_eq!(status, 400);
    assert!(message.contains("\"output_label\" is of texts"), "{message}");
}
