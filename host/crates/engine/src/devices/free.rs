//! The free memory of a model's devices, looked at now and then: routers ask for each request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::DeviceProbe;
use crate::Device;

/// How long an answer is good.
const FRESH: Duration = Duration::from_millis(250);

pub(crate) struct FreeMemory {
    probe: Arc<dyn DeviceProbe>,
    devices: Vec<Device>,
    last: Mutex<Option<(Instant, Option<u64>)>>,
}

impl FreeMemory {
    pub(crate) fn of(mut devices: Vec<Device>, probe: Arc<dyn DeviceProbe>) -> Self {
        devices.retain(|device| *device != Device::Cpu);
        Self {
            probe,
            devices,
            last: Mutex::new(None),
        }
    }

    /// The bytes free on the fullest CUDA device; none for the CPU, whose memory all models share.
    pub(crate) fn get(&self) -> Option<u64> {
        if self.devices.is_empty() {
            return None;
        }
        let mut last = self.last.lock();
        match *last {
            Some((at, free)) if at.elapsed() < FRESH => free,
            _ => {
                let free = self
                    .devices
                    .iter()
                    .filter_map(|device| self.probe.memory(*device))
                    .map(|memory| memory.free)
                    .min();
                *last = Some((Instant::now(), free));
                free
            }
        }
    }
}
