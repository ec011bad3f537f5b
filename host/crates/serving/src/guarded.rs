//! A release of a plugin as routes call it: through its circuit breaker, and on trial while the release before is kept.
//!
//! Nothing here is decided by what a single request says. A call that fails is noted in the breaker; on trial its input is
//! kept as well, for the roll-back to ask the release before the same.

mod filter;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use wharf_core::{
    Candidate, Digest, Error, ErrorKind, Name, Payload, Plugin, PluginInfo, RequestContext, Result,
};

use crate::breaker::{Breakers, Change, Fate, Permit};
use crate::config::Config;
use crate::events::{EventKind, Journal};
use crate::metrics::{BreakerCounters, Metrics};
use crate::state::Surroundings;

/// The most failed calls that wait for the release before; further ones say nothing new.
const MOST_SUSPECTS: usize = 8;

/// How long the release before may take for a call that failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the guards of all plugins share.
#[derive(Default)]
pub(crate) struct Guards {
    config: Arc<ArcSwap<Config>>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    /// Told of each suspect.
    faults: Arc<Notify>,
    /// Where the plugins lie in the site: empty, or the folder of a release.
    folder: String,
    suspects: Mutex<VecDeque<Suspect>>,
}

/// A call of a release on trial that failed.
pub(crate) struct Suspect {
    pub(crate) plugin: Name,
    pub(crate) release: Digest,
    pub(crate) request: Arc<RequestContext>,
    pub(crate) input: Input,
    /// The calls of the release that had ended well before.
    pub(crate) ended_well: u64,
}

/// What a stage was called with.
pub(crate) enum Input {
    Preprocess(Payload),
    Postprocess(Payload),
    Route(Vec<Candidate>),
}

/// A release that is called through its guard.
pub(crate) struct Guarded {
    plugin: Arc<dyn Plugin>,
    breakers: Breakers,
    trial: Trial,
    counters: Arc<BreakerCounters>,
    guards: Arc<Guards>,
}

/// A call that is made. Its end is noted when it is dropped, also where the request leaves.
struct Call<'a> {
    guarded: &'a Guarded,
    request: &'a Arc<RequestContext>,
    permit: Permit,
    /// Kept for the release before.
    input: Option<Input>,
    fate: Option<Fate>,
}

/// Whether a release is on trial, and how it does there.
#[derive(Default)]
struct Trial {
    on: AtomicBool,
    ended_well: AtomicU64,
    regressions: Mutex<Regressions>,
}

/// The calls that failed here and not with the release before, none of this release having ended well in between.
#[derive(Default)]
struct Regressions {
    in_a_row: u64,
    ended_well: u64,
}

impl Guards {
    pub(crate) fn new(
        config: Arc<ArcSwap<Config>>,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
        faults: Arc<Notify>,
    ) -> Self {
        Self {
            config,
            journal,
            metrics,
            faults,
            folder: String::new(),
            suspects: Mutex::default(),
        }
    }

