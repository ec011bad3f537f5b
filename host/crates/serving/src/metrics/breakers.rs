//! The breakers of plugins: how often they opened, and the calls that were not made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use wharf_core::Name;

use super::{Metrics, observe};

/// The counters of a plugin's breakers, over all its releases.
pub(crate) struct BreakerCounters {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    attributes: [KeyValue; 1],
}

impl BreakerCounters {
    pub(super) fn new(plugin: &Name) -> Self {
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            attributes: [KeyValue::new("plugin", plugin.shared())],
        }
    }

    /// A pause began.
    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// The plugin is called again.
    pub(crate) fn closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was not made.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(super) fn register_breakers(self: &Arc<Self>, meter: &Meter) {
        let counter = |name, description, count: fn(&BreakerCounters) -> &AtomicU64| {
            self.counter(meter, name, description, move |metrics, observer| {
                for counters in &metrics.breakers {
                    let attributes = counters.attributes.as_slice();
                    observe(observer, [(count(&counters), attributes)].into_iter());
                }
            });
        };
        counter(
            "plugin_breaker_opened",
            "Pauses of plugins most of whose calls trapped",
            |counters| &counters.opened,
        );
        counter(
            "plugin_breaker_closed",
            "Ends of such pauses: a call succeeded",
            |counters| &counters.closed,
        );
        counter(
            "plugin_breaker_refused",
            "Calls of plugins that were not made in such a pause",
            |counters| &counters.refused,
        );
    }
}
