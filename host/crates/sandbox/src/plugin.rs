//! A loaded plugin: the port that routes call.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{
    BoxFuture, Candidate, Filter, Payload, Plugin, PluginHealth, PluginInfo, RequestContext,
    Result, Stage, Token,
};

use crate::bindings::v1::{Answer, Filtering, Job};
use crate::calls::Calls;
use crate::filter::GuestFilter;
use crate::guest::PluginFacts;
use crate::metrics::StageMetrics;
use crate::pool::Pool;
use crate::recording::Journal;

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

    /// Calls a stage; `given` is what such a stage gives.
    async fn call<T>(
        &self,
        request: &Arc<RequestContext>,
        job: Job<'_>,
        given: fn(Answer) -> Option<T>,
    ) -> Result<T> {
        let stage = job.stage();
        let mut record = self.calls.begin(stage)?;
        let tape = self.calls.tape(&job, request, record.began);
        let mut lease = match self.pool.take(request).await {
            Ok(lease) => lease,
            Err(error) => {
                let mut judged = self.calls.without_instance(error, request);
                record.end(judged.outcome);
                if let Some(tape) = tape {
                    (self.calls).keep(tape, &mut judged, &record, Journal::default());
                }
                return judged.given(stage, given);
            }
        };
        let instance = lease.instance();
        if tape.is_some() {
            instance.begin_journal();
        }
        let answer = instance.call(request, job, record.began).await;
        let mut judged = self.calls.judge(answer, stage, request, instance);
        record.waited = instance.waited();
        let now = record.end(judged.outcome);
        if let Some(tape) = tape {
            let journal = instance.end_journal();
            self.calls.keep(tape, &mut judged, &record, journal);
        }
        if judged.outcome.is_sound() {
            lease.ended(now);
        }
        judged.given(stage, given)
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
        Box::pin(self.call(request, Job::Preprocess(input), Answer::payload))
    }

    fn postprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        output: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(self.call(request, Job::Postprocess(output), Answer::payload))
    }

    fn route<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        candidates: &'a [Candidate],
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(self.call(request, Job::Route(candidates), Answer::index))
    }

    fn filter_tokens<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Vec<Token>>>>> {
        Box::pin(async {
            let opened = GuestFilter::open(&self.calls, &self.pool, request, Filtering::Tokens);
            Ok(Box::new(opened.await?) as Box<dyn Filter<Vec<Token>>>)
        })
    }

    fn filter_chunks<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        media_type: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Bytes>>>> {
        Box::pin(async move {
            let filtering = Filtering::Chunks(media_type);
            let opened = GuestFilter::open(&self.calls, &self.pool, request, filtering);
            Ok(Box::new(opened.await?) as Box<dyn Filter<Bytes>>)
        })
    }

    fn health(&self) -> PluginHealth {
        self.calls.health()
    }
}
