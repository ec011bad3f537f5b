//! Lists that the host lends to a guest: lowered straight from the shared buffer of a tensor into the guest's memory.
//!
//! The bindings that wasmtime generates return a list as a `Vec`, which would be a second copy of the data. wasmtime
//! lowers slices without one, but a host function cannot return a borrowed slice. [`Lent`] owns a share of the buffer
//! and lowers as the slice.
#![expect(
    unsafe_code,
    reason = "wasmtime's component traits are unsafe to implement; see the safety comments"
)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use bytes::Bytes;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};
use wharf_core::Element;

/// A `list<T>` whose elements stand in a shared buffer.
pub(crate) struct Lent<T> {
    bytes: Bytes,
    elements: PhantomData<T>,
}

impl<T: Element> Lent<T> {
    /// Takes a share of a buffer that is aligned for `T` and holds whole elements, as tensors guarantee.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            elements: PhantomData,
        }
    }

    fn as_slice(&self) -> &[T] {
        bytemuck::cast_slice(&self.bytes)
    }
}

// SAFETY: the flat form, the canonical ABI and the type check are those of `[T]`, and every value lowers as one.
unsafe impl<T: Element + ComponentType> ComponentType for Lent<T> {
    type Lower = <[T] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[T] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <[T] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: both methods hand the same arguments to the implementation of `[T]`, whose flat form and ABI these are.
unsafe impl<T: Element + Lower> Lower for Lent<T> {
    fn linear_lower_to_flat<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        self.as_slice().linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<U>(
        &self,
        cx: &mut LowerContext<'_, U>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        self.as_slice().linear_lower_to_memory(cx, ty, offset)
    }
}
