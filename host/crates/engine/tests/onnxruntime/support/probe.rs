//! Devices as a test wants them.

use std::collections::BTreeMap;

use wharf_engine::{Device, DeviceMemory, DeviceProbe};

/// Answers what it was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeProbe {
    /// The memory of the CPU.
    pub(crate) cpu: Option<DeviceMemory>,
    /// The CUDA devices and their memory, by index.
    pub(crate) cuda: BTreeMap<u32, DeviceMemory>,
}

impl DeviceProbe for FakeProbe {
    fn cuda_devices(&self) -> Vec<u32> {
        self.cuda.keys().copied().collect()
    }

    fn memory(&self, device: Device) -> Option<DeviceMemory> {
        match device {
            Device::Cpu => self.cpu,
            Device::Cuda(index) => self.cuda.get(&index).copied(),
        }
    }
}
