//! How many instances a plugin's pool has.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use opentelemetry::metrics::BoundCounter;

/// What the gauges of a plugin's pools show. Every release of a plugin counts in the same ones, and the meter reads them when
/// it is scraped: a request pays for an addition.
#[derive(Default)]
pub(super) struct PoolGauges {
    pub(super) in_use: AtomicI64,
    pub(super) ready: AtomicI64,
}

/// The instruments of a pool.
pub(crate) struct PoolMetrics {
    gauges: Arc<PoolGauges>,
    misses: BoundCounter<u64>,
}

impl PoolMetrics {
    pub(super) fn new(gauges: Arc<PoolGauges>, misses: BoundCounter<u64>) -> Self {
        Self { gauges, misses }
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
