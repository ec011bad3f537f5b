//! Loads a version: reads and checks its bytes, builds its sessions, warms them up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use wharf_core::{Cancel, LoadError, Model, ModelInfo, ModelVersion, Queueing, TensorSpec};

use super::OnnxEngine;
use super::classes::with_classes;
use super::plan::Plan;
use super::rows::rows;
use super::warmup::warm_up;
use crate::batching::{Limits, Scheduler, Share};
use crate::devices::FreeMemory;
use crate::memory;
use crate::model::{OnnxModel, Parts};
use crate::ort::Session;
use crate::sequences::{Sequences, Wiring};
use crate::settings::Settings;
use crate::site::Source;

impl OnnxEngine {
    pub(super) fn load_version(
        &self,
        version: &ModelVersion,
        cancel: &Cancel,
    ) -> Result<Arc<dyn Model>, LoadError> {
        if cancel.is_cancelled() {
            return Err(Cancel::error(format!(
                "models/{}/{}",
                version.name, version.version
            )));
        }
        let source = Source::read(version, &*self.probe)?;
        let plans = self.plan(&source)?;
        let mut sessions = self
            .build_sessions(&source, &plans)
            .inspect_err(|_| memory::trim())?;
        let limits = self.limits(&source, &sessions[0])?;
        let outputs = with_classes(&sessions[0].outputs, &source)?;
        let wiring = wiring(&source, &sessions[0].inputs, &sessions[0].outputs)?;
        let warmed_up = warm_up(&source, &mut sessions, &self.watchdog, cancel);
        let runs = warmed_up.inspect_err(|_| memory::trim())?;
        let settings = &source.settings;
        let info = ModelInfo {
            name: version.name.clone(),
            version: version.version,
            digest: version.digest,
            platform: "onnxruntime_onnx",
            device: names(&plans),
            inputs: match &wiring {
                Some(wiring) => wiring.visible_inputs(),
                None => sessions[0].inputs.to_vec(),
            },
            outputs: match &wiring {
                Some(wiring) => wiring.visible_outputs(outputs),
                None => outputs,
            },
            max_batch_rows: limits.max_rows,
            instances: u32::try_from(sessions.len()).unwrap_or(u32::MAX),
            policy: settings.policy(),
            queueing: Queueing {
                capacity: u32::try_from(limits.capacity).unwrap_or(u32::MAX),
                response_cache: settings.cache.enabled && wiring.is_none(),
                ..settings.queueing()
            },
        };
        let metrics = self
            .metrics
            .of(&version.name, version.version, sessions.len());
        let scheduler = Scheduler::new(
            version.name.clone(),
            limits,
            (self.shares(&plans), sessions),
            Arc::clone(&self.watchdog),
            metrics,
        );
        for ran in runs {
            scheduler.warmed_up(ran);
        }
        let free_memory = FreeMemory::of(settings.devices(), Arc::clone(&self.probe));
        let cache = settings.cache.enabled.then(|| {
            let metrics = self.metrics.lookups(&version.name, version.version);
            self.cache.open(metrics)
        });
        let sequences = wiring.zip(settings.sequences.as_ref());
        let sequences = sequences.map(|(wiring, settings)| {
            let gauge = self.metrics.sequences(&version.name, version.version);
            Sequences::new(wiring, settings, Arc::clone(&self.watchdog), gauge)
        });
        let parts = Parts {
            scheduler,
            cache,
            sequences,
            free_memory,
        };
        let model = OnnxModel::start(info, parts).map_err(|error| {
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

    /// What the instances on each device take of it.
    fn shares(&self, plans: &[Plan]) -> Vec<(Share, u32)> {
        plans
            .iter()
            .map(|plan| {
                let share = self.gates.share(plan.device, plan.intra_threads);
                (share, plan.instances)
            })
            .collect()
    }

    fn limits(&self, source: &Source, session: &Session) -> Result<Limits, LoadError> {
        let Settings { batching, .. } = &source.settings;
        let rows = rows(source, &session.inputs, &session.outputs).ok_or_else(|| {
            LoadError::new(
                source.settings_label.clone(),
                "requests can be joined only where every input and output has a free first dimension; remove max_rows, or \
                 export the model with a dynamic batch",
            )
            .with_key("batching.max_rows")
        })?;
        let capacity = batching
            .queue_capacity
            .or(self.config.queue_capacity)
            .unwrap_or(Limits::CAPACITY);
        Ok(Limits {
            max_rows: rows.max,
            unasked: rows.unasked,
            preferred_rows: batching.preferred_rows.clone(),
            delay: batching.delay_ms.duration(),
            capacity: capacity.get() as usize,
            wait: batching.queue_wait_ms.map(Duration::from_millis),
            timeout: batching.queue_timeout_ms.map(Duration::from_millis),
            priority_levels: batching.priority_levels,
            default_priority: batching.default_priority(),
            max_in_flight: batching.max_in_flight.map(NonZeroU32::get),
            inline_below: self
                .config
                .inline_below_us
                .map_or(Limits::INLINE_BELOW, Duration::from_micros),
        })
    }
}

/// What the model's sequences are made of, where it has them.
pub(super) fn wiring(
    source: &Source,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
) -> Result<Option<Wiring>, LoadError> {
    let settings = source.settings.sequences.as_ref();
    settings
        .map(|settings| Wiring::new(settings, inputs, outputs))
        .transpose()
        .map_err(|(key, message)| {
            LoadError::new(source.settings_label.clone(), message).with_key(key)
        })
}

/// The devices of the instances: `cuda:0,cuda:1`.
fn names(plans: &[Plan]) -> String {
    let names: Vec<String> = plans.iter().map(|plan| plan.device.to_string()).collect();
    names.join(",")
}
