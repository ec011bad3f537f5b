//! A loaded plugin: the port that routes call.

use std::sync::Arc;

use wharf_core::{
    BoxFuture, Candidate, Error, Payload, Plugin, PluginHealth, PluginInfo, RequestContext, Result,
    Stage, TokenFilter,
};

use crate::bindings::v1::{Answer, Job};
use crate::calls::Calls;
use crate::filter::GuestFilter;
use crate::guest::PluginFacts;
use crate::metrics::StageMetrics;
use crate::pool::Pool;

/// A plugin that was verified, compiled, type-checked and self-tested.
pub(crate) struct LoadedPlugin {
    info: PluginInfo,
    pool: Pool,
    calls: Arc<Calls>,
}

impl LoadedPlugin {
    /// Takes the parts of a plugin; `stages` are those that it has, with their instruments.
    pub(crate) fn new(
        info: PluginInfo,
        facts: Arc<PluginFacts>,
        pool: Pool,
        stages: Vec<(Stage, StageMetrics)>,
    ) -> Self {
        Self {
            info,
            pool,
            calls: Arc::new(Calls::new(facts, stages)),
        }
    }

    async fn call(&self, request: &Arc<RequestContext>, job: Job<'_>) -> Result<Answer> {
        let stage = job.stage();
        let mut record = self.calls.begin(stage)?;
        let mut lease = match self.pool.take(request).await {
            Ok(lease) => lease,
            Err(error) => {
                let (outcome, error) = self.calls.without_instance(error, request);
                record.outcome = outcome;
                return Err(error);
            }
        };
        let answer = lease.instance().call(request, job, record.began).await;
        let (outcome, answer) = self.calls.judge(answer, stage, request, lease.instance());
        if outcome.is_sound() {
            lease.ended();
        }
        record.waited = lease.instance().waited();
        // The instance goes back before the time is taken: what that costs is the request's too.
        drop(lease);
        record.outcome = outcome;
        answer
    }

    /// What preprocess and postprocess give.
    async fn transform(&self, request: &Arc<RequestContext>, job: Job<'_>) -> Result<Payload> {
        match self.call(request, job).await? {
            Answer::Payload(payload) => Ok(payload),
            _ => Err(Error::internal(
                "a stage gave something else than a payload",
            )),
        }
    }

    async fn choose(
        &self,
        request: &Arc<RequestContext>,
        candidates: &[Candidate],
    ) -> Result<usize> {
        match self.call(request, Job::Route(candidates)).await? {
            Answer::Index(index) => Ok(index),
            _ => Err(Error::internal(
                "a router gave something else than an index",
            )),
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

    fn filter<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
    ) -> BoxFuture<'a, Result<Box<dyn TokenFilter>>> {
        Box::pin(async {
            let filter = GuestFilter::open(&self.calls, &self.pool, request).await?;
            Ok(Box::new(filter) as Box<dyn TokenFilter>)
        })
    }

    fn health(&self) -> PluginHealth {
        self.calls.health()
    }
}
