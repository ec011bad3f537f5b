//! Stops runs on callers' threads that take longer than they should: the thread that runs cannot.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use parking_lot::{Condvar, Mutex};

/// How often runs are looked at while there are any.
const TICK: Duration = Duration::from_millis(5);
/// After so many looks at nothing, the thread sleeps until a run begins.
const IDLE_TICKS: u32 = 20;

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
    asleep: bool,
    closed: bool,
}

struct Watched {
    until: Instant,
    options: Arc<RunOptions>,
    fired: bool,
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
        let watched = Watched {
            until,
            options,
            fired: false,
        };
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
            if state.watched == 0 && idle >= IDLE_TICKS {
                state.asleep = true;
                self.wake.wait(&mut state);
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
                .filter(|watched| watched.until <= now)
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
