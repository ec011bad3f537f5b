//! Settles what `model.toml` leaves open: how many instances, on what, with how many threads.

use std::num::NonZeroU32;

use wharf_core::LoadError;

use super::OnnxEngine;
use crate::Device;
use crate::devices::check_fit;
use crate::ort::{Session, SessionOptions, build};
use crate::settings::Settings;
use crate::site::Source;

/// From so many bytes on, instances on the CPU are one session: one copy of the weights, built once. Below, a copy costs
/// less than sharing does: threads that run one session meet at the lock of its arena, which takes some 3% of runs that
/// last 50 us, and nothing that can be measured of those of a large model.
const SHARE_FROM: u64 = 16 << 20;
/// Models of fewer bytes have so many that the copies matter only where there are very many cores.
const COPIES: u64 = 1 << 30;

/// The instances of a model on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) device: Device,
    pub(super) instances: u32,
    /// The sessions that these instances are; one where they share it.
    pub(super) sessions: u32,
    pub(super) intra_threads: u32,
}

impl OnnxEngine {
    /// Plans the instances on each device, and checks that the devices are there and have room.
    pub(super) fn plan(&self, source: &Source) -> Result<Vec<Plan>, LoadError> {
        let settings = &source.settings;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let devices = settings.devices();
        let plans: Vec<Plan> = devices
            .iter()
            .map(|device| {
                plan_device(
                    *device,
                    settings,
                    (self.config.instances, self.config.intra_threads),
                    cores,
                    source.bytes(),
                )
            })
            .collect();
        for plan in &plans {
            self.check_device(source, *plan)?;
        }
        Ok(plans)
    }

    fn check_device(&self, source: &Source, plan: Plan) -> Result<(), LoadError> {
        let device = plan.device;
        let refused = |message: String| {
            LoadError::new(source.settings_label.clone(), message)
                .with_key(source.settings.device_key())
        };
        if let Device::Cuda(index) = device {
            let devices = self.probe.cuda_devices();
            if devices.is_empty() {
                return Err(refused(format!(
                    "{device} is asked for, but no CUDA device was found; use device = \"cpu\", or install the NVIDIA \
                     driver"
                )));
            }
            if !devices.contains(&index) {
                return Err(refused(format!(
                    "there is no CUDA device {index}; this machine has {devices:?}, so use one of these"
                )));
            }
        }
        check_fit(
            device,
            self.probe.memory(device),
            source.bytes(),
            plan.sessions,
        )
        .map_err(refused)
    }

    /// Builds the sessions of every device.
    pub(super) fn build_sessions(
        &self,
        source: &Source,
        plans: &[Plan],
    ) -> Result<Vec<Session>, LoadError> {
        let mut sessions: Vec<Session> = Vec::new();
        for plan in plans {
            let options = SessionOptions {
                device: plan.device,
                intra_threads: plan.intra_threads,
                inter_threads: source.settings.threads.inter.map_or(1, NonZeroU32::get),
                arena: source.settings.memory.arena,
                device_limit: source
                    .settings
                    .memory
                    .gpu_limit_mb
                    .map(|limit| u64::from(limit.get()) << 20),
            };
            for instance in 0..plan.instances {
                let shared = match sessions.last() {
                    Some(session) if instance >= plan.sessions => session.sharing(),
                    _ => None,
                };
                let session = match shared {
                    Some(session) => session,
                    None => build(&self.environment, &source.model, &source.external, options)
                        .map_err(|error| refuse_model(source, plan.device, error))?,
                };
                sessions.push(session);
            }
        }
        Ok(sessions)
    }
}

/// On two cores two instances of one thread answer more requests than one of two threads, so the cores go to instances
/// first. `defaults` are the instances and threads that `wharf.toml` says.
fn plan_device(
    device: Device,
    settings: &Settings,
    defaults: (Option<NonZeroU32>, Option<NonZeroU32>),
    cores: u64,
    bytes: u64,
) -> Plan {
    let Settings {
        instances, threads, ..
    } = settings;
    let (default_instances, default_intra) = defaults;
    let may_share =
        device == Device::Cpu && bytes >= SHARE_FROM && threads.inter.is_none_or(is_one);
    let by_default = match device {
        Device::Cpu => default_instances.map_or_else(
            || {
                if may_share {
                    cores
                } else {
                    (COPIES / bytes.max(1)).clamp(1, cores)
                }
            },
            wide,
        ),
        Device::Cuda(_) => 1,
    };
    let count = instances.count.map_or(by_default, wide);
    let intra = threads
        .intra
        .or(default_intra)
        .map_or((cores / count).max(1), wide);
    Plan {
        device,
        instances: narrow(count),
        // Instances with threads of their own keep a session of their own: one pool would serve all of them.
        sessions: if may_share && intra == 1 {
            1
        } else {
            narrow(count)
        },
        intra_threads: narrow(intra),
    }
}

fn refuse_model(source: &Source, device: Device, error: String) -> LoadError {
    match device {
        Device::Cuda(_) if error.contains("CUDA") => {
            let message =
                format!("{error}; use the library of onnxruntime-gpu, or device = \"cpu\"");
            LoadError::new(source.settings_label.clone(), message)
                .with_key(source.settings.device_key())
        }
        _ => LoadError::new(source.label.clone(), error),
    }
}

fn is_one(count: NonZeroU32) -> bool {
    count == NonZeroU32::MIN
}

fn wide(count: NonZeroU32) -> u64 {
    u64::from(count.get())
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: u64 = 1 << 20;
    const LARGE: u64 = 45 << 20;

    fn plan(settings: &str, bytes: u64) -> (u32, u32, u32) {
        let settings = Settings::parse("model.toml", settings).unwrap();
        let device = settings.devices()[0];
        let plan = plan_device(device, &settings, (None, None), 4, bytes);
        (plan.instances, plan.sessions, plan.intra_threads)
    }

    #[test]
    fn cores_go_to_instances_and_large_weights_are_shared() {
        assert_eq!(plan("", SMALL), (4, 4, 1));
        assert_eq!(plan("", LARGE), (4, 1, 1));
        assert_eq!(plan("", 3 << 30), (4, 1, 1));
        assert_eq!(plan("[instances]\ncount = 2", LARGE), (2, 2, 2));
        assert_eq!(
            plan("[instances]\ncount = 2\n[threads]\nintra = 1", LARGE),
            (2, 1, 1)
        );
        assert_eq!(plan("[threads]\ninter = 2", 600 << 20), (1, 1, 4));
        assert_eq!(plan("[instances]\ndevice = \"cuda:0\"", LARGE), (1, 1, 4));
    }
}
