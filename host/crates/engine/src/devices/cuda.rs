//! Looks at CUDA devices through the driver, which is loaded when it is first asked for. A machine without the driver, or
//! without a device, has none: that is an answer and no error.
#![expect(
    unsafe_code,
    reason = "the driver's library is looked for by loading it"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use cudarc::driver::{CudaContext, DriverError};
use parking_lot::Mutex;

use super::{DeviceMemory, DeviceProbe, host};
use crate::Device;

/// Asks the CUDA driver, and the operating system for the CPU.
///
/// The driver tells a device's free memory only to who has a context on it. The probe takes the primary context, the one
/// that ONNX Runtime uses too, when it is first asked, and keeps it: making it anew for each look takes a tenth of a second.
/// A context takes some hundred megabytes of its device, so nobody asks but who loads a model there, and who has.
#[derive(Default)]
pub struct CudaProbe {
    devices: OnceLock<u32>,
    contexts: Mutex<BTreeMap<u32, Option<Arc<CudaContext>>>>,
}

impl CudaProbe {
    /// Makes a probe. Nothing is loaded yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn device_count(&self) -> u32 {
        *self.devices.get_or_init(|| {
            // SAFETY: loading the driver's library runs its initialisers, which its vendor made for being loaded into any
            // process; the name is the system's own, and no path comes from the site.
            if !unsafe { cudarc::driver::sys::is_culib_present() } {
                tracing::debug!("no cuda driver on this machine");
                return 0;
            }
            guarded("counting", CudaContext::device_count)
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0)
        })
    }

    fn context(&self, index: u32) -> Option<Arc<CudaContext>> {
        if index >= self.device_count() {
            return None;
        }
        let mut contexts = self.contexts.lock();
        let context = contexts
            .entry(index)
            .or_insert_with(|| guarded("opening", || CudaContext::new(index as usize)));
        context.clone()
    }
}

impl DeviceProbe for CudaProbe {
    fn cuda_devices(&self) -> Vec<u32> {
        (0..self.device_count()).collect()
    }

    fn watched_devices(&self) -> Vec<u32> {
        let contexts = self.contexts.lock();
        let open = contexts.iter().filter(|(_, context)| context.is_some());
        open.map(|(index, _)| *index).collect()
    }

    fn memory(&self, device: Device) -> Option<DeviceMemory> {
        match device {
            Device::Cpu => host::memory(),
            Device::Cuda(index) => {
                let context = self.context(index)?;
                let (free, total) = guarded("measuring", || context.mem_get_info())?;
                Some(DeviceMemory {
                    free: free as u64,
                    total: total as u64,
                })
            }
        }
    }
}

/// Runs a call into the driver. `cudarc` panics where the library lacks a function, as one older than the program may.
fn guarded<T>(doing: &'static str, call: impl FnOnce() -> Result<T, DriverError>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::warn!(doing, %error, "the cuda driver failed");
            None
        }
        Err(_) => {
            tracing::warn!(doing, "the cuda driver lacks a function; update it");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_devices_answers_cleanly() {
        let probe = CudaProbe::new();
        let devices = probe.cuda_devices();
        assert!(
            probe.watched_devices().is_empty(),
            "no context is made unasked"
        );
        assert_eq!(probe.memory(Device::Cuda(devices.len() as u32)), None);
        for index in devices {
            let memory = probe
                .memory(Device::Cuda(index))
                .expect("a device that is there has memory");
            assert!(memory.free <= memory.total);
        }
        assert!(probe.memory(Device::Cpu).is_some());
    }
}
