//! Reads the tables of `tests/parity/pipeline`: configurations, and what another library made of them.

use std::path::PathBuf;
use std::sync::LazyLock;

use mar_vision::{Pipeline, PipelineConfig, Prepared, Samples};
use serde_json::Value;

static TABLE: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(&read("golden.json")).unwrap());

pub(crate) fn rows(name: &str) -> &'static [Value] {
    TABLE[name].as_array().unwrap()
}

pub(crate) fn read(name: &str) -> Vec<u8> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/parity/pipeline", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pipeline that a row's configuration declares, with `changes` to its keys.
pub(crate) fn pipeline(row: &Value, changes: &Value) -> Pipeline {
    let mut keys = row["config"].as_object().unwrap().clone();
    keys.extend(changes.as_object().unwrap().clone());
    let config: PipelineConfig = serde_json::from_value(Value::Object(keys)).unwrap();
    Pipeline::new(config).unwrap_or_else(|error| panic!("{row}: {error}"))
}

pub(crate) fn run(pipeline: &Pipeline, row: &Value) -> Prepared {
    pipeline
        .run(&read(row["source"].as_str().unwrap()))
        .unwrap_or_else(|error| panic!("{row}: {error}"))
}

/// The samples as a file of the table holds them.
pub(crate) fn little_endian(samples: &Samples) -> Vec<u8> {
    match samples {
        Samples::U8(levels) => levels.clone(),
        Samples::F16(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Samples::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}
