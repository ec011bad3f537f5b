//! What the machine has to run models on, and how much memory is left there.

mod cuda;
mod free;
mod gate;
mod host;

pub use cuda::CudaProbe;
pub(crate) use free::FreeMemory;
pub(crate) use gate::check_fit;

use crate::Device;

/// Memory of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Not in use by anyone.
    pub free: u64,
    /// All there is.
    pub total: u64,
}

impl DeviceMemory {
    /// What is in use, by anyone.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.free)
    }
}

/// Looks at devices. Never fails: what cannot be seen is not there.
pub trait DeviceProbe: Send + Sync + 'static {
    /// The indices of the CUDA devices that this process may use; none without a driver.
    fn cuda_devices(&self) -> Vec<u32>;

    /// The indices of the CUDA devices that models were put on, or asked to be: those whose memory is worth to be watched.
    /// Looking at the memory of another may take some of it.
    fn watched_devices(&self) -> Vec<u32> {
        self.cuda_devices()
    }

    /// The memory of a device; none where the device is not there or does not say.
    fn memory(&self, device: Device) -> Option<DeviceMemory>;
}
