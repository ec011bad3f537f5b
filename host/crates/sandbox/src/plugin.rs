//! A loaded plugin: the port that routes call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::PoolConcurrencyLimitError;
use wharf_core::{
    BoxFuture, Candidate, Error, ErrorKind, Payload, Plugin, PluginHealth, PluginInfo,
    RequestContext, Result, Stage,
};

use crate::bindings::v1::{Answer, Job};
use crate::fault::{Fault, Place, refusal};
use crate::guest::PluginFacts;
use crate::instance::StartError;
use crate::metrics::{Outcome, StageMetrics};
use crate::pool::{Pool, TakeError};

/// A call that was given this time and did not end before the request's deadline counts as a fault of the plugin.
const FAIR_TIME: Duration = Duration::from_millis(100);

/// A plugin that was verified, compiled, type-checked and self-tested.
pub(crate) struct LoadedPlugin {
    pub(crate) info: PluginInfo,
    pub(crate) facts: Arc<PluginFacts>,
    pub(crate) pool: Pool,
    /// The stages that it has, with their instruments.
    pub(crate) stages: Vec<(Stage, StageMetrics)>,
    pub(crate) health: Health,
}

/// What a roll-back is decided by.
#[derive(Default)]
pub(crate) struct Health {
    calls: AtomicU64,
    faults: AtomicU64,
    consecutive_faults: AtomicU64,
}

/// Records a call when it ends, also where it ends by being dropped.
struct Record<'a> {
    began: Instant,
    outcome: Outcome,
    metrics: &'a StageMetrics,
    health: &'a Health,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.metrics.ended(self.outcome, self.began.elapsed());
        match self.outcome {
            Outcome::Ok | Outcome::Refused => {
                self.health.calls.fetch_add(1, Ordering::Relaxed);
                // Written only where it changes: the line is shared by all threads that call the plugin.
                if self.health.consecutive_faults.load(Ordering::Relaxed) != 0 {
                    self.health.consecutive_faults.store(0, Ordering::Relaxed);
                }
            }
            Outcome::Fault => {
                self.health.calls.fetch_add(1, Ordering::Relaxed);
                self.health.faults.fetch_add(1, Ordering::Relaxed);
                self.health
                    .consecutive_faults
                    .fetch_add(1, Ordering::Relaxed);
            }
            // A call that had time enough and did not end is a fault, although the route's deadline came before the limit.
            Outcome::Deadline if self.began.elapsed() >= FAIR_TIME => {
                self.health.faults.fetch_add(1, Ordering::Relaxed);
                self.health
                    .consecutive_faults
                    .fetch_add(1, Ordering::Relaxed);
            }
            // These say nothing of the plugin.
            Outcome::Deadline | Outcome::Unavailable | Outcome::Cancelled => {}
        }
    }
}

impl LoadedPlugin {
    async fn call(&self, request: &Arc<RequestContext>, job: Job<'_>) -> Result<Answer> {
        let stage = job.stage();
        let Some((_, metrics)) = self.stages.iter().find(|(exported, _)| *exported == stage) else {
            return Err(self.lacks(stage));
        };
        let mut record = Record {
            began: Instant::now(),
            outcome: Outcome::Cancelled,
            health: &self.health,
            metrics,
        };
        let began = record.began;
        let mut lease = match self.pool.take(request).await {
            Ok(lease) => lease,
            Err(error) => {
                let (outcome, error) = self.without_instance(error, request);
                record.outcome = outcome;
                return Err(error);
            }
        };
        let answer = lease.instance().call(request, job, began).await;
        let (outcome, answer) = match answer {
            Ok(answer) => {
                lease.ended();
                match answer {
                    Some(Ok(answer)) => (Outcome::Ok, Ok(answer)),
                    Some(Err(error)) => (Outcome::Refused, Err(refusal(error))),
                    None => (Outcome::Refused, Err(self.lacks(stage))),
                }
            }
            Err(error) => {
                let output = lease.instance().take_output();
                self.fault(error, stage.name(), request, &output)
            }
        };
        // The instance goes back before the time is taken: what that costs is the request's too.
        drop(lease);
        record.outcome = outcome;
        answer
    }

    fn fault(
        &self,
        error: wasmtime::Error,
        during: &'static str,
        request: &RequestContext,
        output: &str,
    ) -> (Outcome, Result<Answer>) {
        let fault = Fault::of(error, &self.facts.limits);
        fault.log(
            &Place {
                plugin: &self.facts.name,
                digest: &self.facts.digest,
                during,
                request_id: &request.id,
            },
            output,
        );
        let outcome = match fault {
            Fault::Deadline => Outcome::Deadline,
            Fault::Limit(_) | Fault::Trap(_) => Outcome::Fault,
        };
        (outcome, Err(fault.for_client()))
    }

    fn without_instance(&self, error: TakeError, request: &RequestContext) -> (Outcome, Error) {
        let busy = || {
            Error::new(
                ErrorKind::Unavailable,
                "every instance of a plugin of this route is busy; try again later",
            )
        };
        let place = |during| Place {
            plugin: &self.facts.name,
            digest: &self.facts.digest,
            during,
            request_id: &request.id,
        };
        match error {
            TakeError::Full => (Outcome::Unavailable, busy()),
            TakeError::Start(StartError::Fault(error, _))
                if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() =>
            {
                tracing::warn!(plugin = %self.facts.name, setting = "plugins.max_instances", "no room for one more plugin instance");
                (Outcome::Unavailable, busy())
            }
            TakeError::Start(StartError::Fault(error, output)) => {
                let fault = Fault::of(error, &self.facts.limits);
                fault.log(&place("init"), &output);
                (Outcome::Fault, fault.for_client())
            }
            TakeError::Start(StartError::Refused(error)) => {
                // The settings were good when the plugin was loaded, and clients cannot mend them.
                let fault = Fault::Trap(wasmtime::format_err!("init refused: {error:?}"));
                fault.log(&place("init"), "");
                (Outcome::Fault, fault.for_client())
            }
        }
    }

    fn lacks(&self, stage: Stage) -> Error {
        Error::internal(format!(
            "the plugin {} has no stage {}, and a route calls it",
            self.facts.name,
            stage.name()
        ))
    }

    /// What preprocess and postprocess give.
    async fn transform(&self, request: &Arc<RequestContext>, job: Job<'_>) -> Result<Payload> {
        match self.call(request, job).await? {
            Answer::Payload(payload) => Ok(payload),
            Answer::Index(_) => Err(Error::internal("a stage gave an index for a payload")),
        }
    }

    async fn choose(
        &self,
        request: &Arc<RequestContext>,
        candidates: &[Candidate],
    ) -> Result<usize> {
        match self.call(request, Job::Route(candidates)).await? {
            Answer::Index(index) => Ok(index),
            Answer::Payload(_) => Err(Error::internal("a router gave a payload")),
        }
    }
}

impl Plugin for LoadedPlugin {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn preprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(self.transform(request, Job::Preprocess(input)))
    }

    fn postprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        output: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(self.transform(request, Job::Postprocess(output)))
    }

    fn route<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        candidates: &'a [Candidate],
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(self.choose(request, candidates))
    }

    fn health(&self) -> PluginHealth {
        PluginHealth {
            calls: self.health.calls.load(Ordering::Relaxed),
            faults: self.health.faults.load(Ordering::Relaxed),
            consecutive_faults: self.health.consecutive_faults.load(Ordering::Relaxed),
        }
    }
}
