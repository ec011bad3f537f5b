//! Stops runs on callers' threads that take longer than they should: the thread that runs cannot. It also looks, now and then,
//! for what rests too long.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use parking_lot::{Condvar, Mutex, MutexGuard};
use wharf_core::Cancel;

/// How often runs are looked at while there are any.
const TICK: Duration = Duration::from_millis(5);
/// After so many looks at nothing, the thread sleeps until a run begins.
const IDLE_TICKS: u32 = 20;

/// Something that forgets what rests too long.
pub(crate) trait Sweep: Send + Sync {
    /// Forgets it, and says when to look again; none where there is nothing left.
    fn sweep(&self, now: Instant) -> Option<Instant>;
}

/// A thread that terminates runs after their time. One serves all models of an engine.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    runs: Vec<Option<Watched>>,
    watched: usize,
    sweeps: Vec<(Instant, Weak<dyn Sweep>)>,
    asleep: bool,
    closed: bool,
}

struct Watched {
    until: Instant,
    /// What ends it before; none for the run of a request, which ends with its caller.
    cancel: Option<Cancel>,
    options: Arc<RunOptions>,
    fired: bool,
}

impl Watched {
    fn is_over(&self, now: Instant) -> bool {
        self.until <= now || self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }
}

/// A run that is watched until this is dropped; after that its options are not touched any more.
pub(crate) struct Watch<'a> {
    watchdog: &'a Watchdog,
    slot: usize,
}

impl Watchdog {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("model-watchdog".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.watch()
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Watches a run: at `until` it is terminated.
    pub(crate) fn watch(&self, until: Instant, options: Arc<RunOptions>) -> Watch<'_> {
        self.add(Watched {
            until,
            cancel: None,
            options,
            fired: false,
        })
    }

    /// Watches a run of a load: it is terminated where that is cancelled, too.
    pub(crate) fn watch_load(
        &self,
        until: Instant,
        cancel: Cancel,
        options: Arc<RunOptions>,
    ) -> Watch<'_> {
        self.add(Watched {
            until,
            cancel: Some(cancel),
            options,
            fired: false,
        })
    }

    fn add(&self, watched: Watched) -> Watch<'_> {
        let mut state = self.shared.state.lock();
        let slot = state
            .runs
            .iter()
            .position(Option::is_none)
            .unwrap_or(state.runs.len());
        if slot == state.runs.len() {
            state.runs.push(Some(watched));
        } else {
            state.runs[slot] = Some(watched);
        }
        state.watched += 1;
        if state.asleep {
            self.shared.wake.notify_one();
        }
        Watch {
            watchdog: self,
            slot,
        }
    }
}

impl Watchdog {
    /// Looks there at that time, and as often as it says, while it lives.
    pub(crate) fn sweep<S: Sweep + 'static>(&self, what: &Arc<S>, at: Instant) {
        let what: Weak<S> = Arc::downgrade(what);
        let mut state = self.shared.state.lock();
        state.sweeps.push((at, what));
        if state.asleep {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.watchdog.shared.state.lock();
        state.runs[self.slot] = None;
        state.watched -= 1;
    }
}

impl Shared {
    fn watch(&self) {
        let mut state = self.state.lock();
        let mut idle = 0;
        while !state.closed {
            self.sweep(&mut state);
            if state.watched == 0 && idle >= IDLE_TICKS {
                state.asleep = true;
                match state.sweeps.iter().map(|(at, _)| *at).min() {
                    Some(at) => {
                        self.wake.wait_until(&mut state, at);
                    }
                    None => self.wake.wait(&mut state),
                }
                state.asleep = false;
                idle = 0;
                continue;
            }
            idle = if state.watched == 0 { idle + 1 } else { 0 };
            let now = Instant::now();
            for watched in state
                .runs
                .iter_mut()
                .flatten()
                .filter(|watched| watched.is_over(now))
            {
                if !std::mem::replace(&mut watched.fired, true)
                    && let Err(error) = watched.options.terminate()
                {
                    tracing::warn!(%error, "a run could not be terminated");
                }
            }
            self.wake.wait_for(&mut state, TICK);
        }
    }

    /// Looks where it is time to. Without the lock: what is looked at has one of its own.
    fn sweep(&self, state: &mut MutexGuard<'_, State>) {
        let now = Instant::now();
        let mut due = Vec::new();
        state.sweeps.retain(|(at, what)| {
            let is_due = *at <= now;
            if is_due {
                due.push(Weak::clone(what));
            }
            !is_due
        });
        if due.is_empty() {
            return;
        }
        let next: Vec<_> = MutexGuard::unlocked(state, || {
            due.into_iter()
                .filter_map(|what| Some((what.upgrade()?.sweep(now)?, what)))
                .collect()
        });
        state.sweeps.extend(next);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the model watchdog panicked");
        }
    }
}
