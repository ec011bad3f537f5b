//! Requests that plugins mirrored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use wharf_core::{ErrorKind, Name};

/// The outcomes: success, each kind of error, and that there was no room.
const OUTCOMES: usize = 2 + ErrorKind::ALL.len();

/// The mirrored requests of one target.
pub(crate) struct MirrorCounters {
    outcomes: [AtomicU64; OUTCOMES],
    attributes: Vec<[KeyValue; 2]>,
}

/// Counts one mirrored request, whatever becomes of it. One that is dropped half-way was ended with serving.
pub(crate) struct Mirroring {
    counters: Arc<MirrorCounters>,
    ended: bool,
}

impl MirrorCounters {
    pub(super) fn new(route: &Name) -> Self {
        let kinds = ErrorKind::ALL.map(ErrorKind::name);
        let outcomes = std::iter::once("ok").chain(kinds).chain(["full"]);
        Self {
            outcomes: Default::default(),
            attributes: outcomes
                .map(|outcome| {
                    [
                        KeyValue::new("endpoint", route.shared()),
                        KeyValue::new("outcome", outcome),
                    ]
                })
                .collect(),
        }
    }

    /// One was not made: there was no room for it.
    pub(crate) fn full(&self) {
        self.outcomes[OUTCOMES - 1].fetch_add(1, Ordering::Relaxed);
    }

    /// One begins.
    pub(crate) fn begin(self: Arc<Self>) -> Mirroring {
        Mirroring {
            counters: self,
            ended: false,
        }
    }

    /// Each count with the labels that it is shown under.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&AtomicU64, &[KeyValue])> {
        self.outcomes
            .iter()
            .zip(self.attributes.iter().map(<[KeyValue; 2]>::as_slice))
    }
}

impl Mirroring {
    pub(crate) fn end(mut self, error: Option<ErrorKind>) {
        self.close(error);
    }

    fn close(&mut self, error: Option<ErrorKind>) {
        self.ended = true;
        // The kinds are declared in the order of `ErrorKind::ALL`.
        let index = error.map_or(0, |kind| 1 + kind as usize);
        self.counters.outcomes[index].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Mirroring {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Some(ErrorKind::Cancelled));
        }
    }
}
