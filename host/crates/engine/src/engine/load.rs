//! Loads a version: reads and checks its bytes, builds its sessions, warms them up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wharf_core::{
    AlignedBytes, Datatype, LoadError, Model, ModelInfo, ModelVersion, Shape, Tensor, TensorSpec,
};

use super::OnnxEngine;
use crate::batching::{Limits, Scheduler, Watchdog, is_joinable};
use crate::devices::{FreeMemory, check_fit};
use crate::model::OnnxModel;
use crate::ort::{RunError, Session, SessionOptions, build};
use crate::settings::Settings;
use crate::site::Source;
use crate::{Device, memory};

/// The copies of a model's weights that its instances hold take no more than this unless `model.toml` says how many there
/// are.
const COPIES: u64 = 1 << 30;
/// Runs of the warm-up on each instance: the first makes its memory, the others tell its pace.
const WARMUP_RUNS: u32 = 3;

impl OnnxEngine {
    pub(super) fn load_version(&self, version: &ModelVersion) -> Result<Arc<dyn Model>, LoadError> {
        let source = Source::read(version, &*self.probe)?;
        let plan = self.plan(&source)?;
        let mut sessions = self
            .build_sessions(&source, plan)
            .inspect_err(|_| memory::trim())?;
        let limits = self.limits(&source, &sessions[0])?;
        let paces =
            warm_up(&source, &mut sessions, &self.watchdog).inspect_err(|_| memory::trim())?;
        let settings = &source.settings;
        let info = ModelInfo {
            name: version.name.clone(),
            version: version.version,
            digest: version.digest,
            platform: "onnxruntime_onnx",
            device: settings.devices()[0].to_string(),
            inputs: sessions[0].inputs.clone(),
            outputs: sessions[0].outputs.clone(),
            max_batch_rows: limits.max_rows,
            instances: u32::try_from(sessions.len()).unwrap_or(u32::MAX),
            policy: settings.policy(),
            queueing: settings.queueing(),
        };
        let metrics = self
            .metrics
            .of(&version.name, version.version, sessions.len());
        let scheduler = Scheduler::new(
            version.name.clone(),
            limits,
            sessions,
            Arc::clone(&self.watchdog),
            metrics,
        );
        for (time, bytes) in paces {
            scheduler.warmed_up(time, bytes);
        }
        let free_memory = FreeMemory::of(settings.devices()[0], Arc::clone(&self.probe));
        let model = OnnxModel::start(info, scheduler, free_memory).map_err(|error| {
            LoadError::new(
                source.label.clone(),
                "threads for the instances cannot be started",
            )
            .with_source(error)
        })?;
        // The bytes that the sessions were built from.
        drop(source);
        memory::trim();
        Ok(Arc::new(model))
    }

    /// Settles what is left open: instances and threads by the cores. On two cores two instances of one thread answer more
    /// requests than one of two threads, so the cores go to instances first, as far as the copies of the weights allow.
    fn plan(&self, source: &Source) -> Result<Plan, LoadError> {
        let Settings {
            instances,
            threads,
            memory,
            ..
        } = &source.settings;
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let device = source.settings.devices()[0];
        let by_default = match device {
            Device::Cpu => self
                .config
                .instances
                .map_or_else(|| (COPIES / source.bytes().max(1)).clamp(1, cores), wide),
            Device::Cuda(_) => 1,
        };
        let count = instances.count.map_or(by_default, wide);
        let intra = threads
            .intra
            .or(self.config.intra_threads)
            .map_or((cores / count).max(1), wide);
        let plan = Plan {
            instances: narrow(count),
            options: SessionOptions {
                device,
                intra_threads: narrow(intra),
                inter_threads: threads.inter.map_or(1, NonZeroU32::get),
                arena: memory.arena,
            },
        };
        self.check_device(source, device, plan.instances)?;
        Ok(plan)
    }

