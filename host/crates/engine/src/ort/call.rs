//! Calls into ONNX Runtime's C interface, for what `ort` does with more work than a short run takes: it looks up an allocator
//! for every output, copies every name, and lets only one thread run a session.
//!
//! ONNX Runtime promises that `Run` may be called on one session from several threads; for its CPU provider that was
//! checked under Helgrind, with batches of changing sizes. `ort` does not trust it, because other providers broke it:
//! only sessions on the CPU are shared here.
#![expect(
    unsafe_code,
    reason = "a C interface: every pointer comes from it or from a live Rust value, and every status is looked at"
)]

use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ort::memory::{Allocator, MemoryInfo};
use ort::session::RunOptions;
use ort::value::{DynTensor, DynValue};
use ort::{AsPointer, sys};
use smallvec::SmallVec;

/// Values up to so many are kept on the stack.
const FEW: usize = 6;

/// A value of ONNX Runtime, released when it is dropped.
pub(super) struct Value<'a> {
    pointer: NonNull<sys::OrtValue>,
    owner: Owner,
    /// The data that an input shows.
    shown: PhantomData<&'a [u8]>,
}

enum Owner {
    /// This value releases itself. The arena that its data lie in must outlive them.
    Itself { _arena: Option<Arc<Arena>> },
    /// `ort` releases it.
    Ort { _value: DynValue },
}

// SAFETY: a value is written by the run that made it and read afterwards, and reading takes no state that is bound to a
// thread.
unsafe impl Send for Value<'_> {}
// SAFETY: as above; nothing is written through a shared reference.
unsafe impl Sync for Value<'_> {}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        if let Owner::Itself { .. } = self.owner {
            // SAFETY: the value is ours, and released once.
            unsafe { (ort::api().ReleaseValue)(self.pointer.as_ptr()) };
        }
    }
}

impl From<DynValue> for Value<'_> {
    fn from(value: DynValue) -> Self {
        let pointer = NonNull::new(value.ptr().cast_mut());
        Self {
            pointer: pointer.expect("ort makes no value of a null pointer"),
            owner: Owner::Ort { _value: value },
            shown: PhantomData,
        }
    }
}

impl<'a> Value<'a> {
    /// Shows data as a tensor, without a copy. The data must fill the shape, which ONNX Runtime checks.
    pub(super) fn showing(
        data: &'a [u8],
        shape: &[i64],
        element: sys::ONNXTensorElementDataType,
        place: &MemoryInfo<'_>,
    ) -> ort::Result<Self> {
        let mut value = ptr::null_mut();
        // SAFETY: the data live as long as this value, by its lifetime. ONNX Runtime does not write to inputs; an output that
        // is an input is copied by who takes it.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                place.ptr(),
                data.as_ptr().cast_mut().cast(),
                data.len(),
                shape.as_ptr(),
                shape.len(),
                element,
                &mut value,
            )
        })?;
        Ok(Self {
            pointer: NonNull::new(value)
                .ok_or_else(|| ort::Error::new("no value was made of an input"))?,
            owner: Owner::Itself { _arena: None },
            shown: PhantomData,
        })
    }

    /// The element type and the shape of a tensor.
    pub(super) fn shape(&self) -> ort::Result<(sys::ONNXTensorElementDataType, &[i64])> {
        let mut element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let (mut shape, mut rank) = (ptr::null(), 0);
        // SAFETY: the value is live, and what is written to is.
        check(unsafe {
            (ort::api().GetTensorElementTypeAndShapeDataReference)(
                self.pointer.as_ptr(),
                &mut element,
                &mut shape,
                &mut rank,
            )
        })?;
        let shape = if rank == 0 || shape.is_null() {
            &[]
        } else {
            // SAFETY: the shape is part of the value and does not change.
            unsafe { slice::from_raw_parts(shape, rank) }
        };
        Ok((element, shape))
    }

    /// The data of a tensor in the host's memory whose elements are plain numbers; `len` is what shape and element type
    /// take, in bytes.
    pub(super) fn data(&self, len: usize) -> ort::Result<&[u8]> {
        if len == 0 {
            return Ok(&[]);
        }
        let mut data = ptr::null_mut();
        // SAFETY: the value is live.
        check(unsafe { (ort::api().GetTensorMutableData)(self.pointer.as_ptr(), &mut data) })?;
        let mut actual = 0;
        // SAFETY: the value is live.
        check(unsafe { (ort::api().GetTensorSizeInBytes)(self.pointer.as_ptr(), &mut actual) })?;
        if data.is_null() || actual < len {
            return Err(ort::Error::new("a tensor has less data than its shape"));
        }
        // SAFETY: there are at least `len` bytes, which stay as long as the value and are not written to any more.
        Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
    }

    /// The elements of a tensor of texts, one after the other, and where each begins.
    pub(super) fn text(&self, elements: usize) -> ort::Result<(Vec<u8>, Vec<usize>)> {
        let mut len = 0;
        // SAFETY: the value is live.
        check(unsafe { (ort::api().GetStringTensorDataLength)(self.pointer.as_ptr(), &mut len) })?;
        let (mut text, mut starts) = (vec![0_u8; len], vec![0_usize; elements]);
        if elements > 0 {
            // SAFETY: both places have the lengths that are given.
            check(unsafe {
                (ort::api().GetStringTensorContent)(
                    self.pointer.as_ptr(),
                    text.as_mut_ptr().cast(),
                    len,
                    starts.as_mut_ptr(),
                    elements,
                )
            })?;
        }
        Ok((text, starts))
    }
}

