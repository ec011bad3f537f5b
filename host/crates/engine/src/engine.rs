//! The engine: loads versions of models on ONNX Runtime.

mod classes;
mod load;
mod mock;
mod plan;
mod rows;
mod warmup;

pub use mock::MockEngine;

use std::path::PathBuf;
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use ort::environment::Environment;
use wharf_core::{
    Cancel, Digest, Engine, LoadError, Model, ModelFolder, ModelVersion, ModelVersions,
};

use crate::batching::{Gates, Watchdog};
use crate::cache::{self, ResponseCache};
use crate::metrics::Metrics;
use crate::ort::{LibraryError, environment, find};
use crate::site::{DigestCache, ModelDir, pick, pick_below, read_settings};
use crate::{Config, CudaProbe, Device, DeviceProbe};

/// Runs ONNX models. Its methods block: call them where that does no harm.
pub struct OnnxEngine {
    environment: Environment,
    config: Config,
    probe: Arc<dyn DeviceProbe>,
    digests: DigestCache,
    watchdog: Arc<Watchdog>,
    gates: Gates,
    cache: Arc<ResponseCache>,
    metrics: Metrics,
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no ONNX Runtime library, or it cannot be used.
    #[error(
        "ONNX Runtime is not to be had: {reason}; `cargo xtask setup` fetches it, and WHARF_ONNXRUNTIME names another \
         libonnxruntime.so"
    )]
    Library {
        /// What was looked for, and what became of it.
        reason: String,
    },
    /// A thread could not be started.
    #[error("the engine's watchdog cannot be started")]
    Thread(#[from] std::io::Error),
}

impl From<LibraryError> for OpenError {
    fn from(error: LibraryError) -> Self {
        Self::Library {
            reason: error.to_string(),
        }
    }
}

impl OnnxEngine {
    /// Finds and loads ONNX Runtime. The process has one: a second engine shares the first one's library.
    ///
    /// # Errors
    /// Where the library is not there or not usable; the error names the command that fetches it.
    pub fn new(config: Config, meter: &Meter) -> Result<Self, OpenError> {
        Self::with_probe(config, meter, Arc::new(CudaProbe::new()))
    }

    /// The same with another view of the devices.
    ///
    /// # Errors
    /// As [`OnnxEngine::new`].
    pub fn with_probe(
        config: Config,
        meter: &Meter,
        probe: Arc<dyn DeviceProbe>,
    ) -> Result<Self, OpenError> {
        let library: PathBuf = find(config.onnxruntime.as_deref())?;
        let environment = environment(&library).map_err(|reason| OpenError::Library { reason })?;
        tracing::debug!(library = %library.display(), "onnx runtime is loaded");
        let largest = probe
            .memory(Device::Cpu)
            .map_or(u64::MAX, |memory| memory.total);
        let metrics = Metrics::new(meter, Arc::clone(&probe));
        let bytes = config.cache_bytes.unwrap_or(cache::BYTES);
        let cache = ResponseCache::new(bytes, metrics.evictions());
        metrics.watch_cache(&cache);
        Ok(Self {
            environment,
            config,
            metrics,
            probe,
            digests: DigestCache::new(largest),
            watchdog: Arc::new(Watchdog::start()?),
            gates: Gates::default(),
            cache,
        })
    }
}

impl Engine for OnnxEngine {
    fn versions(&self, folder: &ModelFolder) -> Result<ModelVersions, LoadError> {
        versions(folder, &self.digests)
    }

    fn version_below(
        &self,
        folder: &ModelFolder,
        version: u64,
    ) -> Result<Option<ModelVersion>, LoadError> {
        version_below(folder, version, &self.digests)
    }

    fn load(&self, version: &ModelVersion, cancel: &Cancel) -> Result<Arc<dyn Model>, LoadError> {
        self.load_version(version, cancel)
    }
}

fn versions(folder: &ModelFolder, digests: &DigestCache) -> Result<ModelVersions, LoadError> {
    let dir = ModelDir::open(&folder.site, &folder.name)?;
    let settings = read_settings(&dir)?;
    let picked = pick(&dir, &settings, digests)?;
    let labels = settings.versions.labels.iter();
    // A label means a version that is there.
    let has_any = !picked.serve.is_empty();
    let labels = labels.filter(|_| has_any);
    Ok(ModelVersions {
        serve: picked
            .serve
            .into_iter()
            .map(|picked| version_of(folder, picked))
            .collect(),
        idle: picked.idle,
        only_labelled: picked.only_labelled,
        labels: labels
            .map(|(label, version)| (label.as_str().into(), *version))
            .collect(),
        tenants: settings.tenants(),
    })
}

fn version_below(
    folder: &ModelFolder,
    version: u64,
    digests: &DigestCache,
) -> Result<Option<ModelVersion>, LoadError> {
    let dir = ModelDir::open(&folder.site, &folder.name)?;
    let settings = read_settings(&dir)?;
    let picked = pick_below(&dir, &settings, version, digests)?;
    Ok(picked.map(|picked| version_of(folder, picked)))
}

fn version_of(folder: &ModelFolder, (version, digest): (u64, Digest)) -> ModelVersion {
    ModelVersion {
        site: folder.site.clone(),
        name: folder.name.clone(),
        version,
        digest,
    }
}
