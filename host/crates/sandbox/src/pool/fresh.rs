//! Instances made ahead of time, each for one request.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::Limits;
use crate::instance::GuestInstance;

/// The fewest instances that stand ready.
const FEWEST: usize = 4;

/// The rounds of the pool's thread without a request after which fewer instances stand ready: some ten seconds.
const IDLE_ROUNDS: u32 = 20;

/// A bounded queue of instances that no request has used.
pub(super) struct FreshShelf {
    ready: ArrayQueue<Box<GuestInstance>>,
    /// How many are to stand ready: doubled when a request found none, halved when there are no requests.
    target: AtomicUsize,
    taken: AtomicUsize,
    idle_rounds: AtomicU32,
}

impl FreshShelf {
    pub(super) fn new(limits: &Limits, memory_bytes: u64) -> Self {
        // Few stand ready of a plugin whose instances are large.
        let fitting = (u64::from(limits.ready_mb) << 20) / memory_bytes.max(1);
        let capacity = usize::try_from(fitting)
            .unwrap_or(usize::MAX)
            .clamp(1, limits.ready_instances as usize);
        Self {
            ready: ArrayQueue::new(capacity),
            target: AtomicUsize::new(FEWEST.min(capacity)),
            taken: AtomicUsize::new(0),
            idle_rounds: AtomicU32::new(0),
        }
    }

    pub(super) fn take(&self) -> Option<Box<GuestInstance>> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let found = self.ready.pop();
        if found.is_none() {
            let target = self.target.load(Ordering::Relaxed);
            let more = (target * 2).min(self.ready.capacity());
            self.target.store(more, Ordering::Relaxed);
        }
        found
    }

    /// Whether so few are left that the pool's thread should be woken. Waking it costs microseconds, so it is woken for
    /// several at a time.
    pub(super) fn is_low(&self) -> bool {
        self.ready.len() * 2 <= self.target.load(Ordering::Relaxed)
    }

    pub(super) fn wants_more(&self) -> bool {
        self.ready.len() < self.target.load(Ordering::Relaxed)
    }

    /// Puts an instance on the shelf; false, and the instance dropped, where it is full.
    pub(super) fn put(&self, instance: Box<GuestInstance>) -> bool {
        self.ready.push(instance).is_ok()
    }

    /// Puts an instance in the place of the oldest, which goes.
    pub(super) fn exchange(&self, new: Option<Box<GuestInstance>>) {
        let old = self.ready.pop();
        if let Some(new) = new {
            // There is room for it: nobody else puts instances here.
            let _ = self.ready.push(new);
        }
        drop(old);
    }

    /// Gives up half of the instances after a while without requests.
    pub(super) fn shrink_when_idle(&self) {
        if self.taken.swap(0, Ordering::Relaxed) > 0 {
            self.idle_rounds.store(0, Ordering::Relaxed);
            return;
        }
        let rounds = self.idle_rounds.fetch_add(1, Ordering::Relaxed) + 1;
        let fewest = FEWEST.min(self.ready.capacity());
        if !rounds.is_multiple_of(IDLE_ROUNDS) {
            return;
        }
        let target = (self.target.load(Ordering::Relaxed) / 2).max(fewest);
        self.target.store(target, Ordering::Relaxed);
        while self.ready.len() > target && self.ready.pop().is_some() {}
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }
}