/// The allocator of a session. Outputs lie in its memory, and may outlive the session.
struct Arena(#[expect(dead_code, reason = "kept, and never called")] Allocator);

// SAFETY: nothing is done through it but to release it, which counts references atomically.
unsafe impl Sync for Arena {}

/// A model in ONNX Runtime, on the CPU: its weights and kernels, which any number of threads may run at a time.
pub(super) struct Graph {
    session: ort::session::Session,
    arena: Arc<Arena>,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
    host: MemoryInfo<'static>,
    surplus: Option<Arc<AtomicBool>>,
}

impl Graph {
    /// Takes a session over, which keeps memory between runs or does not. `inputs` are the names of all inputs that a run may
    /// have.
    pub(super) fn new<'n>(
        (session, keeps_memory): (ort::session::Session, bool),
        inputs: impl Iterator<Item = &'n str>,
        outputs: impl Iterator<Item = &'n str>,
    ) -> ort::Result<Self> {
        let text = |name: &str| {
            CString::new(name)
                .map_err(|_| ort::Error::new("an input or output has NUL in its name"))
        };
        let host = MemoryInfo::default();
        Ok(Self {
            arena: Arc::new(Arena(Allocator::new(&session, host.clone())?)),
            inputs: inputs.map(text).collect::<Result<_, _>>()?,
            outputs: outputs.map(text).collect::<Result<_, _>>()?,
            session,
            host,
            surplus: keeps_memory.then(Arc::default),
        })
    }

    /// Whether the next run is to give the memory back that was kept and is not in use; none where a session keeps nothing,
    /// which ONNX Runtime would fail the run for.
    pub(super) fn surplus(&self) -> Option<&Arc<AtomicBool>> {
        self.surplus.as_ref()
    }

    /// What says that data lie in the host's memory.
    pub(super) fn host(&self) -> &MemoryInfo<'static> {
        &self.host
    }

    /// Runs the model. Each input comes with its index among the names.
    pub(super) fn run(
        &self,
        inputs: &[(usize, Value<'_>)],
        options: &RunOptions,
    ) -> ort::Result<SmallVec<[Value<'static>; FEW]>> {
        let names: SmallVec<[*const c_char; FEW]> = inputs
            .iter()
            .map(|(index, _)| self.inputs[*index].as_ptr())
            .collect();
        let values: SmallVec<[*const sys::OrtValue; FEW]> = inputs
            .iter()
            .map(|(_, value)| value.pointer.as_ptr().cast_const())
            .collect();
        let output_names: SmallVec<[*const c_char; FEW]> =
            self.outputs.iter().map(|name| name.as_ptr()).collect();
        let mut outputs: SmallVec<[*mut sys::OrtValue; FEW]> =
            smallvec::smallvec![ptr::null_mut(); self.outputs.len()];
        // SAFETY: every array is as long as its count says, and all that it points to outlives the call. The session may be
        // run by other threads at the same time, see the module.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.ptr(),
                names.as_ptr(),
                values.as_ptr(),
                values.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            )
        };
        let own = |pointer| Value {
            pointer,
            owner: Owner::Itself {
                _arena: Some(Arc::clone(&self.arena)),
            },
            shown: PhantomData,
        };
        let values: SmallVec<[Value<'static>; FEW]> = outputs
            .iter()
            .filter_map(|pointer| NonNull::new(*pointer).map(own))
            .collect();
        check(status)?;
        if values.len() != self.outputs.len() {
            return Err(ort::Error::new("the model left an output out"));
        }
        Ok(values)
    }
}

/// Writes the data of a tensor whose elements are plain numbers, in memory that the host can reach.
pub(super) fn fill(tensor: &mut DynTensor, data: &[u8]) -> ort::Result<()> {
    let mut room = 0;
    // SAFETY: the value is live.
    check(unsafe { (ort::api().GetTensorSizeInBytes)(tensor.ptr(), &mut room) })?;
    if room != data.len() || !tensor.memory_info().is_cpu_accessible() {
        return Err(ort::Error::new("there is no room for an input"));
    }
    if room > 0 {
        // SAFETY: the tensor was borrowed for writing, the host can reach it, and it has room for all of the data.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), tensor.data_ptr_mut().cast(), room) };
    }
    Ok(())
}

/// Lets a run give the memory of its session back, when it is over, that is not in use. The session would keep it for the
/// next run.
pub(super) fn shrink_after(options: &RunOptions) -> ort::Result<()> {
    // SAFETY: the texts end in NUL. Another thread may set the flag that ends the run, which is another field.
    check(unsafe {
        (ort::api().AddRunConfigEntry)(
            options.ptr().cast_mut(),
            c"memory.enable_memory_arena_shrinkage".as_ptr(),
            c"cpu:0".as_ptr(),
        )
    })
}

fn check(status: sys::OrtStatusPtr) -> ort::Result<()> {
    // SAFETY: the status comes from the call that is checked, and is taken over once.
    unsafe { ort::Error::result_from_status(status) }
}
