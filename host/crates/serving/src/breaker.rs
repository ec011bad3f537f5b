//! The circuit breaker of a plugin's release: where most of its calls trap, it is not called for a while.
//!
//! A breaker spares the host work that comes to nothing, such as loops that each run into their limit, and tells the client
//! at once instead. It replaces nothing: that is the roll-back's, which compares a release with the one before.
//!
//! Only faults count: traps, broken limits and time that ran out. What a guest answers itself, if only that it failed, is an answer.
//!
//! Closed, it remembers the last 32 calls. Where too many of them failed it opens, and no call is made. After a pause one
//! call is let through: where that ends well the breaker closes, and otherwise it opens again for twice as long.

mod tenants;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(crate) use tenants::Breakers;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerSettings {
    /// The faults among the last 32 calls that open it; 0 for never.
    pub(crate) faults: u32,
    /// The first pause.
    pub(crate) pause: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
}

#[derive(Default)]
pub(crate) struct Breaker {
    /// The last calls, the newest in the lowest bit; 1 is a fault.
    history: AtomicU32,
    open: AtomicBool,
    pause: Mutex<Pause>,
}

#[derive(Default)]
struct Pause {
    /// When the next call may be tried; none while the breaker is closed.
    until: Option<Instant>,
    /// Whether a call is being tried.
    probing: bool,
    /// The pauses since the breaker was last closed.
    pauses: u32,
    /// When a call last trapped.
    last_fault: Option<Instant>,
}

/// A call that may be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// One of many.
    Call,
    /// The one that decides whether the breaker closes.
    Probe,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ended, if only by refusing.
    Ended,
    /// The guest says that it failed. It works, but a release before it might not have failed.
    Failed,
    /// It trapped, broke a limit or took too long.
    Fault,
    /// It says nothing of the plugin: the request left, or found no instance free.
    Nothing,
}

/// What the end of a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// It opened, after it had been closed, for so long.
    Opened(Duration),
    /// The call that was tried failed as well.
    StaysOpen,
    /// It closed.
    Closed,
}

impl Breaker {
    /// Lets a call through.
    ///
    /// # Errors
    /// How long no call is made.
    pub(crate) fn admit(
        &self,
        settings: impl FnOnce() -> BreakerSettings,
    ) -> Result<Permit, Duration> {
        // One load of a line that is seldom written: all that a plugin which works pays for.
        if !self.open.load(Ordering::Acquire) {
            return Ok(Permit::Call);
        }
        let settings = settings();
        // Switched off while it was open.
        if settings.faults == 0 {
            return Ok(Permit::Call);
        }
        let mut pause = self.pause.lock();
        let Some(until) = pause.until else {
            return Ok(Permit::Call);
        };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(left);
        }
        if pause.probing {
            return Err(settings.pause);
        }
        pause.probing = true;
        Ok(Permit::Probe)
    }

    /// Takes what a call came to.
    pub(crate) fn ended(
        &self,
        permit: &Permit,
        fate: Fate,
        settings: impl FnOnce() -> BreakerSettings,
    ) -> Change {
        match (permit, fate) {
            (Permit::Call, Fate::Ended | Fate::Failed) => {
                // Written only where there was a fault: the line is shared by all who call the plugin.
                if self.history.load(Ordering::Relaxed) != 0 {
                    self.remember(0);
                }
                Change::None
            }
            (Permit::Call, Fate::Fault) => {
                let settings = settings();
                self.pause.lock().last_fault = Some(Instant::now());
                let faults = self.remember(1).count_ones();
                if settings.faults == 0 || faults < settings.faults {
                    return Change::None;
                }
                self.trip(settings)
            }
            (Permit::Call, Fate::Nothing) => Change::None,
            (Permit::Probe, Fate::Ended | Fate::Failed) => {
                let mut pause = self.pause.lock();
                *pause = Pause::default();
                self.history.store(0, Ordering::Relaxed);
                self.open.store(false, Ordering::Release);
                Change::Closed
            }
            (Permit::Probe, Fate::Fault) => {
                let mut pause = self.pause.lock();
                pause.last_fault = Some(Instant::now());
                pause.prolong(settings());
                Change::StaysOpen
            }
            (Permit::Probe, Fate::Nothing) => {
                self.pause.lock().probing = false;
                Change::None
            }
        }
    }

    /// Whether it is closed and none of the last calls was a fault.
    fn is_clean(&self) -> bool {
        !self.open.load(Ordering::Acquire) && self.history.load(Ordering::Relaxed) == 0
    }

    /// Whether the last fault is so long ago that, with this longest pause, no pause is left.
    fn is_stale(&self, longest: Duration) -> bool {
        let last = self.pause.lock().last_fault;
        last.is_some_and(|last| last.elapsed() > longest)
    }

    /// Gives the last calls, with this one.
    fn remember(&self, call: u32) -> u32 {
        let next = |history: u32| (history << 1) | call;
        let before = self
            .history
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |history| {
                Some(next(history))
            });
        before.map_or(call, next)
    }

    fn trip(&self, settings: BreakerSettings) -> Change {
        let mut pause = self.pause.lock();
        // Calls that were under way when it opened end later, and change nothing.
        if pause.until.is_some() {
            return Change::None;
        }
        let length = pause.prolong(settings);
        self.open.store(true, Ordering::Release);
        Change::Opened(length)
    }
}

impl Pause {
    /// Begins the next pause: twice as long as the one before, at most the longest. A part of it is left to chance, so that
    /// plugins which failed together are not tried together.
    fn prolong(&mut self, settings: BreakerSettings) -> Duration {
        let doubled = settings.pause.saturating_mul(1 << self.pauses.min(20));
        let length = doubled.min(settings.longest);
        let chance = RandomState::new().hash_one(()) as u32;
        let length = length / 2 + (length / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX));
        self.pauses += 1;
        self.probing = false;
        self.until = Some(Instant::now() + length);
        length
    }
}

#[cfg(test)]
mod tests;
