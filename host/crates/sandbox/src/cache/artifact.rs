//! The one place where machine code is loaded that did not come from wasmtime's compiler in the same step.
//!
//! wasmtime cannot check that an artifact is what its compiler made: a forged one would be arbitrary code in the host's
//! process. Therefore a [`Verified`] is only made of bytes whose MAC the cache has checked in memory; they are loaded from that
//! memory, not read again. wasmtime itself refuses artifacts of another version or other settings.
#![expect(
    unsafe_code,
    reason = "loading machine code cannot be made safe by types; see the safety comment"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// An artifact that this host made.
pub(super) struct Verified(Vec<u8>);

impl Verified {
    /// Takes bytes whose MAC was checked.
    pub(super) fn new(artifact: Vec<u8>) -> Self {
        Self(artifact)
    }

    /// Loads the machine code.
    ///
    /// # Errors
    /// Where it was made by another version of wasmtime, or for other settings.
    pub(super) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: this host's compiler made these bytes, as their MAC proves.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
