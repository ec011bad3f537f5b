//! Requests that were refused before they reached a model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use opentelemetry::KeyValue;
use wharf_core::{ErrorKind, Name};

/// Why a request was refused before it reached a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The route had as many as it takes at once.
    Full,
    /// The router refused it, or failed.
    Router,
    /// Its deadline passed.
    Deadline,
    /// The model had as many as it takes at once, which was seen before the request was read.
    ModelFull,
}

/// The requests of one route that were refused before they reached a model: `model_request` does not have these.
pub(crate) struct RefusedCounters {
    reasons: [AtomicU64; 4],
    attributes: [[KeyValue; 2]; 4],
}

impl RefusedCounters {
    pub(super) fn new(route: &Name) -> Self {
        Self {
            reasons: Default::default(),
            attributes: ["full", "router", "deadline", "model_full"].map(|reason| {
                [
                    KeyValue::new("endpoint", route.shared()),
                    KeyValue::new("reason", reason),
                ]
            }),
        }
    }

    pub(crate) fn add(&self, reason: Refused) {
        // The reasons are declared in the order of the counters.
        self.reasons[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each count with the labels that it is shown under.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&AtomicU64, &[KeyValue])> {
        self.reasons
            .iter()
            .zip(self.attributes.iter().map(<[KeyValue; 2]>::as_slice))
    }
}

/// Counts a request whose model is being chosen, where it gets none. One that is dropped after its deadline was ended by it.
pub(crate) struct Choosing<'a> {
    counters: &'a RefusedCounters,
    deadline: Instant,
    ended: bool,
}

impl<'a> Choosing<'a> {
    pub(crate) fn start(counters: &'a RefusedCounters, deadline: Instant) -> Self {
        Self {
            counters,
            deadline,
            ended: false,
        }
    }

    pub(crate) fn end(mut self, error: Option<ErrorKind>) {
        self.ended = true;
        match error {
            None => {}
            Some(ErrorKind::Deadline) => self.counters.add(Refused::Deadline),
            Some(_) => self.counters.add(Refused::Router),
        }
    }
}

impl Drop for Choosing<'_> {
    fn drop(&mut self) {
        if !self.ended && self.deadline <= Instant::now() {
            self.counters.add(Refused::Deadline);
        }
    }
}
