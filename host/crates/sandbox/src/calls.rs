//! The calls of a loaded plugin: each is timed, counted and judged, however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::PoolConcurrencyLimitError;
use wharf_core::{Error, ErrorKind, PluginHealth, RequestContext, Result, Stage};

use crate::bindings::v1::{Answer, Job, Piece, types};
use crate::fault::{Fault, Place, refusal};
use crate::guest::PluginFacts;
use crate::instance::{GuestInstance, StartError};
use crate::metrics::{Outcome, StageMetrics};
use crate::pool::TakeError;
use crate::recording::{Call, End, Journal, Recorder, Tape};

/// A call that was given this time and did not end before the request's deadline counts as a fault of the plugin.
const FAIR_TIME: Duration = Duration::from_millis(100);

/// What the calls of a plugin are recorded in. Shared: the filter of a text may outlive the plugin's place in the site.
pub(crate) struct Calls {
    facts: Arc<PluginFacts>,
    /// The stages that the plugin has, with their instruments.
    stages: Vec<(Stage, StageMetrics)>,
    health: Health,
}

#[derive(Default)]
struct Health {
    calls: AtomicU64,
    faults: AtomicU64,
    consecutive_faults: AtomicU64,
}

/// Records a call when it ends, also where it ends by being dropped.
pub(crate) struct Record<'a> {
    pub(crate) began: Instant,
    /// What of the time the guest waited for the host to do something.
    pub(crate) waited: Duration,
    outcome: Outcome,
    /// None until it is said how it ended.
    ended: Option<Instant>,
    metrics: &'a StageMetrics,
    health: &'a Health,
}

/// How a call ended, for the request and for whoever records it.
pub(crate) struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) answer: Result<Answer>,
    /// What kept the guest from an end of its own, during what, and the last that it wrote. In a box, since most calls have none.
    fault: Option<Box<(&'static str, Fault, String)>>,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.metrics.ended(self.outcome, self.time());
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
                self.health.fault();
            }
            // A call that had time enough and did not end is a fault, although the route's deadline came before the limit.
            Outcome::Deadline if self.had_time() => self.health.fault(),
            // These say nothing of the plugin.
            Outcome::Deadline | Outcome::Unavailable | Outcome::Cancelled => {}
        }
    }
}

impl Record<'_> {
    /// Says how the call ended. Gives the time at which it did.
    pub(crate) fn end(&mut self, outcome: Outcome) -> Instant {
        self.outcome = outcome;
        *self.ended.insert(Instant::now())
    }

    /// How long the call took, or takes so far.
    fn time(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.began
    }

    /// Whether the call has had the time that it can be expected to end in.
    fn had_time(&self) -> bool {
        self.time() >= FAIR_TIME + self.waited
    }
}

impl Judged {
    fn ended(outcome: Outcome, answer: Result<Answer>) -> Self {
        Self {
            outcome,
            answer,
            fault: None,
        }
    }

    /// What a stage of this kind gives.
    pub(crate) fn given<T>(self, stage: Stage, given: fn(Answer) -> Option<T>) -> Result<T> {
        given(self.answer?).ok_or_else(|| {
            Error::internal(format!(
                "a plugin's {} gave what another stage gives",
                stage.name()
            ))
        })
    }
}

impl Health {
    fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.consecutive_faults.fetch_add(1, Ordering::Relaxed);
    }
}

impl Calls {
    pub(crate) fn new(facts: Arc<PluginFacts>, stages: Vec<(Stage, StageMetrics)>) -> Self {
        Self {
            facts,
            stages,
            health: Health::default(),
        }
    }

    pub(crate) fn facts(&self) -> &PluginFacts {
        &self.facts
    }

    pub(crate) fn health(&self) -> PluginHealth {
        PluginHealth {
            calls: self.health.calls.load(Ordering::Relaxed),
            faults: self.health.faults.load(Ordering::Relaxed),
            consecutive_faults: self.health.consecutive_faults.load(Ordering::Relaxed),
        }
    }

