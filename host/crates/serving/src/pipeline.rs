//! The way of a request through a route.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use wharf_core::{
    Candidate, Error, ErrorKind, Name, Payload, RequestContext, Result, Stage as StageKind, Tensor,
    stage_span,
};

use crate::bundle::Measuring;
use crate::guarded::Guarded;
use crate::metrics::{Accounting, Choosing, Refused};
use crate::route::{OnFailure, Route, Stage, Target};

/// What a request came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the last stage gave.
    pub payload: Payload,
    /// The model that ran.
    pub model: Name,
    /// Its version.
    pub version: u64,
    /// The release, where the route is part of a bundle.
    pub release: Option<u64>,
}

impl Route {
    /// Takes a request through the route. Dropping the future cancels whatever works for it.
    ///
    /// # Errors
    /// `Unavailable` where the route is full; `Deadline`; else what the model or a plugin refuses with, or `PluginFault`
    /// where a plugin failed and the failure policy is `closed`.
    pub async fn run(&self, request: &Arc<RequestContext>, input: Payload) -> Result<Outcome> {
        // Admission comes first: what is too much must cost nothing.
        let _slot = self
            .admission
            .enter(self.max_in_flight)
            .inspect_err(|_full| self.no_room(Refused::Full))?;
        // A release on trial is judged by what its requests come to, however they end.
        let measuring = self.tally.as_deref();
        let measuring = measuring.map(|tally| Measuring::start(tally, request.deadline));
        // The deadline is around everything, so that no layer can outstay it; plugins and the model know it as well, and
        // stop their own work by it.
        let ended = timeout_at(request.deadline.into(), self.layers(request, input)).await;
        let result = ended.unwrap_or_else(|_| {
            self.faults.notify_one();
            Err(past_deadline())
        });
        if let Some(measuring) = measuring {
            measuring.end(result.as_ref().err().map(Error::kind));
        }
        result
    }

    /// The layers inside admission and deadline.
    async fn layers(&self, request: &Arc<RequestContext>, input: Payload) -> Result<Outcome> {
        let started = Instant::now();
        if request.deadline <= started {
            self.refused.add(Refused::Deadline);
            return Err(past_deadline());
        }
        // The router decides before anything is computed: on the request's headers and on how the candidates do now.
        let choosing = Choosing::start(&self.refused, request.deadline);
        let target = self.choose(request).await;
        choosing.end(target.as_ref().err().map(Error::kind));
        let target = target?;
        let mut accounting = Accounting::start(&target.counters, started, request.deadline);
        let result = self.through(target, request, input, &mut accounting).await;
        accounting.end(result.as_ref().err().map(Error::kind));
        result
    }

    /// pre* -> model -> post*, once the model is chosen.
    async fn through(
        &self,
        target: &Target,
        request: &Arc<RequestContext>,
        mut payload: Payload,
        accounting: &mut Accounting<'_>,
    ) -> Result<Outcome> {
        // What the client sent becomes the tensors that the model takes.
        for stage in &self.pre {
            let span = stage_span!("preprocess", plugin = %stage.plugin.info().name, otel.status_code = Empty);
            let call = self.call(stage, StageKind::Preprocess, request, payload);
            payload = within(span, call).await?;
        }
        // The model, or the service that stands in its place.
        let mut payload = match target.model.service() {
            Some(service) => Payload::Body(self.serve(service, request, payload).await?),
            None => self.infer(target, request, payload, accounting).await?,
        };
        // What it gave becomes what the client gets.
        for stage in &self.post {
            let span = stage_span!("postprocess", plugin = %stage.plugin.info().name, otel.status_code = Empty);
            let call = self.call(stage, StageKind::Postprocess, request, payload);
            payload = within(span, call).await?;
        }
        let info = target.model.info();
        Ok(Outcome {
            payload,
            model: info.name.clone(),
            version: info.version,
            release: self.release.as_ref().map(|release| release.release),
        })
    }

    /// The model: the one queue of the way, and the span `inference.predict`, are the engine's.
    async fn infer(
        &self,
        target: &Target,
        request: &RequestContext,
        payload: Payload,
        accounting: &mut Accounting<'_>,
    ) -> Result<Payload> {
        let inputs = match payload {
            Payload::Tensors(tensors) => tensors,
            Payload::Body(_) => return Err(self.no_tensors()),
        };
        let rows = target.rows(&inputs);
        let mut inference = target.model.infer(request, inputs).await?;
        if !target.joins() {
            inference.timings.run_rows = inference.timings.run_rows.and(Some(1));
        }
        accounting.inferred(rows, inference.timings);
        Ok(Payload::Tensors(inference.outputs))
    }

    /// Chooses the model: the only one, or by the router.
    pub(crate) async fn choose(&self, request: &Arc<RequestContext>) -> Result<&Target> {
        let Some(router) = &self.router else {
            return self.targets.first().ok_or_else(no_target);
        };
        let span =
            stage_span!("route", plugin = %router.plugin.info().name, otel.status_code = Empty);
        let choice = async {
            let (targets, offered) = self.offered();
            match self.ask(router, request, &offered).await {
                // It may know no other than what was left out: that one says when it is asked again.
                Err(error) if error.is_said_by_guest() && offered.len() < self.targets.len() => {
                    let all: Vec<Candidate> = self.targets.iter().map(Target::candidate).collect();
                    let index = self.ask(router, request, &all).await?;
                    self.targets.get(index).ok_or_else(no_target)
                }
                chosen => targets.get(chosen?).copied().ok_or_else(no_target),
            }
        };
        within(span, choice).await
    }

