//! The forms in which a TorchScript module can run, and how it is brought into one.
//!
//! libtorch makes them, tch offers none, so a few functions in C++ (`cpp/tuning.cpp`) stand between. A module
//! is opened from its file for each form, and changed: see there why it is not copied.

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

use mar_handler::Device;
use tch::{CModule, TchError};

use super::convert::device;

#[expect(unsafe_code, reason = "the C++ file is reached through C")]
unsafe extern "C" {
    fn marserve_freeze(
        module: *mut c_void,
        writes_into_itself: *mut bool,
        loops: *mut bool,
    ) -> *const c_char;
    fn marserve_channels_last(module: *mut c_void) -> *const c_char;
    fn marserve_optimise_for_inference(module: *mut c_void) -> *const c_char;
    fn marserve_configuration() -> *const c_char;
}

/// What is made of a module; each but the first is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing.
    Plain,
    /// Attributes are constants, and what can be computed ahead is.
    Frozen,
    /// Beside that, the channels of a pixel lie together.
    ChannelsLast,
    /// Beside the first, convolutions are fused with what follows and run by oneDNN in its own layout.
    Inference,
}

/// A module in one of its forms.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) script: CModule,
    /// What freezing found out; `None` where nothing was frozen.
    pub(crate) nature: Option<Nature>,
}

/// What a network does that its answers alone do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nature {
    /// Whether a pass may change it.
    pub(crate) writes_into_itself: bool,
    /// Whether it has loops, so that nobody knows how long a pass takes.
    pub(crate) loops: bool,
}

impl Nature {
    /// Why a network of this kind is not to be run before a request asks for it.
    pub(crate) fn forbids_trials(self) -> Option<&'static str> {
        if self.writes_into_itself {
            Some("it writes into itself")
        } else if self.loops {
            Some("it has loops, and nobody knows how long a pass takes")
        } else {
            None
        }
    }
}

impl Form {
    pub(crate) const ALL: [Self; 4] =
        [Self::Plain, Self::Frozen, Self::ChannelsLast, Self::Inference];

    /// The form that is called so.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// As options and reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Frozen => "freeze",
            Self::ChannelsLast => "channels_last",
            Self::Inference => "inference",
        }
    }

    /// Whether it is made for this device. The other layouts are the processor's.
    pub(crate) fn is_for(self, device: Device) -> bool {
        device == Device::Cpu || matches!(self, Self::Plain | Self::Frozen)
    }

    /// Opens a file in this form, in evaluation mode.
    pub(crate) fn open(self, file: &Path, on: Device) -> Result<Module, TchError> {
        let mut script = CModule::load_on_device(file, device(on))?;
        script.f_set_eval()?;
        let mut module = Module { script, nature: None };
        if self == Self::ChannelsLast {
            module.lay_channels_last()?;
        }
        if self != Self::Plain {
            module.freeze()?;
        }
        if self == Self::Inference {
            module.optimise_for_inference()?;
        }
        Ok(module)
    }
}

/// How this libtorch was built, with what, and for which instructions of this processor.
pub(crate) fn configuration() -> String {
    #[expect(unsafe_code, reason = "the C++ file is reached through C")]
    // SAFETY: text that ends with a zero, and stays as it is until the next call on this thread.
    let text = unsafe { CStr::from_ptr(marserve_configuration()) };
    text.to_string_lossy().into_owned()
}

impl Module {
    fn freeze(&mut self) -> Result<(), TchError> {
        let (mut writes_into_itself, mut loops) = (true, true);
        #[expect(unsafe_code, reason = "the C++ file is reached through C")]
        // SAFETY: the pointer is that of a module which nobody else has, and both flags outlive the call.
        told(unsafe {
            let module = pointer(&mut self.script);
            marserve_freeze(module, &raw mut writes_into_itself, &raw mut loops)
        })?;
        self.nature = Some(Nature { writes_into_itself, loops });
        Ok(())
    }

    fn lay_channels_last(&mut self) -> Result<(), TchError> {
        #[expect(unsafe_code, reason = "the C++ file is reached through C")]
        // SAFETY: the pointer is that of a module which nobody else has.
        told(unsafe { marserve_channels_last(pointer(&mut self.script)) })
    }

    fn optimise_for_inference(&mut self) -> Result<(), TchError> {
        #[expect(unsafe_code, reason = "the C++ file is reached through C")]
        // SAFETY: the pointer is that of a module which nobody else has.
        told(unsafe { marserve_optimise_for_inference(pointer(&mut self.script)) })
    }
}

// tch keeps the pointer to itself.
const _: () = assert!(
    size_of::<CModule>() == size_of::<*mut c_void>()
        && align_of::<CModule>() == align_of::<*mut c_void>()
);

/// The C++ module that tch holds.
fn pointer(module: &mut CModule) -> *mut c_void {
    #[expect(unsafe_code, reason = "tch gives the pointer to nobody")]
    // SAFETY: tch's struct has one field, the pointer to a `torch::jit::Module` that it owns. It is as large as
    // that field, which therefore lies at its start.
    unsafe {
        std::ptr::from_mut(module).cast::<*mut c_void>().read()
    }
}

/// What came of a call, in the words of libtorch.
fn told(failure: *const c_char) -> Result<(), TchError> {
    if failure.is_null() {
        return Ok(());
    }
    #[expect(unsafe_code, reason = "the C++ file is reached through C")]
    // SAFETY: text that ends with a zero, and stays as it is until the next call on this thread.
    let text = unsafe { CStr::from_ptr(failure) };
    Err(TchError::Torch(text.to_string_lossy().into_owned()))
}
