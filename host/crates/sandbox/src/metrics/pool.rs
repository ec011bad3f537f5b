//! How many instances a plugin's pool has.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter};
use wharf_core::Name;

/// What the gauges of a plugin's pools show. Every release of a plugin counts in the same ones, and the meter reads them when
/// it is scraped: a request pays for an addition.
#[derive(Default)]
pub(super) struct PoolGauges {
    pub(super) in_use: AtomicI64,
    pub(super) ready: AtomicI64,
}

/// What became of a draft that served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DraftEnd {
    /// Optimised code took its place.
    Replaced,
    /// It serves on: the optimised code could not be made, or does not work.
    Kept,
    /// Its plugin went before.
    Left,
}

/// The instrument of drafts.
#[derive(Clone)]
pub(crate) struct DraftMetrics {
    ended: Counter<u64>,
    plugin: KeyValue,
}

impl DraftMetrics {
    pub(super) fn new(ended: Counter<u64>, plugin: &Name) -> Self {
        let plugin = KeyValue::new("plugin", plugin.shared());
        Self { ended, plugin }
    }

    pub(crate) fn ended(&self, end: DraftEnd) {
        let outcome = match end {
            DraftEnd::Replaced => "replaced",
            DraftEnd::Kept => "kept",
            DraftEnd::Left => "left",
        };
        let outcome = KeyValue::new("outcome", outcome);
        self.ended.add(1, &[self.plugin.clone(), outcome]);
    }
}

/// The instruments of a pool.
pub(crate) struct PoolMetrics {
    gauges: Arc<PoolGauges>,
    misses: BoundCounter<u64>,
    pub(crate) drafts: DraftMetrics,
}

impl PoolMetrics {
    pub(super) fn new(
        gauges: Arc<PoolGauges>,
        misses: BoundCounter<u64>,
        drafts: DraftMetrics,
    ) -> Self {
        Self {
            gauges,
            misses,
            drafts,
        }
    }

    pub(crate) fn taken(&self) {
        self.gauges.in_use.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn given_back(&self) {
        self.gauges.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn ready(&self, change: i64) {
        self.gauges.ready.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn missed(&self) {
        self.misses.add(1);
    }
}
