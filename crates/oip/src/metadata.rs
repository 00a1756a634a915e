//! What the server and its models tell of themselves.

use std::collections::BTreeMap;

use mar_engine::{
    DType, Interface, ModelEntry, ModelVersion, Result, Side, TensorSpec, VersionState,
};
use serde::Serialize;

use crate::names::{HANDLER, HANDLER_INPUT, HANDLER_OUTPUT, Named, has_handler};
use crate::{Service, readiness};

/// What is there beyond the protocol's core, by the names that clients look for.
const EXTENSIONS: [&str; 10] = [
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
];

/// The platform of a model that is a handler.
pub(crate) const HANDLER_PLATFORM: &str = "marserve_handler";

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerMetadata {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it can beyond the protocol's core.
    pub extensions: Vec<&'static str>,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelMetadata {
    /// As the client named it.
    pub name: String,
    /// The versions that are ready, the least first; the one that was asked for alone, where one was.
    pub versions: Vec<String>,
    /// What runs it.
    pub platform: String,
    /// What it takes; nothing where that is not known, and [`Self::properties`] say so.
    pub inputs: Vec<TensorMetadata>,
    /// What it gives; as [`Self::inputs`].
    pub outputs: Vec<TensorMetadata>,
    /// What else there is to tell.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorMetadata {
    /// Its name.
    pub name: String,
    /// The type of its elements, in the protocol's word.
    pub datatype: &'static str,
    /// Its sides; -1 is one of any length.
    pub shape: Vec<i64>,
}

impl Service {
    /// What the server is.
    pub fn server_metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: self.config().name.clone(),
            version: self.config().version.clone(),
            extensions: EXTENSIONS.to_vec(),
        }
    }

    /// The names that can be asked for: each model's, and its handler's behind it where it has one.
    pub fn models(&self) -> Vec<String> {
        let names = self.engine().models().into_iter().flat_map(|(name, model)| {
            let handler = has_handler(&model.default).then(|| format!("{name}{HANDLER}"));
            [Some(name), handler]
        });
        names.flatten().collect()
    }

    /// What a model, or its handler, is.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`](mar_engine::ErrorCode::ModelNotFound),
    /// [`ErrorCode::VersionNotFound`](mar_engine::ErrorCode::VersionNotFound);
    /// [`ErrorCode::Unavailable`](mar_engine::ErrorCode::Unavailable) where it did not load.
    pub fn model_metadata(&self, name: &str, version: Option<&str>) -> Result<ModelMetadata> {
        let Named { version: found, handler } = self.find(name, version)?;
        let versions = match version.filter(|version| !version.is_empty()) {
            Some(_) => vec![found.version().to_owned()],
            None => ready_versions(&self.engine().model(found.name())?),
        };
        let name = name.to_owned();
        if handler {
            readiness::opened(&found)?;
            return Ok(of_handler(name, found.name(), versions));
        }
        let interface = readiness::opened(&found)?;
        Ok(of_network(name, &found, versions, &interface))
    }
}

fn of_network(
    name: String,
    version: &ModelVersion,
    versions: Vec<String>,
    interface: &Interface,
) -> ModelMetadata {
    let mut properties = BTreeMap::new();
    if has_handler(version) {
        let text = format!("{}{HANDLER}", version.name());
        properties.insert("handler".to_owned(), text);
    }
    let details = version.execution().filter(|execution| !execution.details.is_empty());
    if let Some(told) = details.and_then(|it| serde_json::to_string(&it).ok()) {
        properties.insert("execution".to_owned(), told);
    }
    let mut told = |what: &str, specs: Option<&[TensorSpec]>| {
        let known = specs.and_then(known);
        if known.is_none() {
            properties.insert(what.to_owned(), unknown(specs.unwrap_or_default()));
        }
        known.unwrap_or_default()
    };
    let inputs = told("inputs", interface.signature.inputs.as_deref());
    let outputs = told("outputs", interface.signature.outputs.as_deref());
    let platform = platform(version.runtime_name().unwrap_or_default()).to_owned();
    ModelMetadata { name, versions, platform, inputs, outputs, properties }
}

fn of_handler(name: String, model: &str, versions: Vec<String>) -> ModelMetadata {
    let tensor = |name: &str| TensorMetadata {
        name: name.to_owned(),
        datatype: DType::Bytes.datatype(),
        shape: vec![-1, 1],
    };
    ModelMetadata {
        name,
        versions,
        platform: HANDLER_PLATFORM.to_owned(),
        inputs: vec![tensor(HANDLER_INPUT)],
        outputs: vec![tensor(HANDLER_OUTPUT)],
        properties: BTreeMap::from([("network".to_owned(), model.to_owned())]),
    }
}

/// Inputs or outputs of which everything is known; `None` where anything is not, so that nobody takes half
/// of them for all.
fn known(specs: &[TensorSpec]) -> Option<Vec<TensorMetadata>> {
    let known = |spec: &TensorSpec| {
        Some(TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.dtype?.datatype(),
            shape: spec.shape.as_deref()?.iter().copied().map(side).collect(),
        })
    };
    specs.iter().map(known).collect()
}

/// What is told where inputs or outputs are not known, with their names where these are.
fn unknown(specs: &[TensorSpec]) -> String {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let but = match names[..] {
        [] => String::new(),
        _ => format!(", but for these names: {}", names.join(", ")),
    };
    format!("unknown{but}; add signature: to model-config.yaml")
}

/// The versions that answer, in the order of their numbers.
fn ready_versions(model: &ModelEntry) -> Vec<String> {
    let ready = model.versions.iter().filter(|version| version.state() == VersionState::Ready);
    let mut versions: Vec<String> = ready.map(|version| version.version().to_owned()).collect();
    versions.sort_by_cached_key(|version| (order(version), version.clone()));
    versions
}

/// What a version is sorted by: its numbers between the points.
fn order(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

/// A side as the protocol has it.
pub(crate) fn side(side: Side) -> i64 {
    side.map_or(-1, |side| i64::try_from(side).unwrap_or(i64::MAX))
}

/// What Triton calls a model of this runtime.
pub(crate) fn platform(runtime: &str) -> &str {
    match runtime {
        "libtorch" => "pytorch_libtorch",
        "ONNX Runtime" => "onnxruntime_onnx",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: Option<DType>, shape: Option<Vec<Side>>) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype, shape }
    }

    #[test]
    fn inputs_are_told_where_all_of_them_are_known() {
        let image = spec("image", Some(DType::F32), Some(vec![None, Some(3), None, Some(224)]));
        let told = known(std::slice::from_ref(&image)).unwrap();
        assert_eq!((told[0].datatype, &told[0].shape[..]), ("FP32", &[-1, 3, -1, 224][..]));
        for half in [spec("x", None, Some(vec![])), spec("x", Some(DType::I64), None)] {
            assert_eq!(known(&[image.clone(), half]), None);
        }
    }

    #[test]
    fn what_is_unknown_says_what_to_do() {
        assert_eq!(unknown(&[]), "unknown; add signature: to model-config.yaml");
        let named = unknown(&[TensorSpec::named("x"), TensorSpec::named("y")]);
        assert!(named.contains("these names: x, y;"), "{named}");
    }

    #[test]
    fn versions_are_in_the_order_of_their_numbers() {
        let mut versions = ["10", "2", "1.10", "1.9", "beta"];
        versions.sort_by_cached_key(|version| order(version));
        assert_eq!(versions, ["1.9", "1.10", "2", "10", "beta"]);
    }
}
