//! An engine that runs nothing: its models take what the real ones take, and answer with what the real ones could answer.
//!
//! It is for whoever writes a client, or tries routes and plugins, where ONNX Runtime or a large model would be in the way.
//! What a model takes and gives is read from its file and its `model.toml`, and a version that could not be loaded for what
//! these say is refused here, too. Answers are made up: of the same inputs always the same.

mod answer;

use std::sync::Arc;

use wharf_core::{
    BoxFuture, Cancel, Engine, Inference, LoadError, Model, ModelFolder, ModelInfo, ModelLoad,
    ModelVersion, ModelVersions, Queueing, RequestContext, Result, Tensor, TensorSpec, Timings,
};

use super::classes::with_classes;
use super::load::wiring;
use super::rows::rows;
use crate::batching::Limits;
use crate::onnx::{Dimension, Outlet, Outlets, outlets};
use crate::site::{DigestCache, Source};
use crate::{CudaProbe, Device, DeviceProbe, validate};

/// Answers in the place of ONNX Runtime.
pub struct MockEngine {
    probe: CudaProbe,
    digests: DigestCache,
}

impl MockEngine {
    /// Makes an engine. It needs no library and no device.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it asks the machine for its memory"
    )]
    pub fn new() -> Self {
        let probe = CudaProbe::new();
        let memory = probe.memory(Device::Cpu);
        let largest = memory.map_or(u64::MAX, |memory| memory.total);
        Self {
            probe,
            digests: DigestCache::new(largest),
        }
    }
}

impl Engine for MockEngine {
    fn versions(&self, folder: &ModelFolder) -> Result<ModelVersions, LoadError> {
        super::versions(folder, &self.digests)
    }

    fn version_below(
        &self,
        folder: &ModelFolder,
        version: u64,
    ) -> Result<Option<ModelVersion>, LoadError> {
        super::version_below(folder, version, &self.digests)
    }

    fn load(&self, version: &ModelVersion, _cancel: &Cancel) -> Result<Arc<dyn Model>, LoadError> {
        let source = Source::read(version, &self.probe)?;
        let outlets = outlets(&source.model)
            .map_err(|error| LoadError::new(source.label.clone(), error.to_string()))?;
        Ok(Arc::new(MockModel::of(version, &source, outlets)?))
    }
}

/// A model that is not run.
struct MockModel {
    info: ModelInfo,
    /// As the file has them; dimensions of one name are equally long.
    inputs: Vec<Outlet>,
    /// Those that clients see, in the order of the info.
    outputs: Vec<Outlet>,
}

impl MockModel {
    fn of(version: &ModelVersion, source: &Source, outlets: Outlets) -> Result<Self, LoadError> {
        let settings = &source.settings;
        let inputs: Vec<TensorSpec> = outlets.inputs.iter().map(spec).collect();
        let outputs: Vec<TensorSpec> = outlets.outputs.iter().map(spec).collect();
        // The sizes that a file does not say are ONNX Runtime's to find out.
        let max_batch_rows = rows(source, &inputs, &outputs).map_or(1, |rows| rows.max);
        let wiring = wiring(source, &inputs, &outputs)?;
        let outputs = with_classes(&outputs, source)?;
        let (inputs, outputs) = match &wiring {
            Some(wiring) => (wiring.visible_inputs(), wiring.visible_outputs(outputs)),
            None => (inputs, outputs),
        };
        let is_seen = |outlet: &Outlet| outputs.iter().any(|spec| *spec.name == *outlet.name);
        let seen = outlets.outputs.into_iter().filter(is_seen).collect();
        let devices: Vec<String> = settings.devices().iter().map(Device::to_string).collect();
        Ok(Self {
            info: ModelInfo {
                name: version.name.clone(),
                version: version.version,
                digest: version.digest,
                platform: "onnxruntime_onnx",
                device: devices.join(","),
                inputs,
                outputs,
                max_batch_rows,
                instances: 1,
                policy: settings.policy(),
                queueing: Queueing {
                    capacity: settings
                        .batching
                        .queue_capacity
                        .unwrap_or(Limits::CAPACITY)
                        .get(),
                    response_cache: settings.cache.enabled && wiring.is_none(),
                    ..settings.queueing()
                },
            },
            inputs: outlets.inputs,
            outputs: seen,
        })
    }
}

fn spec(outlet: &Outlet) -> TensorSpec {
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Named(_) | Dimension::Free => None,
    };
    let shape = outlet.shape.iter().map(size).collect();
    TensorSpec {
        optional: outlet.optional,
        ..TensorSpec::new(outlet.name.as_str(), outlet.datatype, shape)
    }
}

impl Model for MockModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn check_room(&self) -> Result<()> {
        Ok(())
    }

    fn infer<'a>(
        &'a self,
        _request: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        Box::pin(async move {
            let inputs = validate::in_order(&self.info.inputs, inputs)?;
            let outputs = answer::outputs(self, &inputs)?;
            let rows = inputs.first().map_or(1, Tensor::rows);
            Ok(Inference {
                outputs,
                timings: Timings {
                    run_rows: Some(rows),
                    ..Timings::default()
                },
            })
        })
    }

    fn load(&self) -> ModelLoad {
        ModelLoad::default()
    }
}

#[cfg(test)]
mod tests;
