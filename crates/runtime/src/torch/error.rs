//! libtorch's exceptions as errors a client can read.

use mar_handler::Error;
use tch::TchError;

use crate::failure::code;

/// A failure while a batch runs.
pub(crate) fn prediction(error: TchError) -> Error {
    let text = error.to_string();
    Error::new(code(&text), format!("the model failed: {}", first_cause(&text))).caused_by(error)
}

/// The line of a libtorch exception that says what went wrong. The rest is the C++ stack, and for
/// TorchScript the network's source with the failing call underlined: those stay in the source error.
pub(crate) fn first_cause(text: &str) -> String {
    let frame = |line: &&str| {
        line.is_empty()
            || line.starts_with("Exception raised from")
            || line.starts_with("frame #")
            || line.starts_with("Traceback of TorchScript")
            || line.starts_with("The following operation failed")
    };
    let message = |line: &str| {
        let line = line.strip_prefix("Internal torch error: ").unwrap_or(line).trim();
        line.trim_end_matches('.').to_owned()
    };
    // A TorchScript failure ends with the exception that caused it; a plain one begins with it.
    let lines = || text.lines().map(str::trim);
    lines()
        .find_map(|line| line.strip_prefix("RuntimeError: "))
        .or_else(|| lines().find(|line| !frame(line) && *line != "Internal torch error:"))
        .map_or_else(|| "libtorch gave no reason".to_owned(), message)
}

#[cfg(test)]
mod tests {
    use mar_handler::ErrorCode;

    use super::*;

    #[test]
    fn the_first_cause_is_one_line_without_the_stack() {
        let plain = "Internal torch error: [enforce fail at inline_container.cc:145] . PytorchStreamReader failed reading zip archive: failed finding central directory\nframe #0: c10::ThrowEnforceNotMet(char const*) + 0x7d\n";
        assert_eq!(
            first_cause(plain),
            "[enforce fail at inline_container.cc:145] . PytorchStreamReader failed reading zip archive: failed finding central directory"
        );
        let script = "Internal torch error: The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript, serialized code (most recent call last):\n  File \"code/__torch__/net.py\", line 8, in forward\n    return torch.conv2d(x)\n           ~~~~~~~~~~~~ <--- HERE\n\nTraceback of TorchScript, original code (most recent call last):\nRuntimeError: Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 1, 4, 4] to have 3 channels, but got 1 channels instead\n";
        assert_eq!(
            first_cause(script),
            "Given groups=1, weight of size [4, 3, 3, 3], expected input[1, 1, 4, 4] to have 3 channels, but got 1 channels instead"
        );
        assert_eq!(first_cause(""), "libtorch gave no reason");
    }

    #[test]
    fn a_failure_has_the_code_of_its_words() {
        let error = prediction(TchError::Torch("CUDA out of memory.\nframe #0: f".into()));
        assert_eq!(error.code(), ErrorCode::OutOfMemory);
        assert_eq!(error.message(), "the model failed: CUDA out of memory");
    }
}