    /// The same for the plugins of a folder in the site, `bundles/shop/3/`.
    pub(crate) fn within(&self, folder: String) -> Self {
        Self {
            config: Arc::clone(&self.config),
            journal: Arc::clone(&self.journal),
            metrics: Arc::clone(&self.metrics),
            faults: Arc::clone(&self.faults),
            folder,
            suspects: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What routes are linked with beside their parts.
    pub(crate) fn surroundings<'a>(&'a self, config: &'a Config) -> Surroundings<'a> {
        Surroundings {
            config,
            metrics: &self.metrics,
            faults: &self.faults,
            member: None,
        }
    }

    /// Takes the oldest suspect.
    pub(crate) fn suspect(&self) -> Option<Suspect> {
        self.suspects.lock().pop_front()
    }

    fn accuse(&self, suspect: Suspect) {
        let mut suspects = self.suspects.lock();
        if suspects.len() < MOST_SUSPECTS {
            suspects.push_back(suspect);
            drop(suspects);
            self.faults.notify_one();
        }
    }
}

impl Guarded {
    pub(crate) fn new(plugin: Arc<dyn Plugin>, guards: &Arc<Guards>) -> Self {
        Self {
            counters: guards.metrics.breaker(&plugin.info().name),
            plugin,
            breakers: Breakers::default(),
            trial: Trial::default(),
            guards: Arc::clone(guards),
        }
    }

    /// The release itself, past its guard.
    pub(crate) fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.plugin
    }

    pub(crate) fn info(&self) -> &PluginInfo {
        self.plugin.info()
    }

    /// Begins a trial afresh.
    pub(crate) fn begin_trial(&self) {
        *self.trial.regressions.lock() = Regressions::default();
        self.trial.on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_trial(&self) {
        self.trial.on.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_on_trial(&self) -> bool {
        self.trial.on.load(Ordering::Relaxed)
    }

    /// Notes that the release before does what this one failed at.
    pub(crate) fn regressed(&self, suspect: &Suspect) {
        let mut regressions = self.trial.regressions.lock();
        if regressions.ended_well != suspect.ended_well {
            *regressions = Regressions {
                in_a_row: 0,
                ended_well: suspect.ended_well,
            };
        }
        regressions.in_a_row += 1;
    }

    /// The regressions in a row.
    pub(crate) fn regressions(&self) -> u64 {
        self.trial.regressions.lock().in_a_row
    }

    pub(crate) async fn preprocess(
        &self,
        request: &Arc<RequestContext>,
        input: Payload,
    ) -> Result<Payload> {
        let call = self.begin(request, || Input::Preprocess(input.clone()))?;
        call.end(self.plugin.preprocess(request, input).await)
    }

    pub(crate) async fn postprocess(
        &self,
        request: &Arc<RequestContext>,
        output: Payload,
    ) -> Result<Payload> {
        let call = self.begin(request, || Input::Postprocess(output.clone()))?;
        call.end(self.plugin.postprocess(request, output).await)
    }

    pub(crate) async fn route(
        &self,
        request: &Arc<RequestContext>,
        candidates: &[Candidate],
    ) -> Result<usize> {
        let call = self.begin(request, || Input::Route(candidates.to_vec()))?;
        call.end(self.plugin.route(request, candidates).await)
    }

    /// Begins a call.
    fn begin<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        input: impl FnOnce() -> Input,
    ) -> Result<Call<'a>> {
        let permit = self.permit(request)?;
        let input = self.is_on_trial().then(input);
        Ok(Call {
            guarded: self,
            request,
            permit,
            input,
            fate: None,
        })
    }

    fn permit(&self, request: &RequestContext) -> Result<Permit> {
        let settings = || self.guards.config.load().breaker();
        let tenant = request.tenant.as_ref();
        self.breakers.admit(tenant, settings).map_err(|wait| {
            self.counters.refused();
            Error::new(
                ErrorKind::Unavailable,
                "a plugin of this route kept failing and is not called for a while; try again later",
            )
            .with_retry_after(wait)
        })
    }

    /// What a call's answer says of the plugin.
    fn fate(&self, error: Option<&Error>) -> Fate {
        let Some(error) = error else {
            return Fate::Ended;
        };
        match error.kind() {
            ErrorKind::PluginFault if error.is_said_by_guest() => Fate::Failed,
            ErrorKind::PluginFault => Fate::Fault,
            ErrorKind::Deadline => self.fate_past_deadline(),
            ErrorKind::Unavailable => Fate::Nothing,
            _ => Fate::Ended,
        }
    }

    /// Whether that was the plugin's fault, or the request had no time, the plugin's host has judged.
    fn fate_past_deadline(&self) -> Fate {
        if self.plugin.health().consecutive_faults > 0 {
            Fate::Fault
        } else {
            Fate::Nothing
        }
    }

    /// What it says of the plugin that a request was left before its end.
    fn fate_of_left(&self, request: &RequestContext) -> Fate {
        // Whatever the client does, past its deadline the request is ended by the route.
        if request.remaining().is_zero() {
            self.fate_past_deadline()
        } else {
            Fate::Nothing
        }
    }

    fn ended(&self, request: &RequestContext, permit: &Permit, fate: Fate) {
        if fate == Fate::Ended && self.is_on_trial() {
            self.trial.ended_well.fetch_add(1, Ordering::Relaxed);
        }
        let settings = || self.guards.config.load().breaker();
        let tenant = request.tenant.as_ref();
        let change = self.breakers.ended(tenant, permit, fate, settings);
        let whose = || {
            tenant.map_or(String::new(), |tenant| {
                format!(" for the tenant {tenant:?}")
            })
        };
        let name = &self.plugin.info().name;
        let note = |kind, message| {
            let file = format!("{}plugins/{name}.wasm", self.guards.folder);
            self.guards.journal.note(kind, file, message);
        };
        match change {
            Change::None => {}
            Change::Opened(pause) => {
                self.counters.opened();
                note(
                    EventKind::Paused,
                    format!(
                        "most of its calls{} trapped or ran into a limit: they are not made for {} ms, then one is tried; the log has the faults",
                        whose(),
                        pause.as_millis()
                    ),
                );
            }
            Change::StaysOpen => self.counters.opened(),
            Change::Closed => {
                self.counters.closed();
                note(
                    EventKind::Resumed,
                    format!("a call{} succeeded: it is called again", whose()),
                );
            }
        }
    }
}

impl Call<'_> {
    fn end<T>(mut self, result: Result<T>) -> Result<T> {
        self.fate = Some(self.guarded.fate(result.as_ref().err()));
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let guarded = self.guarded;
        let fate = self
            .fate
            .unwrap_or_else(|| guarded.fate_of_left(self.request));
        if matches!(fate, Fate::Failed | Fate::Fault)
            && let Some(input) = self.input.take()
        {
            let info = guarded.plugin.info();
            guarded.guards.accuse(Suspect {
                plugin: info.name.clone(),
                release: info.digest,
                request: Arc::clone(self.request),
                input,
                ended_well: guarded.trial.ended_well.load(Ordering::Relaxed),
            });
        }
        guarded.ended(self.request, &self.permit, fate);
    }
}

impl Suspect {
    /// Whether a release does what another failed at: it answers, if only by refusing.
    pub(crate) async fn is_answered_by(&self, plugin: &Arc<dyn Plugin>) -> bool {
        let request = Arc::new(RequestContext {
            // The client has its answer, and its time is over.
            deadline: Instant::now() + PATIENCE,
            ..(*self.request).clone()
        });
        let error = match &self.input {
            Input::Preprocess(payload) => plugin.preprocess(&request, payload.clone()).await.err(),
            Input::Postprocess(payload) => {
                plugin.postprocess(&request, payload.clone()).await.err()
            }
            Input::Route(candidates) => plugin.route(&request, candidates).await.err(),
        };
        !matches!(
            error.map(|error| error.kind()),
            Some(
                ErrorKind::PluginFault
                    | ErrorKind::Unavailable
                    | ErrorKind::Deadline
                    | ErrorKind::Internal
            )
        )
    }
}
