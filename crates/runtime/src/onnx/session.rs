//! A session of ONNX Runtime that several threads may run at the same time.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use mar_handler::Result;
use ort::memory::MemoryInfo;
use ort::session::{Session, SharedSessionInner};
use ort::value::{DynValue, Outlet};
use ort::{AsPointer, Error};

use super::binding;
use super::values::Input;

/// A session, and the names by which it knows its inputs and outputs.
#[derive(Debug)]
pub(super) struct Network {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl Network {
    pub(super) fn new(session: Session) -> Result<Self, Error> {
        let names = |ports: &[Outlet]| -> Result<Vec<CString>, Error> {
            ports.iter().map(|port| CString::new(port.name()).map_err(Error::wrap)).collect()
        };
        let (inputs, outputs) = (names(session.inputs())?, names(session.outputs())?);
        Ok(Self { session, inputs, outputs })
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What owns the memory of what the session gives.
    pub(super) fn memory(&self) -> Arc<SharedSessionInner> {
        self.session.inner()
    }

    /// What the network answers to as many inputs as it has: its first outputs, as many as are wanted. What only
    /// others need is not calculated.
    ///
    /// ort runs a session for one caller at a time, because some execution providers keep a state between the
    /// calls. Those that can be asked for here do not, with the settings that can be made here, and ONNX Runtime
    /// promises of `Run` that several threads may be in it: so weights are in memory once, however many workers
    /// there are. <https://github.com/microsoft/onnxruntime/blob/main/docs/NotesOnThreading.md>
    pub(super) fn run(&self, inputs: &[Input<'_>], wanted: usize) -> Result<Vec<DynValue>, Error> {
        self.check(inputs)?;
        let pointers =
            |names: &[CString]| names.iter().map(|name| name.as_ptr()).collect::<Vec<_>>();
        let input_names = pointers(&self.inputs);
        let output_names = pointers(self.first(wanted));
        let values: Vec<_> = inputs.iter().map(Input::as_ptr).collect();
        let mut answers = vec![ptr::null_mut(); output_names.len()];
        #[expect(unsafe_code, reason = "ort offers `Run` to one caller at a time")]
        // SAFETY: the session lives, the names end with a zero and outlive the call, as do the inputs, and every list
        // is as long as is said. Null options are the default ones; null outputs are made by ONNX Runtime.
        unsafe {
            let status = (ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                values.as_ptr(),
                values.len(),
                output_names.as_ptr(),
                output_names.len(),
                answers.as_mut_ptr(),
            );
            Error::result_from_status(status)?;
        }
        let owned = |answer| {
            let answer = NonNull::new(answer)?;
            #[expect(unsafe_code, reason = "ONNX Runtime hands out values as pointers")]
            // SAFETY: the value was made by `Run` above for this caller, who owns it from here on, and its memory by the
            // session's allocator.
            Some(unsafe { DynValue::from_ptr(answer, Some(self.session.allocator())) })
        };
        let answers: Vec<Option<DynValue>> = answers.into_iter().map(owned).collect();
        answers
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| Error::new("an output is missing from the answer"))
    }

    /// The same, the outputs left in a place; see [`binding::run`].
    pub(super) fn run_bound(
        &self,
        inputs: &[Input<'_>],
        wanted: usize,
        place: &MemoryInfo<'_>,
    ) -> Result<Vec<DynValue>, Error> {
        self.check(inputs)?;
        let named = self.inputs.iter().map(|name| &**name).zip(inputs).collect::<Vec<_>>();
        binding::run(&self.session, &named, self.first(wanted), place)
    }

    fn check(&self, inputs: &[Input<'_>]) -> Result<(), Error> {
        if inputs.len() == self.inputs.len() {
            return Ok(());
        }
        Err(Error::new(format!("{} inputs for {}", inputs.len(), self.inputs.len())))
    }

    fn first(&self, wanted: usize) -> &[CString] {
        &self.outputs[..wanted.min(self.outputs.len())]
    }
}
