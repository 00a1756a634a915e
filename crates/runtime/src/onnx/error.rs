//! ONNX Runtime's failures as errors a client can read.

use std::path::Path;

use mar_handler::{Error, ErrorCode};

use super::explain;
use crate::cache::name;
use crate::failure::code;

/// A failure while a batch runs.
pub(super) fn prediction(error: ort::Error) -> Error {
    let text = error.message().to_owned();
    Error::new(code(&text), format!("the model failed: {}", first_cause(&text))).caused_by(error)
}

/// A file that does not become a model.
pub(super) fn not_onnx(file: &Path, error: ort::Error) -> Error {
    let name = name(file);
    // Where the file lies is the server's own business; what lies beside it has a name.
    let folder = file.parent().map(|folder| format!("{}/", folder.display())).unwrap_or_default();
    let cause = first_cause(error.message()).replace(&folder, "");
    let cause = cause.strip_prefix(&format!("Load model from {name} failed:")).unwrap_or(&cause);
    // A file that cannot be right is told in words that say what to do.
    let cause =
        explain::cause(file).map_or_else(|| cause.to_owned(), |own| format!("{own} ({cause})"));
    let code = match code(error.message()) {
        ErrorCode::PredictionFailed => ErrorCode::InvalidModel,
        code => code,
    };
    Error::new(code, format!("{name} does not open as ONNX: {cause}")).caused_by(error)
}

/// The line that says what went wrong, without the places in ONNX Runtime's source and its numbers of errors.
pub(super) fn first_cause(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut cause = lines.next().unwrap_or("ONNX Runtime gave no reason").to_owned();
    while let Some((start, end)) = source_place(&cause).or_else(|| numbered(&cause)) {
        cause.replace_range(start..end, "");
    }
    cause.trim().trim_end_matches('.').to_owned()
}

/// Where a line names a place in the source: `tensorprotoutils.cc:461 Function `, or the whole path and the whole
/// declaration of the function, as in `/onnxruntime_src/core/graph/model.h:46 void Model::Check(int, bool) const `.
fn source_place(line: &str) -> Option<(usize, usize)> {
    let ending =
        [".cc:", ".h:", ".hpp:", ".cpp:"].iter().filter_map(|ending| line.find(ending)).min()?;
    let start = line[..ending].rfind([' ', ':']).map_or(0, |before| before + 1);
    let function = ending + line[ending..].find(' ')? + 1;
    let end = if line[start..].starts_with('/') {
        let declared = function + end_of_declaration(&line[function..])?;
        let rest = line[declared..].trim_start();
        line.len() - rest.strip_prefix("const ").unwrap_or(rest).len()
    } else {
        function + line[function..].find(' ')? + 1
    };
    Some((start, end))
}

/// The end of a function's arguments, which may have parentheses within.
fn end_of_declaration(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(place + 1),
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Where a line has `[ONNXRuntimeError] : 1 : FAIL : `.
fn numbered(line: &str) -> Option<(usize, usize)> {
    const MARK: &str = "[ONNXRuntimeError] : ";
    let start = line.find(MARK)?;
    let mut end = start + MARK.len();
    for _ in 0..2 {
        end += line[end..].find(" : ").map_or(0, |colon| colon + 3);
    }
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_is_one_line_without_places_in_the_source() {
        for (text, cause) in [
            ("Protobuf parsing failed.", "Protobuf parsing failed"),
            (
                "Validation failed for initializer: weight. Error: tensorprotoutils.cc:461 FromDir External data path does not exist: \"w.bin\"",
                "Validation failed for initializer: weight. Error: External data path does not exist: \"w.bin\"",
            ),
            (
                "Exception during initialization: /onnxruntime_src/core/optimizer/initializer.cc:51 onnxruntime::Initializer::Initializer(const onnx::TensorProto&, const path&) [ONNXRuntimeError] : 1 : FAIL : tensorprotoutils.cc:1876 GetExtData External initializer: weight is out of bounds.\n",
                "Exception during initialization: External initializer: weight is out of bounds",
            ),
            (
                "Non-zero status code returned while running Add node. Name:'' Status Message: /onnxruntime_src/core/element_wise_ops.h:540 void onnxruntime::BroadcastIterator::Init(ptrdiff_t, std::function<void(int)>) const Attempting to broadcast an axis by a dimension other than 1. 2 by 3\n",
                "Non-zero status code returned while running Add node. Name:'' Status Message: Attempting to broadcast an axis by a dimension other than 1. 2 by 3",
            ),
            ("failed:/src/a.h:4 void f(int) no\nmore", "failed:no"),
            ("ends with a.cc:12", "ends with a.cc:12"),
            ("ends with /a.cc:12 f(", "ends with /a.cc:12 f("),
            ("[ONNXRuntimeError] : 2", "2"),
            ("", "ONNX Runtime gave no reason"),
        ] {
            assert_eq!(first_cause(text), cause, "{text}");
        }
    }
}
