//! Whether a candidate is well, and what the instance remembers of that.

use std::cell::RefCell;
use std::collections::BTreeSet;

use wharf_plugin_sdk::Candidate;

use crate::Place;
use crate::settings::{Limits, Settings};

/// The most candidates that are remembered: those of versions that are gone are not told apart from others.
const MOST_REMEMBERED: usize = 256;

/// Which candidates were found unwell and are not yet well enough again. The instance remembers it, so it counts for the requests that
/// share the instance.
#[derive(Default)]
pub(crate) struct Health {
    unwell: RefCell<BTreeSet<(String, u64)>>,
}

/// Why a candidate is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PassedOver {
    pub(crate) cause: Cause,
    /// It is below its limits again, but not far enough.
    pub(crate) recovering: bool,
}

/// Which limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    QueueDepth,
    InFlight,
    FreeMemory,
    /// And nothing else: what is only slow may be asked again.
    Latency,
}

impl Health {
    /// Why the candidate is passed over; none where it is well.
    pub(crate) fn of(&self, settings: &Settings, place: &Place<'_>) -> Option<PassedOver> {
        let limits = settings.limits_of(place.label);
        let now = broken(&limits, place.candidate, 1.0);
        if settings.recover_percent == 100 {
            return now.map(PassedOver::now);
        }
        let key = (place.candidate.model.clone(), place.candidate.version);
        let mut unwell = self.unwell.borrow_mut();
        if let Some(cause) = now {
            if unwell.len() >= MOST_REMEMBERED {
                unwell.clear();
            }
            unwell.insert(key);
            return Some(PassedOver::now(cause));
        }
        if !unwell.contains(&key) {
            return None;
        }
        let share = f64::from(settings.recover_percent) / 100.0;
        let cause = broken(&limits, place.candidate, share);
        if cause.is_none() {
            unwell.remove(&key);
        }
        cause.map(|cause| PassedOver {
            cause,
            recovering: true,
        })
    }
}

impl PassedOver {
    fn now(cause: Cause) -> Self {
        Self {
            cause,
            recovering: false,
        }
    }
}

/// The limit that the candidate is beyond, of limits that are tightened to a share.
fn broken(limits: &Limits, candidate: &Candidate, share: f64) -> Option<Cause> {
    let beyond = |value: f64, most: Option<f64>| most.is_some_and(|most| value > most * share);
    // What the host cannot tell breaks no limit.
    let free_mb = candidate
        .free_memory
        .map(|free| free as f64 / f64::from(1 << 20));
    let short = match (free_mb, limits.min_free_memory_mb) {
        (Some(free), Some(least)) => free < f64::from(least) / share,
        _ => false,
    };
    let latency_ms = candidate.latency_us as f64 / 1000.0;
    if beyond(
        candidate.queue_depth.into(),
        limits.max_queue_depth.map(f64::from),
    ) {
        Some(Cause::QueueDepth)
    } else if beyond(
        candidate.in_flight.into(),
        limits.max_in_flight.map(f64::from),
    ) {
        Some(Cause::InFlight)
    } else if short {
        Some(Cause::FreeMemory)
    } else if beyond(latency_ms, limits.max_latency_ms) {
        Some(Cause::Latency)
    } else {
        None
    }
}
