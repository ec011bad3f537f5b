//! The circuit breaker of an upstream: while all requests fail, none is sent but one now and then.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::health::doubled;
use crate::settings::Breaking;

/// The breaker of an upstream.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: Breaking,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests in a row that failed.
    failures: u32,
    /// How often it opened in a row.
    opened: u32,
    open_until: Option<Instant>,
    /// Whether the one request that may go through is under way.
    on_trial: bool,
}

/// The leave to send a request. Whoever has it says how the request ended; dropped, it ended without saying anything.
#[derive(Debug)]
pub(crate) struct Leave {
    breaker: Arc<Breaker>,
    is_trial: bool,
    /// Whether the next trial waits for this one.
    holds_place: bool,
}

/// What became of the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(crate) fn new(policy: Breaking) -> Self {
        Self {
            policy,
            state: Mutex::default(),
        }
    }

    /// Asks whether a request may be sent.
    ///
    /// # Errors
    /// The time until one may.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Leave, Duration> {
        let mut state = self.state.lock();
        let Some(until) = state.open_until else {
            return Ok(Leave {
                breaker: Arc::clone(self),
                is_trial: false,
                holds_place: false,
            });
        };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(left);
        }
        if std::mem::replace(&mut state.on_trial, true) {
            return Err(self.policy.first);
        }
        Ok(Leave {
            breaker: Arc::clone(self),
            is_trial: true,
            holds_place: true,
        })
    }

    /// The time until a request may be sent; none where one may now. It takes no leave.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let state = self.state.lock();
        let left = state.open_until?.saturating_duration_since(Instant::now());
        match (left.is_zero(), state.on_trial) {
            (false, _) => Some(left),
            (true, true) => Some(self.policy.first),
            (true, false) => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open_until.is_some()
    }
}

impl Leave {
    /// The answer began. How it ends may take as long as a client reads, and no other trial waits for that.
    pub(crate) fn answered(&mut self) {
        if std::mem::take(&mut self.holds_place) {
            self.breaker.state.lock().on_trial = false;
        }
    }

    /// The upstream answered, whatever it answered.
    pub(crate) fn succeeded(self) -> Turn {
        let mut state = self.breaker.state.lock();
        // What began before it opened and ended well later says that the upstream is there again, as well.
        let was_open = state.open_until.is_some();
        *state = State::default();
        match was_open {
            true => Turn::Closed,
            false => Turn::None,
        }
    }

    /// The upstream failed.
    pub(crate) fn failed(self) -> Turn {
        let policy = &self.breaker.policy;
        let mut state = self.breaker.state.lock();
        state.failures = state.failures.saturating_add(1);
        let opens = match state.open_until {
            Some(_) => self.is_trial,
            None => policy.after > 0 && state.failures >= policy.after,
        };
        if !opens {
            return Turn::None;
        }
        let time = doubled(policy.first, state.opened, policy.longest);
        state.opened = state.opened.saturating_add(1);
        state.open_until = Some(Instant::now() + time);
        Turn::Opened
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Breaking = Breaking {
        after: 2,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(2),
    };

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_and_closes_by_one_request_that_ends_well() {
        let breaker = Arc::new(Breaker::new(POLICY));
        assert_eq!(breaker.enter().unwrap().failed(), Turn::None);
        assert_eq!(breaker.enter().unwrap().failed(), Turn::Opened);
        assert_eq!(breaker.enter().unwrap_err(), Duration::from_secs(1));
        assert_eq!(breaker.wait(), Some(Duration::from_secs(1)));

        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(breaker.wait(), None);
        let mut trial = breaker.enter().unwrap();
        assert!(breaker.enter().is_err(), "one at a time");
        trial.answered();
        // While its answer is read, another may be tried, and what that leaves is its own.
        let other = breaker.enter().unwrap();
        assert_eq!(trial.failed(), Turn::Opened);
        assert!(breaker.state.lock().on_trial);
        drop(other);
        assert!(!breaker.state.lock().on_trial);
        assert_eq!(breaker.enter().unwrap_err(), Duration::from_secs(2));

        tokio::time::advance(Duration::from_secs(2)).await;
        // One that is given up says nothing, and leaves its place to the next.
        drop(breaker.enter().unwrap());
        assert_eq!(breaker.enter().unwrap().succeeded(), Turn::Closed);
        assert!(!breaker.is_open());
        let (first, second) = (breaker.enter().unwrap(), breaker.enter().unwrap());
        assert_eq!(first.succeeded(), Turn::None);
        assert_eq!(second.failed(), Turn::None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_failure_of_before_prolongs_nothing() {
        let breaker = Arc::new(Breaker::new(POLICY));
        let late = breaker.enter().unwrap();
        breaker.enter().unwrap().failed();
        breaker.enter().unwrap().failed();
        assert_eq!(late.failed(), Turn::None);
        assert_eq!(breaker.wait(), Some(Duration::from_secs(1)));
    }
}
