//! Brings CUDA in where the machine has it.
//!
//! Nothing links `libtorch_cuda`, so that one binary runs on the CPU parts of libtorch alone. Where the
//! library lies beside `libtorch_cpu`, opening it is enough: its constructors register its kernels.

use std::path::PathBuf;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// Opens `libtorch_cuda.so` if it lies beside the `libtorch_cpu.so` that this process runs on. A
/// library that is there and does not open is logged; the server then has no CUDA device, and asking
/// for one is an error.
pub(crate) fn open_beside_libtorch() {
    let Some(library) = libtorch_folder().map(|folder| folder.join("libtorch_cuda.so")) else {
        return;
    };
    if !library.exists() {
        return;
    }
    #[expect(unsafe_code, reason = "the one way to load a library at run time")]
    // SAFETY: opening runs the library's constructors. It is the CUDA half of the very release whose
    // CPU half is loaded already, and nothing of this process uses libtorch before this call.
    let opened = unsafe { Library::open(Some(&library), RTLD_NOW | RTLD_GLOBAL) };
    match opened {
        // Its kernels stay registered for the life of the process, so it must stay loaded as long.
        Ok(handle) => std::mem::forget(handle),
        Err(error) => log::warn!("{} does not open, CUDA is off: {error}", library.display()),
    }
}

/// The folder of the `libtorch_cpu.so` that the loader chose.
fn libtorch_folder() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        path.strip_suffix("/libtorch_cpu.so").map(PathBuf::from)
    })
}
