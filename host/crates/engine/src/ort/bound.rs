//! Runs on a device: inputs go through memory that the driver has pinned, which it copies from without a detour, and outputs
//! come back into such memory.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{RunOptions, Session};
use ort::value::{DynTensor, DynValue};
use smallvec::SmallVec;
use wharf_core::{Datatype, Tensor, TensorSpec};

use super::call::{self, Value};
use super::value::{self, ValueError};

/// A session whose inputs and outputs are bound to a place, run by one thread at a time.
pub(super) struct Bound {
    session: Session,
    /// Where the host writes inputs, and reads outputs.
    staging: MemoryInfo<'static>,
    allocator: Allocator,
    host: MemoryInfo<'static>,
}

impl Bound {
    /// Binds a session on a CUDA device to pinned memory; to the host's where the library gives none.
    pub(super) fn pinned(session: Session, device: u32) -> ort::Result<Self> {
        let device = i32::try_from(device).unwrap_or(i32::MAX);
        let pinned = MemoryInfo::new(
            AllocationDevice::CUDA_PINNED,
            device,
            AllocatorType::Device,
            MemoryType::CPUOutput,
        );
        let allocated = pinned.and_then(|place| {
            let allocator = Allocator::new(&session, place.clone())?;
            Ok((allocator, place))
        });
        let (allocator, staging) = match allocated {
            Ok(allocated) => allocated,
            Err(error) => {
                tracing::warn!(%error, "there is no pinned memory: copies to the device take a detour");
                let host = MemoryInfo::default();
                (Allocator::new(&session, host.clone())?, host)
            }
        };
        Ok(Self {
            session,
            staging,
            allocator,
            host: MemoryInfo::default(),
        })
    }

    /// Runs the model on inputs in any order. The outer error is of an input, the inner one of the run.
    pub(super) fn run(
        &mut self,
        inputs: &[Tensor],
        outputs: &[TensorSpec],
        options: &RunOptions,
    ) -> Result<ort::Result<SmallVec<[Value<'static>; 6]>>, ValueError> {
        let mut binding = self.session.create_binding()?;
        for tensor in inputs {
            match tensor.datatype() {
                // Strings are objects of the host: no device works on them.
                Datatype::Bytes => binding.bind_input(tensor.name(), &value::text(tensor)?)?,
                _ => binding.bind_input(tensor.name(), &self.stage(tensor)?)?,
            }
        }
        for output in outputs {
            let place = match output.datatype {
                Datatype::Bytes => &self.host,
                _ => &self.staging,
            };
            binding.bind_output_to_device(&*output.name, place)?;
        }
        binding.synchronize_inputs()?;
        let produced = match self.session.run_binding_with_options(&binding, options) {
            Ok(produced) => produced,
            Err(error) => return Ok(Err(error)),
        };
        // The copies into pinned memory are only begun when the run is over.
        binding.synchronize_outputs()?;
        let values = produced
            .into_iter()
            .map(|(_, value): (_, DynValue)| Value::from(value))
            .collect();
        Ok(Ok(values))
    }

    /// Copies a tensor into staging memory.
    fn stage(&self, tensor: &Tensor) -> Result<DynTensor, ValueError> {
        let element = value::element(tensor.datatype()).into();
        let dimensions = value::dimensions(tensor).into_vec();
        let mut staged = DynTensor::new(&self.allocator, element, dimensions)?;
        call::fill(&mut staged, tensor.data())?;
        Ok(staged)
    }
}

#[cfg(test)]
mod tests;
