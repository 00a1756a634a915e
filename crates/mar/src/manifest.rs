//! `MAR-INF/MANIFEST.json`: TorchServe's schema, in the order its archiver writes it.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Where the manifest lies in an archive.
pub const MANIFEST_NAME: &str = "MAR-INF/MANIFEST.json";

/// The runtimes that TorchServe's archiver accepts.
pub const RUNTIMES: [&str; 3] = ["python", "python3", "LSP"];

/// The manifest of one model archive. Fields that TorchServe does not name are kept as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// When the archive was made, `dd/mm/YYYY HH:MM:SS`. UTC in archives made by this crate; the
    /// official archiver writes local time and does not say which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_on: Option<String>,
    /// `python`, `python3` or `LSP`.
    #[serde(default = "python")]
    pub runtime: String,
    /// The model itself.
    pub model: ManifestModel,
    /// The version of the archiver that made the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archiver_version: Option<String>,
    /// Fields that are not TorchServe's.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What the manifest says of the model. File names are relative to the archive's root.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestModel {
    /// The name under which the model is served.
    pub model_name: String,
    /// The weights: TorchScript, a state dict, ONNX...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serialized_file: Option<String>,
    /// A built-in handler's name, a `.py` file of the archive, or `module:function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// The Python file that builds an eager model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_file: Option<String>,
    /// The model's version. A bare number is taken as its text, as TorchServe does.
    #[serde(deserialize_with = "text_or_number")]
    pub model_version: String,
    /// Python packages to install for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements_file: Option<String>,
    /// The `model-config.yaml`, under whatever name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_file: Option<String>,
    /// Fields that are not listed here (`description`, `envelope`, `extensions`...).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// The manifest that TorchServe assumes where there is none: runtime `python`, version `1.0`,
    /// and a name taken from the archive's own (characters outside `[A-Za-z0-9_]` become `_`).
    pub fn assumed(archive: &Path) -> Self {
        let file = archive.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let stem = [".tar.gz", ".tgz", ".mar"]
            .iter()
            .find_map(|suffix| file.strip_suffix(suffix))
            .unwrap_or(&file);
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let model = ManifestModel {
            model_name: stem.chars().map(plain).collect(),
            model_version: "1.0".to_owned(),
            ..ManifestModel::default()
        };
        Self {
            created_on: None,
            runtime: python(),
            model,
            archiver_version: None,
            extra: Map::new(),
        }
    }

    /// The manifest's text: JSON indented by two spaces, as the official archiver writes it.
    ///
    /// # Errors
    /// None that a manifest read or built by this crate can cause.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The files that the manifest names, with the field that names each.
    ///
    /// A handler counts where it can only be a file: `x.py`, or `x:function`, which means `x.py`.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let model = &self.model;
        let plain = [
            ("serializedFile", &model.serialized_file),
            ("modelFile", &model.model_file),
            ("requirementsFile", &model.requirements_file),
            ("configFile", &model.config_file),
        ];
        let mut files: Vec<_> = plain
            .into_iter()
            .filter_map(|(field, name)| Some((field, name.clone()?)))
            .filter(|(_, name)| !name.is_empty())
            .collect();
        if let Some(handler) = &model.handler
            && self.runtime != "LSP"
        {
            if let Some((module, _)) = handler.split_once(':') {
                files.push(("handler", format!("{}.py", module.trim_end_matches(".py"))));
            } else if Path::new(handler).extension().is_some_and(|extension| extension == "py") {
                files.push(("handler", handler.clone()));
            }
        }
        files
    }
}

/// Whether a model may have this name: `^[A-Za-z0-9][A-Za-z0-9_\-.]*$`.
pub fn is_model_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn python() -> String {
    "python".to_owned()
}

fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => {
            Err(serde::de::Error::custom(format!("modelVersion must be a string, not {other}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_torchserves_order_and_unknown_ones_are_kept() {
        let text = r#"{
  "createdOn": "01/02/2024 03:04:05",
  "runtime": "python",
  "model": {
    "modelName": "m",
    "serializedFile": "m.pt",
    "handler": "h.py",
    "modelFile": "model.py",
    "modelVersion": "1.0",
    "requirementsFile": "requirements.txt",
    "configFile": "model-config.yaml",
    "envelope": "json"
  },
  "archiverVersion": "0.12.0",
  "description": "kept"
}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(manifest.to_json().unwrap(), text);
        assert_eq!(manifest.model.extra["envelope"], "json");
    }

    #[test]
    fn a_numeric_version_is_its_text_and_a_missing_one_an_error() {
        let version = |text: &str| {
            let model = format!(r#"{{"model": {{"modelName": "m"{text}}}}}"#);
            serde_json::from_str::<Manifest>(&model).map(|manifest| manifest.model.model_version)
        };
        assert_eq!(version(r#", "modelVersion": 1.0"#).unwrap(), "1.0");
        assert_eq!(version(r#", "modelVersion": "2""#).unwrap(), "2");
        assert!(version("").unwrap_err().to_string().contains("modelVersion"));
        assert!(version(r#", "modelVersion": []"#).is_err());
    }

    #[test]
    fn the_assumed_name_comes_from_the_file() {
        let name = |path: &str| Manifest::assumed(Path::new(path)).model.model_name;
        assert_eq!(name("store/my-net.v2.tar.gz"), "my_net_v2");
        assert_eq!(name("fastunet.mar"), "fastunet");
        assert_eq!(name("folder"), "folder");
    }

    #[test]
    fn only_handlers_that_must_be_files_count_as_files() {
        let files = |handler: &str, runtime: &str| {
            let mut manifest = Manifest::assumed(Path::new("m"));
            manifest.model.handler = Some(handler.to_owned());
            runtime.clone_into(&mut manifest.runtime);
            manifest.files()
        };
        assert_eq!(files("image_segmenter", "python"), []);
        assert_eq!(files("h.py", "python"), [("handler", "h.py".to_owned())]);
        assert_eq!(files("h:entry", "python3"), [("handler", "h.py".to_owned())]);
        assert_eq!(files("libh:Class", "LSP"), []);
    }

    #[test]
    fn model_names_follow_torchserves_expression() {
        for name in ["a", "9", "resnet-18", "a_b.c"] {
            assert!(is_model_name(name), "{name}");
        }
        for name in ["", "-a", ".a", "_a", "a b", "a/b", "é"] {
            assert!(!is_model_name(name), "{name}");
        }
    }
}
