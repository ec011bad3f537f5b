//! Says whether a request may wait: at once, and from counters alone.
//!
//! Bounds, the first that is met refuses: the requests of the model (`max_in_flight`), those that wait (`queue_capacity`),
//! and the time that one more would wait. That time is what stands before it, in full runs, over the instances; it is never
//! longer than the request's own deadline. What it may be:
//! - where `queue_wait_ms` is set, just that, though [`ALWAYS_WAIT`] may wait at any rate;
//! - otherwise 500 ms in the same way, as long as no more requests come than the model answers (see [`super::demand`]);
//! - in an overload one run, or [`FLOOR`] for shorter ones. An answer then takes at most two runs, the one before and
//!   its own, as against one with nobody else there; and no instance ever waits for work, since more comes than it can do.
//!   When an overload begins, those that wait beyond this are refused too, the oldest first: their time is lost already.
//!
//! Whom it hits is a matter of shares: a request that would be refused takes the place of another tenant's that would be served after it.
//! And in an overload a tenant that has nothing in the queue may wait at any rate, within the other bounds: where there is room for one
//! run, whoever asks most often would have it every time.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::time::Duration;

use wharf_core::{Error, ErrorKind, Result};

use super::pace::Pace;
use super::scheduler::Limits;
use crate::metrics::{ModelMetrics, Refusal};

/// The longest wait where `queue_wait_ms` is not set.
const WAIT: Duration = Duration::from_millis(500);
/// A wait that is never too long: what a wake-up and a batch of a small model take.
const FLOOR: Duration = Duration::from_millis(1);
/// So many requests for each instance may wait, however long the model takes, but in an overload.
const ALWAYS_WAIT: usize = 4;
/// The shortest time after which a refused client is asked to come back: `Retry-After` counts seconds.
const RETRY: Duration = Duration::from_secs(1);

/// What waits and runs: changed under the queue's lock, and read without.
pub(super) struct Backlog {
    /// The work that waits, by level. A request that fills a run counts as many units as a run has rows.
    units: Box<[AtomicU64]>,
    waiting: AtomicUsize,
    /// Those of them that are of a tenant.
    of_tenants: AtomicUsize,
    idle: AtomicUsize,
    running: AtomicU32,
    /// Requests of the model, wherever they are.
    present: AtomicU32,
    overloaded: AtomicBool,
    /// Requests that were refused early, since somebody last asked.
    turned_away: AtomicU64,
}

/// What a refusal depends on.
pub(super) struct Admission<'a> {
    pub(super) backlog: &'a Backlog,
    pub(super) limits: &'a Limits,
    pub(super) pace: &'a Pace,
    pub(super) metrics: &'a ModelMetrics,
    pub(super) instances: usize,
}

/// Why there is no room for a request, and how long it would wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortage {
    pub(super) refusal: Refusal,
    pub(super) wait: Duration,
}

impl Backlog {
    pub(super) fn new(levels: usize, idle: usize) -> Self {
        Self {
            units: (0..levels).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicUsize::new(0),
            of_tenants: AtomicUsize::new(0),
            idle: AtomicUsize::new(idle),
            running: AtomicU32::new(0),
            present: AtomicU32::new(0),
            overloaded: AtomicBool::new(false),
            turned_away: AtomicU64::new(0),
        }
    }

    pub(super) fn entered(&self, level: usize, units: u64) {
        self.units[level].fetch_add(units, Relaxed);
        self.waiting.fetch_add(1, Relaxed);
    }

    pub(super) fn left(&self, level: usize, units: u64) {
        self.units[level].fetch_sub(units, Relaxed);
        self.waiting.fetch_sub(1, Relaxed);
    }

    pub(super) fn tenant_entered(&self) {
        self.of_tenants.fetch_add(1, Relaxed);
    }

    pub(super) fn tenant_left(&self) {
        self.of_tenants.fetch_sub(1, Relaxed);
    }

    pub(super) fn set_idle(&self, idle: usize) {
        self.idle.store(idle, Relaxed);
    }

    pub(super) fn set_overloaded(&self, overloaded: bool) {
        self.overloaded.store(overloaded, Relaxed);
    }

    pub(super) fn take_turned_away(&self) -> u64 {
        // Nearly always there are none, and then nothing is written.
        if self.turned_away.load(Relaxed) == 0 {
            0
        } else {
            self.turned_away.swap(0, Relaxed)
        }
    }

    /// The requests that wait, and those that run.
    pub(super) fn depths(&self) -> (u32, u32) {
        let waiting = u32::try_from(self.waiting.load(Relaxed)).unwrap_or(u32::MAX);
        (waiting, self.running.load(Relaxed))
    }

