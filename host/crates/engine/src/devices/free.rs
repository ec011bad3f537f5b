//! The free memory of a model's device, looked at now and then: routers ask for each request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::DeviceProbe;
use crate::Device;

/// How long an answer is good.
const FRESH: Duration = Duration::from_millis(250);

pub(crate) struct FreeMemory {
    probe: Arc<dyn DeviceProbe>,
    device: Device,
    last: Mutex<Option<(Instant, Option<u64>)>>,
}

impl FreeMemory {
    pub(crate) fn of(device: Device, probe: Arc<dyn DeviceProbe>) -> Self {
        Self {
            probe,
            device,
            last: Mutex::new(None),
        }
    }

    /// The bytes free on a CUDA device; none for the CPU, whose memory all models share.
    pub(crate) fn get(&self) -> Option<u64> {
        if self.device == Device::Cpu {
            return None;
        }
        let mut last = self.last.lock();
        match *last {
            Some((at, free)) if at.elapsed() < FRESH => free,
            _ => {
                let free = self.probe.memory(self.device).map(|memory| memory.free);
                *last = Some((Instant::now(), free));
                free
            }
        }
    }
}
