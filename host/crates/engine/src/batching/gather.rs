//! Lets requests that are ready at the same moment meet before one of them runs.
//!
//! A run on the caller's thread hides the crowd behind it: the other requests are still in the network, every instance looks
//! idle, and no batch ever forms. So a request to a model that joins gives way once to whatever else its thread has ready.
//! Where more came than there are instances, they are a batch; where not, it runs at once, and has lost the time of one
//! look at the network.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::scheduler::Scheduler;

/// No request waits longer for others to come back, where more give way all the time.
const PATIENCE: Duration = Duration::from_micros(500);

/// Counts the requests that have given way and not come back.
#[derive(Default)]
pub(super) struct Gathering(AtomicUsize);

impl Scheduler {
    /// Until when the requests in the queue wait for others that give way; none where they do not. Read under the queue's
    /// lock: whoever comes back last takes it after leaving, and so either sees what was put there before, or is seen to have
    /// left.
    pub(super) fn gathers_until(&self, queue: &Queue, now: Instant) -> Option<Instant> {
        let full = u64::from(self.depths().0) >= self.max_rows();
        if full || self.gathering.0.load(Relaxed) == 0 {
            return None;
        }
        let until = queue.oldest()? + PATIENCE;
        (until > now).then_some(until)
    }

    /// Gives way once, and says whether that brought a crowd.
    pub(super) async fn meet(&self) -> bool {
        self.gathering.0.fetch_add(1, Relaxed);
        let place = Place(self);
        tokio::task::yield_now().await;
        let others = self.gathering.0.load(Relaxed).saturating_sub(1);
        drop(place);
        others >= self.instances
    }
}

/// A request that gives way. Dropped as the last one, it wakes an instance for those who counted on it.
struct Place<'a>(&'a Scheduler);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Self(scheduler) = self;
        if scheduler.gathering.0.fetch_sub(1, Relaxed) == 1 && !scheduler.queue.lock().is_empty() {
            scheduler.wake.notify_one();
        }
    }
}
