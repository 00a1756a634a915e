//! The CUDA devices that ONNX Runtime can use: as many as the driver shows, where the library was built for them.

use std::ffi::c_int;

use libloading::Library;

use super::library::reason;
use super::offered::{self, Kind};

/// The driver's own library, under the name that every driver has.
const DRIVER: &str = "libcuda.so.1";

/// How many CUDA devices there are, as `CUDA_VISIBLE_DEVICES` leaves them; or why there are none. ONNX Runtime has
/// to be open: what a library without CUDA could not use is not asked for.
pub(super) fn devices() -> Result<usize, String> {
    if let Err(reason) = offered::check(Kind::Cuda) {
        // TensorRT's provider needs CUDA's, but a library may be built so that only the first is named.
        offered::check(Kind::TensorRt).map_err(|_| reason)?;
    }
    ask(DRIVER)
}

fn ask(driver: &str) -> Result<usize, String> {
    type Init = unsafe extern "C" fn(flags: u32) -> c_int;
    type Count = unsafe extern "C" fn(count: *mut c_int) -> c_int;
    let absent = |error: libloading::Error| {
        format!("there is no driver of CUDA's here ({driver}: {})", reason(&error))
    };
    let mut count = 0;
    #[expect(
        unsafe_code,
        reason = "the driver is a library of C functions, opened where it is there"
    )]
    // SAFETY: opening the driver runs its constructors, as every program that uses CUDA does; the two functions have
    // had these types since CUDA 2.0, the second writes one number, and the first is called before it.
    let (init, counted) = unsafe {
        let library = Library::new(driver).map_err(absent)?;
        let init = library.get::<Init>(b"cuInit").map_err(absent)?;
        let of = library.get::<Count>(b"cuDeviceGetCount").map_err(absent)?;
        let told = init(0);
        let counted = if told == 0 { of(&raw mut count) } else { 0 };
        (told, counted)
    };
    match (init, counted, usize::try_from(count)) {
        // CUDA_ERROR_NO_DEVICE
        (100, ..) | (0, 0, Ok(0)) => Err("the driver of CUDA shows no device".to_owned()),
        (0, 0, Ok(count)) => Ok(count),
        (0, error, _) | (error, ..) => Err(format!("the driver of CUDA fails with error {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_not_there_is_no_device_and_a_reason() {
        let reason = ask("libcuda-to-be-found-nowhere.so.1").unwrap_err();
        assert!(reason.starts_with("there is no driver of CUDA's here (libcuda-to"), "{reason}");
        let reason = ask("libc.so.6").unwrap_err();
        assert!(reason.contains("cuInit"), "{reason}");
    }
}
