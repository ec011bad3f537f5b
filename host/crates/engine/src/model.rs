//! A loaded version of a model.

use std::sync::Arc;
use std::thread::JoinHandle;

use tracing::Instrument;
use wharf_core::{
    BoxFuture, Inference, Model, ModelInfo, ModelLoad, RequestContext, Result, Tensor, stage_span,
};

use crate::batching::Scheduler;
use crate::cache::{Lookup, ModelCache};
use crate::devices::FreeMemory;
use crate::sequences::Sequences;
use crate::{memory, validate};

/// A version of a model that runs on ONNX Runtime.
pub(crate) struct OnnxModel {
    info: ModelInfo,
    /// None only while it is dropped: its sessions must be gone before memory is given back.
    scheduler: Option<Arc<Scheduler>>,
    workers: Vec<JoinHandle<()>>,
    cache: Option<ModelCache>,
    sequences: Option<Sequences>,
    free_memory: FreeMemory,
}

/// What a model is made of.
pub(crate) struct Parts {
    pub(crate) scheduler: Scheduler,
    /// Where answers are remembered.
    pub(crate) cache: Option<ModelCache>,
    /// The memory of its sequences, where it has one. Then there is no cache: the same inputs have other outputs.
    pub(crate) sequences: Option<Sequences>,
    pub(crate) free_memory: FreeMemory,
}

impl OnnxModel {
    /// Starts the instances' threads.
    pub(crate) fn start(info: ModelInfo, parts: Parts) -> std::io::Result<Self> {
        let scheduler = Arc::new(parts.scheduler);
        let mut model = Self {
            info,
            scheduler: Some(Arc::clone(&scheduler)),
            workers: Vec::new(),
            cache: parts.cache.filter(|_| parts.sequences.is_none()),
            sequences: parts.sequences,
            free_memory: parts.free_memory,
        };
        model.workers = scheduler.spawn_workers()?;
        Ok(model)
    }

    fn scheduler(&self) -> &Scheduler {
        self.scheduler
            .as_ref()
            .expect("only dropping takes the scheduler")
    }

    async fn answer(&self, request: &RequestContext, inputs: Vec<Tensor>) -> Result<Inference> {
        let inputs = validate::in_order(&self.info.inputs, inputs)?;
        let scheduler = self.scheduler();
        if let Some(sequences) = &self.sequences {
            return sequences.infer(scheduler, inputs, request).await;
        }
        let Some(cache) = &self.cache else {
            return scheduler.infer(inputs, request).await;
        };
        match cache.look(&inputs).await? {
            Lookup::Hit(inference) => Ok(inference),
            Lookup::Miss(miss) => Ok(miss.store(scheduler.infer(inputs, request).await?)),
        }
    }
}

impl Model for OnnxModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn check_room(&self) -> Result<()> {
        // An answer that is remembered needs no room, and nobody knows yet whether this is one.
        if self.cache.is_some() {
            return Ok(());
        }
        self.scheduler().check_room()
    }

    fn infer<'a>(
        &'a self,
        request: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        let span = stage_span!("inference.predict", model = %self.info.name, version = self.info.version, otel.status_code = tracing::field::Empty);
        let work = self.answer(request, inputs);
        if span.is_disabled() {
            Box::pin(work)
        } else {
            Box::pin(async move {
                let result = work.instrument(span.clone()).await;
                if result.is_err() {
                    span.record("otel.status_code", "ERROR");
                }
                result
            })
        }
    }

    fn load(&self) -> ModelLoad {
        let (queue_depth, in_flight) = self.scheduler().depths();
        ModelLoad {
            queue_depth,
            in_flight,
            latency: self.scheduler().latency(),
            free_memory: self.free_memory.get(),
            rests: false,
        }
    }
}

/// Joins the threads, frees the sessions and gives their memory back. It may wait for a run that is being terminated.
impl Drop for OnnxModel {
    fn drop(&mut self) {
        if let Some(scheduler) = &self.scheduler {
            scheduler.close();
        }
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!(model = %self.info.name, "an instance of the model panicked");
            }
        }
        self.scheduler = None;
        self.cache = None;
        self.sequences = None;
        memory::trim();
    }
}