    /// Counts requests as running until the guard is dropped.
    pub(super) fn running(&self, requests: usize) -> Counted<'_> {
        Counted::add(&self.running, u32::try_from(requests).unwrap_or(u32::MAX))
    }

    /// All the work that waits.
    pub(super) fn units(&self) -> u64 {
        self.units_before(self.units.len() - 1)
    }

    /// The work that goes before a request of this level, in units.
    fn units_before(&self, level: usize) -> u64 {
        self.units[..=level]
            .iter()
            .map(|units| units.load(Relaxed))
            .sum()
    }
}

impl<'a> Admission<'a> {
    /// Takes a place among the requests of the model.
    pub(super) fn enter(&self) -> Result<Option<Counted<'a>>> {
        let Some(max) = self.limits.max_in_flight else {
            return Ok(None);
        };
        let place = Counted::add(&self.backlog.present, 1);
        if place.before >= max {
            return Err(self.crowded());
        }
        Ok(Some(place))
    }

    /// Refuses where [`Admission::enter`] and [`Admission::judge`] would refuse the most favoured request.
    pub(super) fn check_room(&self) -> Result<()> {
        let max = self.limits.max_in_flight;
        if max.is_some_and(|max| self.backlog.present.load(Relaxed) >= max) {
            return Err(self.crowded());
        }
        // Who asks is not known here: of another tenant than those who wait, it may be let in where they are not.
        if self.backlog.of_tenants.load(Relaxed) > 0 {
            return Ok(());
        }
        self.judge(0, Duration::MAX).map_err(|shortage| {
            self.backlog.turned_away.fetch_add(1, Relaxed);
            self.refuse(shortage)
        })
    }

    /// Refuses a request of this level that would wait too long, so that those in the queue keep their time. It has so much
    /// time left. Where an overload is the reason, nothing else is one.
    pub(super) fn judge(&self, level: usize, left: Duration) -> Result<(), Shortage> {
        let Self {
            backlog, limits, ..
        } = self;
        let queued = backlog.waiting.load(Relaxed);
        let idle = backlog.idle.load(Relaxed);
        // What an idle instance is about to take does not wait.
        if queued < idle {
            return Ok(());
        }
        let waiting = queued - idle;
        let wait = self.wait(level, idle);
        let short = |refusal| Err(Shortage { refusal, wait });
        if waiting >= limits.capacity {
            return short(Refusal::Full);
        }
        let longest = limits.wait.unwrap_or(WAIT).min(left);
        if waiting >= ALWAYS_WAIT * self.instances && wait > longest {
            return short(Refusal::Wait);
        }
        let overloaded = limits.wait.is_none() && backlog.overloaded.load(Relaxed);
        if overloaded && wait >= self.short_wait() {
            return short(Refusal::Overload);
        }
        Ok(())
    }

    /// How long a request of this level is likely to wait.
    fn wait(&self, level: usize, idle: usize) -> Duration {
        let run = self.limits.rows(self.pace);
        let units = self
            .backlog
            .units_before(level)
            .saturating_sub(run.saturating_mul(idle as u64));
        let parallel = run.saturating_mul(self.instances.max(1) as u64);
        let nanos = self
            .pace
            .usual()
            .as_nanos()
            .saturating_mul(u128::from(units))
            / u128::from(parallel);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The longest wait in an overload.
    fn short_wait(&self) -> Duration {
        self.pace.usual().max(FLOOR)
    }

    /// The units that may wait in an overload.
    pub(super) fn short_backlog(&self) -> u64 {
        let parallel = self
            .limits
            .rows(self.pace)
            .saturating_mul(self.instances as u64);
        let latency = self.pace.usual().as_nanos().max(1);
        let runs = self.short_wait().as_nanos() / latency;
        parallel.saturating_mul(u64::try_from(runs).unwrap_or(u64::MAX))
    }

    fn crowded(&self) -> Error {
        self.metrics.refused(Refusal::InFlight);
        Error::new(
            ErrorKind::Unavailable,
            "the model works on as many requests as it may at one time; send fewer at a time",
        )
        .with_retry_after(self.wait(0, 0).max(RETRY))
    }

    /// Counts a refusal, and says it to the client.
    pub(super) fn refuse(&self, Shortage { refusal, wait }: Shortage) -> Error {
        self.metrics.refused(refusal);
        let message = match refusal {
            Refusal::Overload => {
                "more requests come than the model can answer; send fewer requests at a time"
            }
            Refusal::Wait => {
                "the request would wait too long for the model; send fewer requests at a time"
            }
            _ => "the model's queue is full; send fewer requests at a time",
        };
        Error::new(ErrorKind::Unavailable, message).with_retry_after(wait.max(RETRY))
    }
}

/// A number added to a counter until this is dropped.
pub(super) struct Counted<'a> {
    counter: &'a AtomicU32,
    by: u32,
    before: u32,
}

impl<'a> Counted<'a> {
    fn add(counter: &'a AtomicU32, by: u32) -> Self {
        let before = counter.fetch_add(by, Relaxed);
        Self {
            counter,
            by,
            before,
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.by, Relaxed);
    }
}

#[cfg(test)]
mod tests;
