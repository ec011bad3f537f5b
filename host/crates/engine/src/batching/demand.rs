//! Tells a crowd from an overload: whether more requests come than the model answers, and go on doing so.
//!
//! The number of clients that wait for their answers says nothing. Sixty-four of them make a queue that stands for ever, and
//! each is served in its turn: as many requests come as go. An overload is a queue that keeps growing. So what came
//! (refused or not) and what went are counted in windows of one run's time, and it is an overload when more came in
//! [`STREAK`] windows in a row, and the surplus would take noticeable time to work off. A burst fills one window, or two where
//! it falls on their border, and then as many come as go.

use std::time::{Duration, Instant};

/// Windows in a row that make a state of the model, either way.
const STREAK: u32 = 3;
/// A window is the time of a run, between these. Shorter ones would take the connecting of many clients for growth; longer
/// ones would let the queue of a slow model grow unseen.
const WINDOW: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// A surplus that is worked off within this time is none.
const SURPLUS: Duration = Duration::from_millis(100);
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
mod tests {
    use super::*;

    const fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    fn capacity(run: Duration) -> Capacity {
        Capacity {
            run,
            per_request: run,
            delay: Duration::ZERO,
            instances: 2,
            rows: 1,
        }
    }

    /// Plays arrivals and answers, a pair a millisecond, and says in which millisecond the state changed.
    fn play(
        demand: &mut Demand,
        start: Instant,
        capacity: Capacity,
        events: impl Iterator<Item = (u64, u64)>,
    ) -> Vec<(u64, Change)> {
        events
            .zip(0..)
            .filter_map(|((came, went), at)| {
                let change = demand.count(came, went, start + ms(at), capacity);
                (change != Change::None).then_some((at, change))
            })
            .collect()
    }

    /// So many requests in a hundred milliseconds, evenly.
    fn rate(at: u64, per_100: u64) -> u64 {
        (at + 1) * per_100 / 100 - at * per_100 / 100
    }

    #[test]
    fn ten_times_the_load_is_seen_within_a_few_runs_and_forgotten_after() {
        // Runs of 20 ms on two instances: 10 answers in 100 ms.
        let start = Instant::now();
        let mut demand = Demand::new(start);
        let events = (0..1000).map(|at| {
            let came = if at < 500 { 80 } else { 8 };
            (rate(at, came), rate(at, 10))
        });
        let changes = play(&mut demand, start, capacity(ms(20)), events);
        let [(begins, Change::Overloaded), (ends, Change::Calm)] = changes[..] else {
            panic!("{changes:?}");
        };
        assert!(begins <= 80, "seen after {begins} ms");
        assert!((500..=600).contains(&ends), "forgotten after {ends} ms");
    }

    #[test]
    fn a_crowd_that_waits_its_turn_is_no_overload() {
        let start = Instant::now();
        for connecting in [1, 20, 39] {
            let mut demand = Demand::new(start);
            // Then each answer brings the next request.
            let events = (0..1000).map(|at| {
                let first = if at < connecting { 64 / connecting } else { 0 };
                (first + rate(at, 10), rate(at, 10))
            });
            let changes = play(&mut demand, start, capacity(ms(20)), events);
            assert_eq!(changes, [], "connecting in {connecting} ms");
        }
    }

    #[test]
    fn a_short_model_has_more_clients() {
        let start = Instant::now();
        let mut demand = Demand::new(start);
        let events = (0..1000).map(|at| (if at < 70 { 1 } else { 0 } + 20, 20));
        let changes = play(
            &mut demand,
            start,
            capacity(Duration::from_micros(100)),
            events,
        );
        assert_eq!(changes, [], "70 clients that come slowly");

        let mut demand = Demand::new(start);
        let events = (0..200).map(|_| (160, 20));
        let changes = play(
            &mut demand,
            start,
            capacity(Duration::from_micros(100)),
            events,
        );
        assert_eq!(changes, [(60, Change::Overloaded)]);
    }

    #[test]
    fn what_gathers_during_the_delay_is_no_overload() {
        let start = Instant::now();
        let mut demand = Demand::new(start);
        let slow = Capacity {
            per_request: ms(10),
            delay: ms(500),
            ..capacity(ms(20))
        };
        let events = (0..5000).map(|at| (rate(at, 10), if at % 500 == 499 { 50 } else { 0 }));
        assert_eq!(play(&mut demand, start, slow, events), []);
    }

    #[test]
    fn a_rest_ends_it() {
        let start = Instant::now();
        let mut demand = Demand::new(start);
        let overload = (0..200).map(|_| (8, 1));
        assert_eq!(play(&mut demand, start, capacity(ms(1)), overload).len(), 1);
        let change = demand.count(1, 0, start + ms(2000), capacity(ms(1)));
        assert_eq!(change, Change::Calm, "though the last window grew");
    }
}
