//! What a handler may know of the archive it belongs to.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result, Signature};

/// One model version, as its handler sees it while it initialises.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The name it is served under.
    pub model_name: String,
    /// Its version, as the manifest has it.
    pub model_version: String,
    /// The folder that holds the archive's files.
    pub model_dir: PathBuf,
    /// The whole of `model-config.yaml`; empty where the archive has none.
    pub config: Map<String, Value>,
    /// What the manifest says of the model that the server itself has no use for, by its members' names.
    pub manifest: Map<String, Value>,
    /// What the network takes and gives, as far as its file or `signature:` in `model-config.yaml` says.
    pub signature: Signature,
}

impl Context {
    /// The `handler:` section of `model-config.yaml`; empty where there is none.
    ///
    /// `profile`, which is TorchServe's own switch in that section, is left out: it asks for metrics
    /// and means nothing to a handler.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel) where `handler:` is not a mapping.
    pub fn handler_section(&self) -> Result<Map<String, Value>> {
        match self.config.get("handler") {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(section)) => {
                let mut section = section.clone();
                section.shift_remove("profile");
                Ok(section)
            }
            Some(_) => Err(Error::invalid_model(
                "handler: in model-config.yaml is not a mapping; write one key a line below it",
            )),
        }
    }

    /// The `handler:` section as the handler's own settings.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidModel`](crate::ErrorCode::InvalidModel), naming the key that does not fit.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.handler_section()?)).map_err(|error| {
            Error::invalid_model(format!("handler: in model-config.yaml: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        size: usize,
    }

    fn context(config: Value) -> Context {
        let Value::Object(config) = config else { panic!("a mapping") };
        Context {
            model_name: "m".into(),
            model_version: "1.0".into(),
            config,
            ..Context::default()
        }
    }

    #[test]
    fn settings_come_from_the_handler_section() {
        let settings: Settings =
            context(serde_json::json!({"minWorkers": 1, "handler": {"size": 3, "profile": true}}))
                .settings()
                .unwrap();
        assert_eq!(settings.size, 3);
        assert_eq!(context(serde_json::json!({})).settings::<Settings>().unwrap().size, 0);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = context(serde_json::json!({"handler": {"sise": 3}}))
            .settings::<Settings>()
            .unwrap_err();
        assert!(error.to_string().contains("`sise`"), "{error}");
        assert!(error.to_string().contains("model-config.yaml"), "{error}");
    }

    #[test]
    fn a_section_that_is_no_mapping_is_refused() {
        assert!(context(serde_json::json!({"handler": [1]})).settings::<Settings>().is_err());
    }
}
