//! Lets requests that are ready at the same moment meet before one of them runs.
//!
//! A run on the caller's thread hides the crowd behind it: the other requests are still in the network, every instance looks
//! idle, and no batch ever forms. So a request to a model that joins gives way once to whatever else its thread has ready.
//! Where more came than there are instances, they are a batch; where not, it runs at once, and has lost the time of one
//! look at the network.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::scheduler::Scheduler;

/// Counts the requests that have given way and not come back.
#[derive(Default)]
pub(super) struct Gathering(AtomicUsize);

impl Gathering {
    /// Whether nobody is to be waited for. Read under the queue's lock: whoever comes back last takes it after leaving, and
    /// so either sees what was put there before, or is seen to have left.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Relaxed) == 0
    }
}

impl Scheduler {
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
