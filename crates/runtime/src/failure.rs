//! What kind of failure a library's words are, while it runs a batch.

use mar_handler::{Device, Error, ErrorCode, Result};

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

/// Memory that ran out, in the words of libtorch, of ONNX Runtime, and of C++.
const NO_MEMORY: [&str; 4] =
    ["out of memory", "not enough memory", "Failed to allocate memory", "bad_alloc"];

/// The kind of a failure that a library describes so.
pub(crate) fn code(text: &str) -> ErrorCode {
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if says(&STICKY) {
        ErrorCode::DeviceLost
    } else if says(&NO_MEMORY) {
        ErrorCode::OutOfMemory
    } else {
        ErrorCode::PredictionFailed
    }
}

/// What came of a run on a device. The processor is not lost, whatever the words are: a network's nodes have names of
/// their author's, and its checks may quote a client.
pub(crate) fn on<T>(device: Device, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|error| match (device, error.code()) {
        (Device::Cpu, ErrorCode::DeviceLost) => {
            Error::prediction_failed(error.message()).caused_by(error)
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_and_a_lost_device_have_codes_of_their_own() {
        for (text, expected) in [
            ("CUDA out of memory. Tried to allocate 2.00 GiB", ErrorCode::OutOfMemory),
            (
                "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
                ErrorCode::OutOfMemory,
            ),
            (
                "Failed to allocate memory for requested buffer of size 268435456",
                ErrorCode::OutOfMemory,
            ),
            ("std::bad_alloc", ErrorCode::OutOfMemory),
            ("shape mismatch", ErrorCode::PredictionFailed),
            (
                "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported",
                ErrorCode::DeviceLost,
            ),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }

    #[test]
    fn words_alone_do_not_lose_the_processor() {
        let told = |device, kind| {
            let error = Error::new(kind, "node \"misaligned address\" failed");
            let error = on::<()>(device, Err(error)).unwrap_err();
            assert_eq!(error.message(), "node \"misaligned address\" failed");
            error.code()
        };
        let (lost, full) = (ErrorCode::DeviceLost, ErrorCode::OutOfMemory);
        assert_eq!(told(Device::Cpu, lost), ErrorCode::PredictionFailed);
        assert_eq!((told(Device::Cuda(0), lost), told(Device::Cpu, full)), (lost, full));
    }
}
