//! Which file, if any, a `--handler` value stands for.

use std::path::{Path, PathBuf};

use crate::Error;

/// Handlers that live in the server, so that nothing is packed for them: torch-model-archiver's
/// eight, then ours.
pub const BUILTIN_HANDLERS: [&str; 11] = [
    "base_handler",
    "text_classifier",
    "image_classifier",
    "object_detector",
    "image_segmenter",
    "dali_image_classifier",
    "vllm_handler",
    "trt_llm_handler",
    "image_regressor",
    "mask_segmenter",
    "tensor",
];
/// How many of them torch-model-archiver knows too.
const OFFICIAL: usize = 8;

/// Handlers of TorchServe's C++ worker, which serves `--runtime LSP`.
pub const LSP_HANDLERS: [&str; 2] = ["BaseHandler", "TorchScriptHandler"];

/// The file to pack for a handler; `None` for a built-in one.
///
/// A name that only this project knows gives way to a file of that name, which the official archiver
/// would have packed.
pub(super) fn file(handler: &str, runtime: &str) -> Result<Option<PathBuf>, Error> {
    if runtime == "LSP" {
        if LSP_HANDLERS.contains(&handler) {
            return Ok(None);
        }
        let ending = if cfg!(target_os = "macos") { "dylib" } else { "so" };
        return existing(handler, &format!("{}.{ending}", module(handler)), &LSP_HANDLERS);
    }
    if BUILTIN_HANDLERS[..OFFICIAL].contains(&handler) {
        return Ok(None);
    }
    let is_python = Path::new(handler).extension().is_some_and(|extension| extension == "py");
    let path = if is_python { handler.to_owned() } else { format!("{}.py", module(handler)) };
    match existing(handler, &path, &BUILTIN_HANDLERS) {
        Err(_) if BUILTIN_HANDLERS.contains(&handler) => Ok(None),
        found => found,
    }
}

fn module(handler: &str) -> &str {
    handler.split_once(':').map_or(handler, |(module, _)| module)
}

fn existing(handler: &str, path: &str, known: &[&str]) -> Result<Option<PathBuf>, Error> {
    if Path::new(path).is_file() {
        return Ok(Some(PathBuf::from(path)));
    }
    let hint = if handler.contains(".py:") { "; write module:function, without .py" } else { "" };
    Err(Error::Input(format!(
        "no handler {handler:?}: no file {path}, and built in are {}{hint}",
        known.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn built_in_names_need_no_file() {
        for name in BUILTIN_HANDLERS {
            assert_eq!(file(name, "python").unwrap(), None, "{name}");
        }
        assert_eq!(file("TorchScriptHandler", "LSP").unwrap(), None);
    }

    #[test]
    fn a_path_is_taken_with_and_without_its_ending_and_with_a_function() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("my.handler.py");
        fs::write(&script, "").unwrap();
        let stem = folder.path().join("my.handler");
        let stem = stem.to_str().unwrap();
        for handler in [stem.to_owned(), format!("{stem}.py"), format!("{stem}:entry")] {
            assert_eq!(file(&handler, "python3").unwrap().as_deref(), Some(&*script), "{handler}");
        }
    }

    #[test]
    fn what_is_neither_says_what_was_looked_for() {
        let error = file("nowhere", "python").unwrap_err().to_string();
        assert!(
            error.contains("no file nowhere.py") && error.contains("mask_segmenter"),
            "{error}"
        );
        let error = file("h.py:entry", "python").unwrap_err().to_string();
        assert!(error.contains("write module:function"), "{error}");
        let error = file("lib", "LSP").unwrap_err().to_string();
        assert!(error.contains("TorchScriptHandler"), "{error}");
    }
}
