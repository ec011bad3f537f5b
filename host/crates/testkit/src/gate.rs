//! Gates: where a fake waits until its test lets it go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

/// How often a thread that waits looks whether it is to give up.
const TICK: Duration = Duration::from_millis(5);

/// Gates by name, shared by a fake and its test.
#[derive(Clone, Default)]
pub struct Gates(Arc<Mutex<HashMap<String, Gate>>>);

impl Gates {
    /// The gate of a name; closed when it is first asked for.
    #[must_use]
    pub fn get(&self, name: &str) -> Gate {
        self.0.lock().entry(name.to_owned()).or_default().clone()
    }
}

/// A place to wait at, for tasks and for threads.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    state: watch::Sender<State>,
    lock: Mutex<()>,
    opened: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Inner {
            state: watch::Sender::new(State::default()),
            lock: Mutex::new(()),
            opened: Condvar::new(),
        }))
    }
}

impl Gate {
    /// Lets everyone through, now and from now on.
    pub fn open(&self) {
        let _lock = self.0.lock.lock();
        self.0.state.send_modify(|state| state.open = true);
        self.0.opened.notify_all();
    }

    /// Holds whoever comes from now on.
    pub fn close(&self) {
        self.0.state.send_modify(|state| state.open = false);
    }

    /// Waits until so many have come to the gate, all in all.
    pub async fn arrived(&self, count: usize) {
        let mut state = self.0.state.subscribe();
        let waited = state.wait_for(|state| state.arrived >= count);
        crate::wait::within(waited).await.expect("the gate lives");
    }

    /// Waits at the gate.
    pub async fn pass(&self) {
        self.0.state.send_modify(|state| state.arrived += 1);
        let mut state = self.0.state.subscribe();
        state
            .wait_for(|state| state.open)
            .await
            .expect("the gate lives");
    }

    /// Waits at the gate with the whole thread.
    pub fn pass_blocking(&self) {
        self.pass_unless(|| false);
    }

    /// The same, until somebody `gives_up`. Says whether it went through.
    pub fn pass_unless(&self, gives_up: impl Fn() -> bool) -> bool {
        self.0.state.send_modify(|state| state.arrived += 1);
        let mut lock = self.0.lock.lock();
        while !self.0.state.borrow().open {
            if gives_up() {
                return false;
            }
            self.0.opened.wait_for(&mut lock, TICK);
        }
        true
    }
}
