//! What the request bodies of all connections take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wharf_core::{Error, ErrorKind};

/// When a refused client may try again: bodies live no longer than their requests.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The bytes that bodies may take, and those that they take. Nobody waits for room, so a counter is all that it needs.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    max: usize,
    taken: AtomicUsize,
}

/// What one request takes; given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BodyBudget {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            taken: AtomicUsize::new(0),
        }
    }

    /// A reservation of nothing yet.
    pub(crate) fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Reservation {
    /// Says early whether so many bytes fit, without taking them: what a client announces, it need not send.
    ///
    /// # Errors
    /// `Unavailable`, as [`Reservation::grow_to`].
    pub(crate) fn check(&self, bytes: usize) -> Result<(), Error> {
        let more = self.more_for(bytes);
        if more > self.budget.max - self.budget.taken.load(Ordering::Relaxed) {
            return Err(exhausted());
        }
        Ok(())
    }

    /// Takes what is missing to so many bytes. A request that is alone always gets all that the budget has.
    ///
    /// # Errors
    /// `Unavailable` where other requests have taken too much; what was taken before is kept.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Error> {
        let more = self.more_for(bytes);
        if more == 0 {
            return Ok(());
        }
        let max = self.budget.max;
        let room = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= max);
        self.budget
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .map_err(|_full| exhausted())?;
        self.bytes += more;
        Ok(())
    }

    /// Gives back what is beyond so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.taken.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }

    fn more_for(&self, bytes: usize) -> usize {
        bytes.min(self.budget.max).saturating_sub(self.bytes)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

fn exhausted() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the server holds as many bytes of request bodies as it may; try again later",
    )
    .with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_share_the_budget() {
        let budget = Arc::new(BodyBudget::new(100));
        let (mut first, mut second) = (budget.reserve(), budget.reserve());
        first.grow_to(60).unwrap();
        first.grow_to(50).unwrap();
        assert!(second.check(40).is_ok() && second.check(41).is_err());
        second.grow_to(40).unwrap();
        let error = second.grow_to(41).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
        first.shrink_to(59);
        second.grow_to(41).unwrap();
        drop((first, second));
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_request_alone_gets_everything() {
        let budget = Arc::new(BodyBudget::new(100));
        let mut alone = budget.reserve();
        alone.grow_to(1000).unwrap();
        assert!(budget.reserve().grow_to(1).is_err());
    }
}
