//! Tells a crowd from an overload: whether more requests come than the model answers, and go on doing so.
//!
//! The number of clients that wait for their answers says nothing. Sixty-four of them make a queue that stands for ever, and
//! each is served in its turn: as many requests come as go. An overload is a queue that keeps growing. So what came
//! (refused or not) and what went are counted in windows of one run's time, and it is an overload when more came in
//! [`STREAK`] windows in a row, and the surplus would take nearly as long to work off as a crowd may wait. A burst fills one
//! window, or a few where its clients catch up slowly after a halt, and is worked off in the lull that follows; to refuse it
//! would refuse requests that the model has the time for. Ten times the load makes nine times as much surplus as work, so it
//! is seen after [`STREAK`] windows all the same.

use std::time::{Duration, Instant};

/// Windows in a row that make a state of the model, either way.
const STREAK: u32 = 3;
/// A window is the time of a run, between these. Shorter ones would take the connecting of many clients for growth; longer
/// ones would let the queue of a slow model grow unseen.
const WINDOW: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// A surplus that is worked off within this time is none. Less than a request may wait anyway; more than clients send at once
/// that were held up for a moment.
const SURPLUS: Duration = Duration::from_millis(400);
/// Nor is one of fewer requests.
const FEW: u64 = 16;
/// Where runs are short, a surplus of so many requests, beside two full runs of each instance, is one at any rate.
const MANY: u64 = 80;

/// Counts what comes and goes.
pub(super) struct Demand {
    since: Instant,
    came: u64,
    went: u64,
    growing: u32,
    steady: u32,
    surplus: u64,
    overloaded: bool,
}

/// What the model does in a time.
#[derive(Clone, Copy)]
pub(super) struct Capacity {
    /// The moving average of a run's time.
    pub(super) run: Duration,
    /// The time that an instance works for one request.
    pub(super) per_request: Duration,
    /// How long an idle instance waits for a batch to fill.
    pub(super) delay: Duration,
    pub(super) instances: u64,
    /// The rows of a full run.
    pub(super) rows: u64,
}

/// What became of the model with the last window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Overloaded,
    Calm,
}

impl Demand {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            came: 0,
            went: 0,
            growing: 0,
            steady: 0,
            surplus: 0,
            overloaded: false,
        }
    }

    /// Counts requests that came and that went, and looks at the window when it is over.
    pub(super) fn count(
        &mut self,
        came: u64,
        went: u64,
        now: Instant,
        capacity: Capacity,
    ) -> Change {
        // What gathers during the delay is not left behind.
        let window = capacity.run.clamp(WINDOW.0, WINDOW.1) + capacity.delay;
        let age = now.saturating_duration_since(self.since);
        let change = if age < window {
            Change::None
        } else {
            // Nothing happened for a while: what was counted before says nothing of now.
            if age >= 4 * window {
                (self.came, self.went) = (0, 0);
                self.steady = STREAK;
            }
            self.close(now, capacity)
        };
        self.came += came;
        self.went += went;
        change
    }

    fn close(&mut self, now: Instant, capacity: Capacity) -> Change {
        let (came, went) = (self.came, self.went);
        (self.since, self.came, self.went) = (now, 0, 0);
        if came > went + went / 4 + 2 {
            self.growing += 1;
            self.steady = 0;
            self.surplus += came - went;
        } else {
            self.growing = 0;
            self.surplus = 0;
            self.steady = self.steady.saturating_add(1);
        }
        if !self.overloaded && self.growing >= STREAK && self.surplus >= limit(capacity) {
            self.overloaded = true;
            Change::Overloaded
        } else if self.overloaded && self.steady >= STREAK {
            self.overloaded = false;
            Change::Calm
        } else {
            Change::None
        }
    }
}

/// The surplus that makes an overload.
fn limit(capacity: Capacity) -> u64 {
    let per_request = capacity.per_request.as_nanos().max(1);
    let takes = SURPLUS.as_nanos() * u128::from(capacity.instances) / per_request;
    let many = MANY.saturating_add(2 * capacity.instances.saturating_mul(capacity.rows));
    u64::try_from(takes).unwrap_or(u64::MAX).clamp(FEW, many)
}

#[cfg(test)]
mod tests;
