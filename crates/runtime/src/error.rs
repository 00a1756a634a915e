//! libtorch's exceptions as errors a client can read.

use mar_handler::{Error, ErrorCode};
use tch::TchError;

/// The errors after which CUDA fails every call of the process, in the words of `cudaGetErrorString`
/// (CUDA Runtime API, "Data types used by CUDA Runtime": those that leave the process in an inconsistent
/// state).
const STICKY: [&str; 7] = [
    "an illegal memory access was encountered",
    "device-side assert triggered",
    "unspecified launch failure",
    "misaligned address",
    "an illegal instruction was encountered",
    "hardware stack error",
    "uncorrectable ECC error encountered",
];

/// A failure while a batch runs.
pub(crate) fn prediction(error: TchError) -> Error {
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let code = if says(&STICKY) {
        ErrorCode::DeviceLost
    } else if says(&["out of memory", "not enough memory"]) {
        ErrorCode::OutOfMemory
    } else {
        ErrorCode::PredictionFailed
    };
    Error::new(code, format!("the model failed: {}", first_cause(&text))).caused_by(error)
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
    fn memory_that_runs_out_has_a_code_of_its_own() {
        let error = |text: &str| prediction(TchError::Torch(text.into())).code();
        assert_eq!(error("CUDA out of memory. Tried to allocate 2.00 GiB"), ErrorCode::OutOfMemory);
        assert_eq!(
            error("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
            ErrorCode::OutOfMemory
        );
        assert_eq!(error("shape mismatch"), ErrorCode::PredictionFailed);
        assert_eq!(
            error(
                "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
            ),
            ErrorCode::DeviceLost
        );
    }
}