    /// Asks a router for the index of one of the candidates, and does on failure what the stage's policy says.
    async fn ask(
        &self,
        router: &Stage,
        request: &Arc<RequestContext>,
        candidates: &[Candidate],
    ) -> Result<usize> {
        let error = match router.plugin.route(request, candidates).await {
            Ok(index) => return Ok(index),
            Err(error) => self.failed(error, request)?,
        };
        match (router.on_failure, &router.previous) {
            (OnFailure::Skip, _) => Ok(0),
            (OnFailure::Previous, Some(previous)) => previous.route(request, candidates).await,
            _ => Err(error),
        }
    }

    /// What a router chooses among. A model that is asked nothing, since it kept failing, is left out while there is another:
    /// whoever chose it would only be refused.
    fn offered(&self) -> (Vec<&Target>, Vec<Candidate>) {
        let all = || {
            self.targets
                .iter()
                .map(|target| (target, target.candidate()))
        };
        let (targets, candidates): (Vec<_>, Vec<_>) =
            all().filter(|(_, candidate)| !candidate.load.rests).unzip();
        match targets.is_empty() {
            true => all().unzip(),
            false => (targets, candidates),
        }
    }

    /// Calls a plugin, and does on failure what the stage's policy says.
    async fn call(
        &self,
        stage: &Stage,
        kind: StageKind,
        request: &Arc<RequestContext>,
        payload: Payload,
    ) -> Result<Payload> {
        // Only a policy that needs the input a second time pays for keeping it.
        let kept = (stage.on_failure != OnFailure::Closed).then(|| payload.clone());
        let error = match stage_of(&stage.plugin, kind, request, payload).await {
            Ok(payload) => return Ok(payload),
            Err(error) => self.failed(error, request)?,
        };
        // The fault itself was logged where it happened, at its rate; a line for each request would be the clients' to write.
        match (stage.on_failure, kept, &stage.previous) {
            (OnFailure::Skip, Some(input), _) => {
                tracing::debug!(request_id = %request.id, plugin = %stage.plugin.info().name, %error, "stage skipped");
                Ok(input)
            }
            (OnFailure::Previous, Some(input), Some(previous)) => {
                tracing::debug!(request_id = %request.id, plugin = %stage.plugin.info().name, %error, "previous release called");
                stage_of(previous, kind, request, input).await
            }
            _ => Err(error),
        }
    }

    /// Sorts what a plugin's call ended with: `Ok` is a failure for the policy to deal with, `Err` goes to the client.
    fn failed(&self, error: Error, request: &RequestContext) -> Result<Error> {
        let failure = matches!(
            error.kind(),
            ErrorKind::PluginFault
                | ErrorKind::Unavailable
                | ErrorKind::Internal
                | ErrorKind::Deadline
        );
        if !failure {
            return Err(error);
        }
        if error.kind() != ErrorKind::Unavailable {
            self.faults.notify_one();
        }
        // There is no time left to do anything else in.
        if request.remaining().is_zero() {
            return Err(past_deadline());
        }
        Ok(error)
    }

    /// A body came to where the model takes tensors.
    fn no_tensors(&self) -> Error {
        if self.pre.is_empty() {
            Error::invalid("input", "the route takes tensors, not a body")
        } else {
            Error::new(
                ErrorKind::PluginFault,
                "the preprocess stages gave a body, but the model takes tensors",
            )
        }
    }
}

impl Target {
    /// Whether the first dimension of tensors counts rows that are joined.
    fn joins(&self) -> bool {
        self.model.info().max_batch_rows > 1
    }

    /// The rows that a request counts as: 1 where the model's first dimension is none of rows.
    fn rows(&self, inputs: &[Tensor]) -> u64 {
        match inputs.first() {
            Some(input) if self.joins() => input.rows(),
            _ => 1,
        }
    }

    fn candidate(&self) -> Candidate {
        let info = self.model.info();
        Candidate {
            model: info.name.clone(),
            version: info.version,
            labels: Arc::clone(&self.labels),
            load: self.model.load(),
        }
    }
}

/// Works in a span, which says where the work failed. A span that is disabled costs nothing.
pub(crate) async fn within<T>(span: Span, work: impl Future<Output = Result<T>>) -> Result<T> {
    let result = work.instrument(span.clone()).await;
    if result.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    result
}

async fn stage_of(
    plugin: &Guarded,
    kind: StageKind,
    request: &Arc<RequestContext>,
    payload: Payload,
) -> Result<Payload> {
    match kind {
        StageKind::Postprocess => plugin.postprocess(request, payload).await,
        _ => plugin.preprocess(request, payload).await,
    }
}

pub(crate) fn past_deadline() -> Error {
    Error::new(
        ErrorKind::Deadline,
        "the deadline passed before the answer was ready",
    )
}

/// Linking gives every route a target, and plugin hosts check the index: this is a fault of the program.
fn no_target() -> Error {
    Error::internal("a route has no such candidate")
}
