//! The `handler:` section of `model-config.yaml`, parted into the pipeline's keys and the handler's own.

use std::fmt::Display;

use mar_handler::{Context, Error, Result};
use mar_vision::{Pipeline, PipelineConfig};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The section of a handler that takes images: what [`PipelineConfig`] reads, and what the handler itself
/// does. `own` are the keys of `T`.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the key that is unknown, with
/// those that are known, or whose value does not fit.
pub(crate) fn parted<T: DeserializeOwned>(
    context: &Context,
    handler: &str,
    own: &[&str],
) -> Result<(PipelineConfig, T)> {
    is_meant(context, handler)?;
    let (pipeline, rest) = part(context.handler_section()?, handler, (&PipelineConfig::KEYS, own))?;
    Ok((read(pipeline)?, read(rest)?))
}

/// The section of a handler that takes no images; `own` are its keys.
///
/// # Errors
/// As [`parted`].
pub(crate) fn own<T: DeserializeOwned>(
    context: &Context,
    handler: &str,
    own: &[&str],
) -> Result<T> {
    is_meant(context, handler)?;
    read(part(context.handler_section()?, handler, (&[], own))?.1)
}

/// What the section in a whole configuration says of pixels; its other keys are not looked at.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the key whose value does not fit.
pub(crate) fn pipeline_keys(config: &Map<String, Value>) -> Result<PipelineConfig> {
    let mut context = Context::default();
    context.config.extend(config.get_key_value("handler").map(|(k, v)| (k.clone(), v.clone())));
    let mut section = context.handler_section()?;
    section.retain(|key, _| PipelineConfig::KEYS.contains(&key.as_str()));
    read(section)
}

/// A configuration as the pipeline it describes.
///
/// # Errors
/// [`ErrorCode::InvalidModel`](mar_handler::ErrorCode::InvalidModel) naming the key whose value cannot be used.
pub(crate) fn pipeline(config: PipelineConfig) -> Result<Pipeline> {
    Pipeline::new(config).map_err(|error| wrong(&error))
}

/// An error about something in the section.
pub(crate) fn wrong(reason: &dyn Display) -> Error {
    Error::invalid_model(format!("handler: in model-config.yaml: {reason}"))
}

/// Refuses an archive with a Python file of the handler's name: TorchServe would run that one, which may
/// answer something else entirely.
fn is_meant(context: &Context, handler: &str) -> Result<()> {
    let file = format!("{handler}.py");
    if context.model_dir.join(&file).exists() {
        return Err(Error::invalid_model(format!(
            "the archive brings its own {file}, and Python handlers are not run; pack it without that file to have the handler {handler} of this server"
        )));
    }
    Ok(())
}

type Section = Map<String, Value>;

fn part(
    section: Section,
    handler: &str,
    (pipeline, own): (&[&str], &[&str]),
) -> Result<(Section, Section)> {
    let (mut of_pipeline, mut of_handler) = (Section::new(), Section::new());
    for (key, value) in section {
        if own.contains(&key.as_str()) {
            of_handler.insert(key, value);
        } else if pipeline.contains(&key.as_str()) {
            of_pipeline.insert(key, value);
        } else {
            let known = [pipeline, own].concat().join(", ");
            return Err(wrong(&format!("unknown key \"{key}\"; {handler} knows: {known}")));
        }
    }
    Ok((of_pipeline, of_handler))
}

fn read<T: DeserializeOwned>(keys: Section) -> Result<T> {
    serde_json::from_value(Value::Object(keys)).map_err(|error| wrong(&error))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use mar_handler::ErrorCode;
    use serde::Deserialize;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    /// The folder of an archive with these files.
    pub(crate) fn archive(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    /// An archive in `dir` with this `handler:` section.
    pub(crate) fn context(dir: impl Into<PathBuf>, section: &Value) -> Context {
        let config = json!({ "handler": section });
        Context {
            model_name: "m".into(),
            model_version: "1.0".into(),
            model_dir: dir.into(),
            config: config.as_object().unwrap().clone(),
            ..Context::default()
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct Own {
        top_k: Option<u32>,
    }

    fn both(section: &Value) -> Result<(PipelineConfig, Own)> {
        parted(&context("", section), "classifier", &["top_k"])
    }

    #[test]
    fn a_python_handler_of_the_same_name_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let context = context(dir.path(), &json!({}));
        assert!(own::<Own>(&context, "classifier", &["top_k"]).is_ok());
        std::fs::write(dir.path().join("classifier.py"), "class C: ...").unwrap();
        for error in [
            own::<Own>(&context, "classifier", &["top_k"]).unwrap_err(),
            parted::<Own>(&context, "classifier", &["top_k"]).unwrap_err(),
        ] {
            assert_eq!(error.code(), ErrorCode::InvalidModel);
            assert!(error.message().contains("its own classifier.py"), "{error}");
        }
        assert!(own::<Own>(&context, "tensor", &["top_k"]).is_ok());
    }

    #[test]
    fn each_key_goes_where_it_is_read() {
        let (pipeline, own) = both(&json!({ "top_k": 3, "max_image_pixels": 9 })).unwrap();
        assert_eq!(own.top_k, Some(3));
        assert_eq!(pipeline, PipelineConfig { max_image_pixels: Some(9), ..Default::default() });
    }

    #[test]
    fn an_unknown_key_is_told_beside_the_known_ones() {
        let error = both(&json!({ "topk": 3 })).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidModel);
        for word in ["model-config.yaml", "\"topk\"", "classifier knows", "size", "top_k"] {
            assert!(error.message().contains(word), "{error}");
        }
        let error = super::own::<Own>(&context("", &json!({ "size": 3 })), "texts", &["top_k"]);
        let error = error.unwrap_err();
        assert!(error.message().ends_with("unknown key \"size\"; texts knows: top_k"), "{error}");
    }

    #[test]
    fn a_value_that_does_not_fit_is_an_error_of_the_archive() {
        for section in [json!({ "top_k": -1 }), json!({ "max_image_pixels": "many" })] {
            assert_eq!(both(&section).unwrap_err().code(), ErrorCode::InvalidModel);
        }
        let (config, _) = both(&json!({ "std": [0.0, 1.0, 1.0] })).unwrap();
        let error = pipeline(config).unwrap_err();
        assert!(error.message().starts_with("handler: in model-config.yaml: std"), "{error}");
    }
}
