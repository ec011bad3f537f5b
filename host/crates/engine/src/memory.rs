//! Gives memory back to the operating system.
//!
//! ONNX Runtime allocates with the C library, whose allocator keeps what is freed: after a session is dropped its weights
//! would stay resident until something else needs them. Trimming returns whole free pages.
#![expect(
    unsafe_code,
    reason = "the C library's allocator is asked through its C interface"
)]

/// Returns the C allocator's free pages to the system. Takes milliseconds on a large heap: never call it for a request.
pub(crate) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` takes no pointer, and is documented as safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