    /// Begins a call. Until it is said how it ended, it counts as cancelled.
    ///
    /// # Errors
    /// Where the plugin does not have the stage.
    pub(crate) fn begin(&self, stage: Stage) -> Result<Record<'_>> {
        let Some((_, metrics)) = self.stages.iter().find(|(exported, _)| *exported == stage) else {
            return Err(self.lacks(stage));
        };
        Ok(Record {
            began: Instant::now(),
            waited: Duration::ZERO,
            outcome: Outcome::Cancelled,
            ended: None,
            health: &self.health,
            metrics,
        })
    }

    /// Sorts what a call gave into what is recorded and what the request gets. Only after [`Outcome::is_sound`] may the
    /// instance be used again.
    pub(crate) fn judge(
        &self,
        answer: wasmtime::Result<Option<Result<Answer, types::Error>>>,
        stage: Stage,
        request: &RequestContext,
        instance: &mut GuestInstance,
    ) -> Judged {
        match answer {
            Ok(Some(Ok(answer))) => Judged::ended(Outcome::Ok, Ok(answer)),
            Ok(Some(Err(error))) => {
                Judged::ended(Outcome::Refused, Err(refusal(error, &self.facts)))
            }
            Ok(None) => Judged::ended(Outcome::Refused, Err(self.lacks(stage))),
            Err(error) => {
                let fault = Fault::of(error, &self.facts.limits);
                self.fault(fault, (stage.name(), instance.take_output()), request)
            }
        }
    }

    /// Logs what kept a guest from an end of its own.
    fn fault(
        &self,
        fault: Fault,
        (during, output): (&'static str, String),
        request: &RequestContext,
    ) -> Judged {
        fault.log(&self.place(during, request), &output);
        Judged {
            outcome: match fault {
                Fault::Deadline => Outcome::Deadline,
                Fault::Limit(..) | Fault::Trap(_) => Outcome::Fault,
            },
            answer: Err(fault.for_client()),
            fault: Some(Box::new((during, fault, output))),
        }
    }

    /// The same, where there is no instance for the call.
    pub(crate) fn without_instance(&self, error: TakeError, request: &RequestContext) -> Judged {
        let busy = || {
            let message = "every instance of a plugin of this route is busy; try again later";
            let error = Error::new(ErrorKind::Unavailable, message);
            Judged::ended(Outcome::Unavailable, Err(error))
        };
        match error {
            TakeError::Full => busy(),
            TakeError::Start(StartError::Fault(error, _))
                if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() =>
            {
                tracing::warn!(plugin = %self.facts.name, setting = "plugins.max_instances", "no room for one more plugin instance");
                busy()
            }
            TakeError::Start(StartError::Fault(error, output)) => {
                let fault = Fault::of(error, &self.facts.limits);
                let judged = self.fault(fault, ("init", output), request);
                Judged {
                    outcome: Outcome::Fault,
                    ..judged
                }
            }
            TakeError::Start(StartError::Refused(error)) => {
                // The settings were good when the plugin was loaded, and clients cannot mend them.
                let refused = refusal(error, &self.facts);
                let fault = Fault::Trap(wasmtime::format_err!("init refused: {refused}"));
                self.fault(fault, ("init", String::new()), request)
            }
        }
    }

    /// Keeps what a call begins with. None where the plugin is not recorded, which costs no more than this look.
    pub(crate) fn tape(
        &self,
        job: &Job<'_>,
        request: &Arc<RequestContext>,
        now: Instant,
    ) -> Option<Box<Tape>> {
        self.facts.record.as_ref()?;
        Some(Box::new(Tape::begin(job, request, now)))
    }

    /// Whether calls are recorded that end well.
    pub(crate) fn records_sound(&self) -> bool {
        (self.facts.record.as_ref()).is_some_and(Recorder::wants_sound)
    }

    /// Keeps what one more call of a filter is given, or gives the recording up where that becomes too much.
    pub(crate) fn follow(&self, tape: &mut Option<Box<Tape>>, piece: &Piece) {
        if let (Some(recorder), Some(kept)) = (&self.facts.record, &mut *tape)
            && !kept.push(piece, recorder.most_bytes())
        {
            recorder.give_up();
            *tape = None;
        }
    }

    /// Leaves a call that has ended for whoever writes recordings, where it is one to record.
    pub(crate) fn keep(
        &self,
        tape: Box<Tape>,
        judged: &mut Judged,
        record: &Record<'_>,
        journal: Journal,
    ) {
        let Some(recorder) = &self.facts.record else {
            return;
        };
        let outcome = judged.outcome;
        let failed = outcome == Outcome::Refused
            && matches!(&judged.answer, Err(error) if error.kind() == ErrorKind::PluginFault);
        // A call that was given no time says nothing of the plugin.
        let hurried = outcome == Outcome::Deadline && !record.had_time();
        if hurried || !(failed || recorder.wants(outcome)) {
            return;
        }
        let end = match (judged.fault.take(), &judged.answer) {
            (Some(fault), Err(error)) => {
                let (during, fault, output) = *fault;
                Some(End::fault(during, (fault, output), error))
            }
            (_, answer) => End::of(answer),
        };
        let Some(end) = end else { return };
        recorder.leave(Call {
            plugin: Arc::clone(&self.facts),
            took: tape.began().elapsed(),
            tape,
            journal,
            outcome,
            end,
        });
    }

    fn lacks(&self, stage: Stage) -> Error {
        Error::internal(format!(
            "the plugin {} has no stage {}, and a route calls it",
            self.facts.name,
            stage.name()
        ))
    }

    fn place<'a>(&'a self, during: &'static str, request: &'a RequestContext) -> Place<'a> {
        Place {
            plugin: &self.facts,
            during,
            request_id: &request.id,
        }
    }
}
