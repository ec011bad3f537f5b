//! Shares a device between the models of an engine.
//!
//! A run takes slots of its device: on the CPU one a thread, and there are as many as cores; on a CUDA device one, of
//! [`CUDA_SLOTS`]. While slots are free, taking some costs a few atomic operations. Where they are not, the waiting model
//! with the least consumed time goes first: start-time fair queueing with equal weights. Each model's consumed time is its
//! virtual time; the gate's clock is the start of what began last, and a model that comes back from a rest starts at the
//! clock, so that nobody saves credit up.
//!
//! A run cannot be interrupted, so the gate alone would make a short run wait for the end of a long one, where the operating
//! system would have divided the cores between them. So every model may have one run under way beyond the slots:
//! - at once, while it is at most [`LEAD`] ahead of the clock, as a quiet model always is;
//! - after [`PATIENCE`] in any case.
//!
//! What a hot model cannot have is more than that: beside sixteen threads of one, another would get a seventeenth of the
//! cores, and wait for its slice (2 ms runs beside 16 hot instances on two cores: p99 240 ms without the gate, 22 ms with it).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Device;

/// Runs side by side on a CUDA device. Kernels of several streams overlap, and beyond so many they only wait there.
const CUDA_SLOTS: u32 = 8;
/// The longest that a model waits which has no run under way.
const PATIENCE: Duration = Duration::from_millis(5);
/// How far ahead of the clock a model without a run may be before it waits like others.
const LEAD: Duration = Duration::from_millis(1);

/// The gates of an engine, one a device.
#[derive(Default)]
pub(crate) struct Gates(Mutex<BTreeMap<Option<u32>, Arc<Gate>>>);

impl Gates {
    /// A model's share of a device, whose runs take so many threads.
    pub(crate) fn share(&self, device: Device, threads: u32) -> Share {
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let (key, slots, width) = match device {
            Device::Cpu => (None, u32::try_from(cores()).unwrap_or(u32::MAX), threads),
            Device::Cuda(index) => (Some(index), CUDA_SLOTS, 1),
        };
        let mut gates = self.0.lock();
        let gate = gates.entry(key).or_insert_with(|| Gate::new(slots));
        Share::new(Arc::clone(gate), width)
    }
}

/// The slots of one device.
pub(super) struct Gate {
    slots: i64,
    /// Below zero while runs have gone ahead.
    free: AtomicI64,
    /// How many wait; set under the lock of `waiters`.
    waiting: AtomicU32,
    /// The virtual time, in nanoseconds, at which the latest run began.
    clock: AtomicU64,
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

/// What one model takes of a device.
pub(crate) struct Share {
    gate: Arc<Gate>,
    /// The slots of one run.
    width: i64,
    account: Arc<Account>,
}

#[derive(Default)]
struct Account {
    /// The virtual time: slots times nanoseconds.
    used: AtomicU64,
    /// Runs under way.
    running: AtomicU32,
}

struct Waiter {
    account: Arc<Account>,
    width: i64,
    estimate: u64,
    granted: AtomicBool,
    thread: Thread,
}

/// Slots that a run holds. Dropped, it was not used.
pub(super) struct Seat<'a> {
    share: &'a Share,
    /// What the run was charged when it began.
    estimate: u64,
    actual: u64,
}

impl Gate {
    pub(super) fn new(slots: u32) -> Arc<Self> {
        let slots = i64::from(slots.max(1));
        Arc::new(Self {
            slots,
            free: AtomicI64::new(slots),
            waiting: AtomicU32::new(0),
            clock: AtomicU64::new(0),
            waiters: Mutex::default(),
        })
    }

    /// Takes slots where there are enough.
    fn take(&self, width: i64) -> bool {
        // A waiter that read an old number here could miss what is given back at this moment, and nobody would wake it.
        self.free
            .fetch_update(SeqCst, SeqCst, |free| {
                (free >= width).then_some(free - width)
            })
            .is_ok()
    }

    fn give(&self, width: i64) {
        // A waiter first counts itself and then looks at the slots; this is the other way round, so one sees the other.
        self.free.fetch_add(width, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.grant(&mut self.waiters.lock());
        }
    }

    /// Lets waiters go, the least consumed time first. Nobody goes past one whose run is too wide for what is free: it would
    /// never have its turn.
    fn grant(&self, waiters: &mut Vec<Arc<Waiter>>) {
        while let Some((index, first)) = waiters
            .iter()
            .enumerate()
            .min_by_key(|(_, waiter)| waiter.account.used.load(Relaxed))
        {
            if !self.take(first.width) {
                return;
            }
            let waiter = waiters.remove(index);
            self.waiting.fetch_sub(1, SeqCst);
            // Charged here, not when its thread wakes: what the same model waits for beside stands behind from now on.
            self.begin(&waiter.account, waiter.estimate);
            waiter.granted.store(true, SeqCst);
            waiter.thread.unpark();
        }
    }

