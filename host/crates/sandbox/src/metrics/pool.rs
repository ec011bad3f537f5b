//! How many instances a plugin's pool has.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Meter};
use wharf_core::Name;

/// The pools of each plugin, one for every release of it that is still there. Their instances are counted when the metrics are
/// read, so that a request pays nothing for it. A pool that is given up just then goes with the last that looked at it.
#[derive(Clone, Default)]
pub(super) struct Pools(Arc<DashMap<Name, Vec<Weak<dyn Occupied>>>>);

/// What has instances.
pub(crate) trait Occupied: Send + Sync + 'static {
    /// How many work.
    fn in_use(&self) -> u64;

    /// How many stand ready.
    fn ready(&self) -> u64;
}

impl Pools {
    /// Makes the gauges of the pools.
    pub(super) fn new(meter: &Meter) -> Self {
        let pools = Self::default();
        pools.gauge(
            meter,
            "plugin_instances_in_use",
            "Plugin instances that work for a request",
            |pool| pool.in_use(),
        );
        pools.gauge(
            meter,
            "plugin_instances_ready",
            "Plugin instances that stand ready",
            |pool| pool.ready(),
        );
        pools
    }

    fn gauge(
        &self,
        meter: &Meter,
        name: &'static str,
        description: &'static str,
        count: fn(&dyn Occupied) -> u64,
    ) {
        let Self(pools) = self.clone();
        // The meter keeps the callback; the instrument itself is only a name for it.
        let _ = meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                for plugin in pools.iter() {
                    let there = plugin.value().iter().filter_map(Weak::upgrade);
                    let count = there.map(|pool| count(&*pool)).sum();
                    let plugin = KeyValue::new("plugin", plugin.key().shared());
                    observer.observe(count, &[plugin]);
                }
            })
            .build();
    }

    /// Counts the instances of one more pool of a plugin.
    pub(super) fn add(&self, plugin: &Name, pool: Weak<impl Occupied>) {
        let mut pools = self.0.entry(plugin.clone()).or_default();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(pool);
    }
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
    misses: BoundCounter<u64>,
    pub(crate) drafts: DraftMetrics,
}

impl PoolMetrics {
    pub(super) fn new(misses: BoundCounter<u64>, drafts: DraftMetrics) -> Self {
        Self { misses, drafts }
    }

    pub(crate) fn missed(&self) {
        self.misses.add(1);
    }
}
