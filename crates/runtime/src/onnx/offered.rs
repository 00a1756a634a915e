//! The execution providers by name, and which of them the library that is here was built with.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

/// An execution provider that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
    CoreMl,
    Xnnpack,
    OneDnn,
}

/// Every kind with the name that archives use, Triton's where it has one, and ONNX Runtime's own.
const KINDS: [(Kind, &str, &str); 7] = [
    (Kind::Cpu, "cpu", "CPUExecutionProvider"),
    (Kind::Cuda, "cuda", "CUDAExecutionProvider"),
    (Kind::TensorRt, "tensorrt", "TensorrtExecutionProvider"),
    (Kind::OpenVino, "openvino", "OpenVINOExecutionProvider"),
    (Kind::CoreMl, "coreml", "CoreMLExecutionProvider"),
    (Kind::Xnnpack, "xnnpack", "XnnpackExecutionProvider"),
    (Kind::OneDnn, "dnnl", "DnnlExecutionProvider"),
];

impl Kind {
    /// The kind with this name, or with ONNX Runtime's own.
    pub(super) fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, short, own)| name == *short || name == *own).map(|(kind, ..)| *kind)
    }

    /// The names of all, as a sentence shows them.
    pub(super) fn known() -> String {
        KINDS.map(|(_, name, _)| name).join(", ")
    }

    pub(super) fn name(self) -> &'static str {
        self.names().0
    }

    fn own_name(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        let found = KINDS.iter().find(|(kind, ..)| *kind == self);
        found.map_or_else(Default::default, |(_, name, own)| (*name, *own))
    }

    /// Whether it runs on a CUDA device.
    pub(super) fn is_cuda(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }
}

/// A provider by the name that archives use; one that they cannot ask for by its own.
pub(super) fn short(own: &str) -> &str {
    match Kind::named(own) {
        Some(kind) => kind.name(),
        None => own,
    }
}

/// Whether the library has a provider; else why not, and what there is.
pub(super) fn check(kind: Kind) -> Result<(), String> {
    if all().iter().any(|own| own == kind.own_name()) {
        return Ok(());
    }
    Err(format!(
        "this ONNX Runtime was built without it ({}); set ORT_DYLIB_PATH to one that has it",
        told()
    ))
}

/// What the library offers of that which can be asked for, as a sentence says it.
pub(super) fn told() -> String {
    let all = all();
    let known = all.iter().filter_map(|own| Kind::named(own)).map(Kind::name);
    // The library's own order of preference has the processor last.
    format!("it offers {}", known.collect::<Vec<_>>().join(", "))
}

/// The library's own names of its providers. The library has to be open.
fn all() -> Vec<String> {
    let (mut names, mut count): (*mut *mut c_char, c_int) = (ptr::null_mut(), 0);
    #[expect(
        unsafe_code,
        reason = "ort tells of one provider at a time, and only of those that it knows"
    )]
    // SAFETY: ONNX Runtime hands out as many texts as it says, each ended by a zero, until they are given back.
    unsafe {
        let status = (ort::api().GetAvailableProviders)(&raw mut names, &raw mut count);
        if ort::Error::result_from_status(status).is_err() || names.is_null() {
            return Vec::new();
        }
        let texts = std::slice::from_raw_parts(names, usize::try_from(count).unwrap_or_default());
        let texts = texts.iter().filter(|text| !text.is_null());
        let all = texts.map(|text| CStr::from_ptr(*text).to_string_lossy().into_owned()).collect();
        let status = (ort::api().ReleaseAvailableProviders)(names, count);
        if let Err(error) = ort::Error::result_from_status(status) {
            log::debug!("the list of execution providers is not given back: {error}");
        }
        all
    }
}
