//! Requests that share a memory: a model whose `model.toml` has `[sequences]` takes requests of sequences alone.
//!
//! The engine keeps, for each sequence, the outputs that its next request takes as inputs. A request waits for its turn
//! among those of its sequence, in the order of arrival; then it is queued, and joined with requests of other sequences, like
//! any other. What it leaves behind takes effect only when it succeeds. Clients see neither states nor control inputs.
//!
//! A sequence belongs to its tenant: the same id of another tenant is another sequence. One that rests too long is forgotten,
//! by the engine's watchdog, which sleeps until then.

mod controls;
mod store;
mod wiring;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::BoundUpDownCounter;
use tokio::time::timeout_at;
use wharf_core::{Error, Inference, RequestContext, Result, Sequence, SequenceId, Tensor};

use crate::batching::{Scheduler, Watchdog, deadline_passed};
use crate::settings;
use store::Store;
pub(crate) use wiring::Wiring;

/// The longest text that names a sequence, in bytes, as with Triton.
const ID_BYTES: usize = 128;

/// The sequences of one version of a model.
pub(crate) struct Sequences {
    wiring: Wiring,
    store: Arc<Store>,
    watchdog: Arc<Watchdog>,
}

impl Sequences {
    pub(crate) fn new(
        wiring: Wiring,
        settings: &settings::Sequences,
        watchdog: Arc<Watchdog>,
        gauge: BoundUpDownCounter<i64>,
    ) -> Self {
        let idle = Duration::from_millis(settings.idle_ms);
        let store = Store::new(idle, settings.capacity.get() as usize, gauge);
        Self {
            wiring,
            store: Arc::new(store),
            watchdog,
        }
    }

    /// Runs a request, whose inputs are those that clients see, in the model's order.
    pub(crate) async fn infer(
        &self,
        scheduler: &Scheduler,
        inputs: Vec<Tensor>,
        request: &RequestContext,
    ) -> Result<Inference> {
        let sequence = sequence_of(request)?;
        let arrived = Instant::now();
        let key = (request.tenant.clone(), sequence.id.clone());
        let member = self.store.join(key, sequence.start, arrived)?;
        if let Some(at) = self.store.wake_at(arrived) {
            let store: Arc<Store> = Arc::clone(&self.store);
            self.watchdog.sweep(&store, at);
        }
        let _turn = timeout_at(request.deadline.into(), member.turn())
            .await
            .map_err(|_| deadline_passed())?;
        let state = if sequence.start {
            None
        } else {
            Some(member.state()?)
        };
        let waited = arrived.elapsed();
        let inputs = self.wiring.inputs(inputs, state.as_deref(), sequence)?;
        let mut inference = scheduler.infer(inputs, request).await?;
        inference.timings.queue += waited;
        let (outputs, state) = self.wiring.outputs(inference.outputs)?;
        inference.outputs = outputs;
        if sequence.end {
            member.end();
        } else {
            member.keep(state)?;
        }
        Ok(inference)
    }
}

fn sequence_of(request: &RequestContext) -> Result<&Sequence> {
    let sequence = request.scheduling.sequence.as_ref().ok_or_else(|| {
        Error::invalid(
            "parameters.sequence_id",
            "the model takes requests of sequences alone; give a sequence_id, and sequence_start with the first request",
        )
    })?;
    match &sequence.id {
        SequenceId::Text(text) if text.len() > ID_BYTES => Err(Error::invalid(
            "parameters.sequence_id",
            format!("a sequence_id has at most {ID_BYTES} bytes"),
        )),
        _ => Ok(sequence),
    }
}
