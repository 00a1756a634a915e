//! torchvision's operations, which its detectors call and plain libtorch does not have.
//!
//! `torchvision::nms` and `torchvision::roi_align` are all that the detectors of torchvision 0.26 call once
//! they are scripted. They are written in C++ (`cpp/torchvision.cpp`), because libtorch takes new operations
//! in no other language; torchvision's own library is built for Python.

use std::ffi::{CStr, c_char};

#[expect(unsafe_code, reason = "the C++ file is reached through C")]
unsafe extern "C" {
    /// Registers what is not there yet, once; null, or the reason why it cannot.
    fn marserve_register_torchvision() -> *const c_char;
}

/// Makes the operations known to libtorch. Where that fails, networks that call them do not load, and
/// say so; all others do.
pub(crate) fn register() {
    #[expect(unsafe_code, reason = "the C++ file is reached through C")]
    // SAFETY: the function takes nothing, may be called from any thread at any time, throws nothing, and
    // gives null or text that ends with a zero and lives as long as the process.
    let failure = unsafe {
        let failure = marserve_register_torchvision();
        (!failure.is_null()).then(|| CStr::from_ptr(failure))
    };
    if let Some(failure) = failure {
        log::warn!("torchvision's operations cannot be had: {}", failure.to_string_lossy());
    }
}
