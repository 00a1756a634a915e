//! Memory that a library has freed and the C library keeps.

/// Gives the free parts of the heap back to the system, so that an unloaded model's weights do not stay
/// with the process.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    #[expect(unsafe_code, reason = "a function of the C library")]
    // SAFETY: it takes a number and has no precondition; it may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other C libraries give memory back by themselves, or cannot be asked.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}