    fn check_device(
        &self,
        source: &Source,
        device: Device,
        instances: u32,
    ) -> Result<(), LoadError> {
        let refused = |message: String| {
            LoadError::new(source.settings_label.clone(), message).with_key("instances.device")
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
        check_fit(device, self.probe.memory(device), source.bytes(), instances).map_err(refused)
    }

    fn build_sessions(&self, source: &Source, plan: Plan) -> Result<Vec<Session>, LoadError> {
        (0..plan.instances)
            .map(|_| {
                build(
                    &self.environment,
                    &source.model,
                    &source.external,
                    plan.options,
                )
            })
            .collect::<Result<_, _>>()
            .map_err(|error| match plan.options.device {
                Device::Cuda(_) if error.contains("CUDA") => {
                    let message =
                        format!("{error}; use the library of onnxruntime-gpu, or device = \"cpu\"");
                    LoadError::new(source.settings_label.clone(), message)
                        .with_key("instances.device")
                }
                _ => LoadError::new(source.label.clone(), error),
            })
    }

    fn limits(&self, source: &Source, session: &Session) -> Result<Limits, LoadError> {
        let Settings { batching, .. } = &source.settings;
        let max_rows = source.settings.max_rows();
        if max_rows > 1 && !(is_joinable(&session.inputs) && is_joinable(&session.outputs)) {
            return Err(LoadError::new(
                source.settings_label.clone(),
                "requests can be joined only where every input and output has a free first dimension; remove max_rows, or \
                 export the model with a dynamic batch",
            )
            .with_key("batching.max_rows"));
        }
        let capacity = batching
            .queue_capacity
            .or(self.config.queue_capacity)
            .unwrap_or(Limits::CAPACITY);
        Ok(Limits {
            max_rows,
            delay: Duration::from_millis(batching.delay_ms),
            capacity: capacity.get() as usize,
            wait: batching
                .queue_wait_ms
                .map_or(Limits::WAIT, Duration::from_millis),
            inline_below: self
                .config
                .inline_below_us
                .map_or(Limits::INLINE_BELOW, Duration::from_micros),
        })
    }
}

#[derive(Clone, Copy)]
struct Plan {
    instances: u32,
    options: SessionOptions,
}

fn wide(count: NonZeroU32) -> u64 {
    u64::from(count.get())
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Runs every instance on zeros. Gives the times of runs and the bytes of their inputs.
fn warm_up(
    source: &Source,
    sessions: &mut [Session],
    watchdog: &Watchdog,
) -> Result<Vec<(Duration, u64)>, LoadError> {
    let warmup = &source.settings.warmup;
    let wrong = |key: String, message: String| {
        LoadError::new(source.settings_label.clone(), message).with_key(key)
    };
    let specs = &sessions[0].inputs;
    if let Some(name) = warmup
        .shapes
        .keys()
        .find(|name| specs.iter().all(|spec| *spec.name != ***name))
    {
        return Err(wrong(
            format!("warmup.shapes.{name}"),
            "the model has no such input".to_owned(),
        ));
    }
    if !warmup.enabled {
        return Ok(Vec::new());
    }
    let inputs: Vec<Tensor> = specs
        .iter()
        .map(|spec| {
            let given = warmup.shapes.get(&*spec.name);
            zeros(spec, given)
                .map_err(|message| wrong(format!("warmup.shapes.{}", spec.name), message))
        })
        .collect::<Result<_, _>>()?;
    let bytes = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
    // An `Instant` cannot hold every number of milliseconds.
    let limit = Duration::from_millis(warmup.timeout_ms.min(24 * 3600 * 1000));
    let mut paces = Vec::new();
    for session in sessions {
        for run in 0..WARMUP_RUNS {
            let started = Instant::now();
            let options = ort::session::RunOptions::new()
                .map(Arc::new)
                .map_err(|error| LoadError::new(source.label.clone(), error.to_string()))?;
            // A model may loop for ever, on zeros too.
            let watch = watchdog.watch(started + limit, Arc::clone(&options));
            let outcome = session.run(&inputs, &options);
            drop(watch);
            outcome.map_err(|error| refuse_warm_up(source, &error))?;
            if run > 0 {
                paces.push((started.elapsed(), bytes));
            }
        }
    }
    Ok(paces)
}

fn refuse_warm_up(source: &Source, error: &RunError) -> LoadError {
    if matches!(error, RunError::Terminated) {
        let message = "the warm-up took too long; raise the timeout, or set enabled = false";
        return LoadError::new(source.settings_label.clone(), message)
            .with_key("warmup.timeout_ms");
    }
    LoadError::new(
        source.label.clone(),
        format!(
            "the warm-up on zeros failed: {error}; give [warmup] shapes in model.toml where free dimensions cannot be 1, \
             or set enabled = false"
        ),
    )
}

/// A tensor of zeros, or of empty texts, of an input's shape; free dimensions are 1 where none is given.
fn zeros(spec: &TensorSpec, given: Option<&Vec<u64>>) -> Result<Tensor, String> {
    let default: Shape = spec
        .shape
        .iter()
        .map(|dimension| dimension.unwrap_or(1))
        .collect();
    let shape = given.map_or(default, Shape::from);
    let fits = shape.len() == spec.shape.len()
        && shape
            .iter()
            .zip(&spec.shape)
            .all(|(given, fixed)| fixed.is_none_or(|fixed| fixed == *given));
    if !fits {
        return Err(format!(
            "the input has shape {}, which {shape} does not fit",
            crate::validate::shape(spec)
        ));
    }
    let size = spec.datatype.size().unwrap_or(4) as u64;
    let len = shape
        .elements()
        .and_then(|elements| elements.checked_mul(size))
        .and_then(|len| usize::try_from(len).ok())
        .filter(|len| *len <= COPIES as usize)
        .ok_or_else(|| {
            format!("an input of shape {shape} is too large for a warm-up; give a smaller shape")
        })?;
    // Four zero bytes are also the length of an empty text.
    debug_assert!(spec.datatype != Datatype::Bytes || size == 4);
    let data: Bytes = AlignedBytes::zeroed(len).into();
    Tensor::new(spec.name.clone(), spec.datatype, shape, data).map_err(|error| error.to_string())
}
