//! Refuses a load that cannot fit, before it takes anything.

use super::DeviceMemory;
use crate::Device;

/// What a session needs for each byte of its model on a CUDA device: the weights, the workspace of the kernels, activations.
const CUDA_PERCENT: u64 = 150;
/// On the CPU: the weights and, for the time of the load, the bytes that they are read from.
const CPU_PERCENT: u64 = 200;

/// Says whether instances of a model of so many bytes fit in the free memory of the device. Where the memory is not known,
/// everything fits.
pub(crate) fn check_fit(
    device: Device,
    memory: Option<DeviceMemory>,
    model_bytes: u64,
    instances: u32,
) -> Result<(), String> {
    let Some(memory) = memory else {
        return Ok(());
    };
    let percent = match device {
        Device::Cpu => CPU_PERCENT,
        Device::Cuda(_) => CUDA_PERCENT,
    };
    let needed = model_bytes
        .saturating_mul(u64::from(instances))
        .saturating_mul(percent)
        / 100;
    if needed <= memory.free {
        return Ok(());
    }
    Err(format!(
        "the model needs about {} MiB on {device} for {instances} instance(s), but {} MiB of {} MiB are free; unload \
         another model, lower [instances] count, or use another device",
        mebibytes(needed),
        memory.free >> 20,
        memory.total >> 20,
    ))
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused() {
        let memory = Some(DeviceMemory {
            free: 300 << 20,
            total: 1 << 30,
        });
        assert_eq!(check_fit(Device::Cuda(0), memory, 200 << 20, 1), Ok(()));
        let error = check_fit(Device::Cuda(0), memory, 200 << 20, 2).unwrap_err();
        assert!(
            error.contains("600 MiB on cuda:0") && error.contains("300 MiB of 1024 MiB"),
            "{error}"
        );
        assert!(check_fit(Device::Cpu, memory, 200 << 20, 1).is_err());
        assert!(check_fit(Device::Cuda(0), memory, u64::MAX, 2).is_err());
        assert_eq!(check_fit(Device::Cpu, None, u64::MAX, 1), Ok(()));
    }
}
