//! Runs whose inputs go straight to a device and whose outputs are left where they are wanted.
//!
//! On a CUDA device an input is copied once, from where the request's bytes lie to the device, and an output once,
//! from the device to memory that is pinned, which the device writes by itself and the answer is made of. What is
//! worked on further on the device, as scores are of which only the largest counts, is not copied at all.

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};

use mar_handler::Device;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::DynValue;
use ort::{AsPointer, Error};

use super::values::Input;

/// The two kinds of memory that outputs are left in.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Where the host can read it.
    pub(super) host: MemoryInfo<'static>,
    /// Where the next step needs no copy.
    pub(super) device: MemoryInfo<'static>,
}

impl Places {
    /// The places for a device. None for the processor: its outputs are on the host anyway, and a plain run gives
    /// them with less ado.
    pub(super) fn of(device: Device) -> Result<Option<Self>, Error> {
        let Device::Cuda(index) = device else { return Ok(None) };
        let index = i32::try_from(index).map_err(Error::wrap)?;
        let memory = |device, kind| MemoryInfo::new(device, index, AllocatorType::Device, kind);
        Ok(Some(Self {
            host: memory(AllocationDevice::CUDA_PINNED, MemoryType::CPUOutput)?,
            device: memory(AllocationDevice::CUDA, MemoryType::Default)?,
        }))
    }

    /// The processor's memory for both, so that the same code is tested without a device.
    #[cfg(test)]
    pub(super) fn of_processor() -> Self {
        // The library has to be there before it can be asked for memory.
        super::library::Library::start().unwrap();
        Self { host: MemoryInfo::default(), device: MemoryInfo::default() }
    }
}

/// The outputs of a run, in the order of their names, left in `place`. Outputs without a name here are not made.
///
/// Several threads may be in this for one session, each with a binding of its own: ONNX Runtime promises of `Run`
/// that it may be called so, on CUDA too, where each run has a stream of its own. CUDA graphs are the exception,
/// and are refused where providers are read. <https://onnxruntime.ai/docs/performance/device-tensor.html>,
/// <https://github.com/microsoft/onnxruntime/blob/main/docs/NotesOnThreading.md>
pub(super) fn run(
    session: &Session,
    inputs: &[(&CStr, &Input<'_>)],
    outputs: &[CString],
    place: &MemoryInfo<'_>,
) -> Result<Vec<DynValue>, Error> {
    let mut binding = session.create_binding()?;
    for name in outputs {
        binding.bind_output_to_device(name.to_string_lossy(), place)?;
    }
    let api = ort::api();
    let bound = binding.ptr_mut();
    #[expect(unsafe_code, reason = "ort binds and runs a session for one caller at a time")]
    // SAFETY: session, binding, names and inputs live until the end of the call. Copies to the device are awaited
    // before the run, and the run and its copies before it returns. Null options are the default ones.
    unsafe {
        for (name, input) in inputs {
            Error::result_from_status((api.BindInput)(bound, name.as_ptr(), input.as_ptr()))?;
        }
        Error::result_from_status((api.SynchronizeBoundInputs)(bound))?;
        let session = session.ptr().cast_mut();
        Error::result_from_status((api.RunWithBinding)(session, ptr::null(), bound))?;
        Error::result_from_status((api.SynchronizeBoundOutputs)(bound))?;
    }
    let answers = taken(session, &binding)?;
    if answers.len() == outputs.len() {
        Ok(answers)
    } else {
        Err(Error::new(format!("{} outputs for {}", answers.len(), outputs.len())))
    }
}

/// The values that a run left in its binding.
fn taken(session: &Session, binding: &IoBinding) -> Result<Vec<DynValue>, Error> {
    let mut list = Allocator::default();
    let (mut values, mut count) = (ptr::null_mut(), 0);
    #[expect(unsafe_code, reason = "ONNX Runtime hands out values as pointers")]
    // SAFETY: the list is of as many values as is said, in memory of the given allocator, to which it is given back.
    // Each value was made for this caller, who owns it from here on, and its memory by the session's allocator.
    unsafe {
        let get = ort::api().GetBoundOutputValues;
        let status = get(binding.ptr(), list.ptr_mut(), &raw mut values, &raw mut count);
        Error::result_from_status(status)?;
        if values.is_null() {
            return Ok(Vec::new());
        }
        let pointers = std::slice::from_raw_parts(values, count).to_vec();
        list.free(values);
        let owned = |value| DynValue::from_ptr(value, Some(session.allocator()));
        Ok(pointers.into_iter().filter_map(NonNull::new).map(owned).collect())
    }
}