    /// Notes that a run begins, and charges what it is likely to cost.
    fn begin(&self, account: &Account, estimate: u64) {
        account.running.fetch_add(1, Relaxed);
        let start = self.catch_up(account);
        if self.clock.load(Relaxed) < start {
            self.clock.fetch_max(start, Relaxed);
        }
        account.used.fetch_add(estimate, Relaxed);
    }

    /// Brings a model that rested to the clock: it gets no credit for its rest.
    fn catch_up(&self, account: &Account) -> u64 {
        let clock = self.clock.load(Relaxed);
        let used = account.used.load(Relaxed);
        if used < clock {
            account.used.fetch_max(clock, Relaxed);
        }
        used.max(clock)
    }
}

impl Share {
    pub(super) fn new(gate: Arc<Gate>, threads: u32) -> Self {
        let width = i64::from(threads).clamp(1, gate.slots);
        Self {
            gate,
            width,
            account: Arc::default(),
        }
    }

    /// A place to run at once: where slots are free and nobody waits, or beyond the slots, where the model has no run under way
    /// and has had hardly more than others.
    pub(super) fn try_enter(&self, likely: Duration) -> Option<Seat<'_>> {
        let is_free = self.gate.waiting.load(SeqCst) == 0 && self.gate.take(self.width);
        if !is_free {
            let clock = self.gate.clock.load(Relaxed);
            let is_ahead = self.account.used.load(Relaxed) > clock.saturating_add(nanos(LEAD));
            // Two threads may both pass here; what they take beyond the slots is charged, and keeps them out later.
            if is_ahead || self.account.running.load(Relaxed) > 0 {
                return None;
            }
            self.gate.free.fetch_sub(self.width, SeqCst);
        }
        Some(self.begin(likely))
    }

    /// Waits for a place; none where `stop` is set and [`Share::wake`] called.
    pub(super) fn enter(&self, likely: Duration, stop: &AtomicBool) -> Option<Seat<'_>> {
        self.gate.catch_up(&self.account);
        let waiter = Arc::new(Waiter {
            account: Arc::clone(&self.account),
            width: self.width,
            estimate: cost(likely, self.width),
            granted: AtomicBool::new(false),
            thread: std::thread::current(),
        });
        {
            let mut waiters = self.gate.waiters.lock();
            waiters.push(Arc::clone(&waiter));
            self.gate.waiting.fetch_add(1, SeqCst);
            self.gate.grant(&mut waiters);
        }
        let mut until = Instant::now() + PATIENCE;
        loop {
            if waiter.granted.load(SeqCst) {
                return Some(self.seat(likely));
            }
            let now = Instant::now();
            if stop.load(SeqCst) {
                return self.leave(&waiter).then(|| self.seat(likely));
            }
            if now < until {
                std::thread::park_timeout(until - now);
                continue;
            }
            until = now + PATIENCE;
            if self.account.running.load(Relaxed) == 0 && !self.leave(&waiter) {
                self.gate.free.fetch_sub(self.width, SeqCst);
                return Some(self.begin(likely));
            }
        }
    }

    /// Waits no more, and says whether the place had been granted already.
    fn leave(&self, waiter: &Arc<Waiter>) -> bool {
        let mut waiters = self.gate.waiters.lock();
        let Some(index) = waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) else {
            return true;
        };
        waiters.remove(index);
        self.gate.waiting.fetch_sub(1, SeqCst);
        // Others may have stood behind this one.
        self.gate.grant(&mut waiters);
        false
    }

    /// Lets those who wait look whether they are to stop.
    pub(super) fn wake(&self) {
        for waiter in self.gate.waiters.lock().iter() {
            if Arc::ptr_eq(&waiter.account, &self.account) {
                waiter.thread.unpark();
            }
        }
    }

    fn begin(&self, likely: Duration) -> Seat<'_> {
        self.gate.begin(&self.account, cost(likely, self.width));
        self.seat(likely)
    }

    fn seat(&self, likely: Duration) -> Seat<'_> {
        Seat {
            share: self,
            estimate: cost(likely, self.width),
            actual: 0,
        }
    }
}

impl Seat<'_> {
    /// Gives the slots back after so long. Who runs has measured it anyway.
    pub(super) fn leave(mut self, time: Duration) {
        self.actual = cost(time, self.share.width);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Share {
            gate,
            width,
            account,
        } = self.share;
        // The difference may be below zero: the addition wraps.
        let difference = self.actual.wrapping_sub(self.estimate);
        account.used.fetch_add(difference, Relaxed);
        account.running.fetch_sub(1, Relaxed);
        gate.give(*width);
    }
}

fn cost(time: Duration, width: i64) -> u64 {
    nanos(time).saturating_mul(width.unsigned_abs())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
