//! How many requests a route takes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wharf_core::{Error, ErrorKind, Result};

/// When a refused client may try again. Requests are short: a second later the route has seen many of them end.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts the requests of a route. It belongs to the name: every generation of the route counts in the same one.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    in_flight: AtomicU32,
}

impl Admission {
    /// Takes a slot, or says at once that there is none: waiting here would be a second queue.
    pub(crate) fn enter(self: &Arc<Self>, limit: u32) -> Result<Slot<'_>> {
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= limit {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(full());
        }
        Ok(Slot(self))
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// What a request gets for which there is no place.
pub(crate) fn full() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the route has as many requests as it takes at once; try again later",
    )
    .with_retry_after(RETRY_AFTER)
}

impl Admission {
    /// Makes of a place one that outlives the call, for an answer that comes bit by bit.
    pub(crate) fn keep(self: &Arc<Self>, slot: Slot<'_>) -> Place {
        std::mem::forget(slot);
        Place(Arc::clone(self))
    }
}

/// A place among the requests of a route, given back on drop.
pub(crate) struct Slot<'a>(&'a Admission);

/// The same for as long as it is kept.
pub(crate) struct Place(Arc<Admission>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
