//! What plugins keep in their state.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Meter};
use wharf_core::Name;

/// How much a plugin keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateSize {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// The instruments of the ability `state`.
pub(crate) struct StateMetrics {
    refused: Counter<u64>,
}

impl StateMetrics {
    /// Makes the instruments. The sizes are asked for when the metrics are read, so that a write pays nothing for them.
    pub(crate) fn new(
        meter: &Meter,
        sizes: impl Fn() -> BTreeMap<Name, StateSize> + Clone + Send + Sync + 'static,
    ) -> Self {
        let gauge = |name, description, value: fn(StateSize) -> u64| {
            let sizes = sizes.clone();
            // The meter keeps the callback; the instrument itself is only a name for it.
            let _ = meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |observer| {
                    for (plugin, size) in sizes() {
                        let plugin = KeyValue::new("plugin", plugin.shared());
                        observer.observe(value(size), &[plugin]);
                    }
                })
                .build();
        };
        gauge(
            "plugin_state_entries",
            "Values that a plugin keeps in its state",
            |size| size.entries,
        );
        gauge(
            "plugin_state_bytes",
            "Bytes of the keys and values that a plugin keeps in its state",
            |size| size.bytes,
        );
        Self {
            refused: meter
                .u64_counter("plugin_state_refused")
                .with_description("Writes to a plugin's state that found no room, by reason: entries, bytes, tenants")
                .build(),
        }
    }

    /// Counts the refusals of one plugin for one reason.
    pub(crate) fn refusals(&self, plugin: &Name, reason: &'static str) -> BoundCounter<u64> {
        self.refused.bind(&[
            KeyValue::new("plugin", plugin.shared()),
            KeyValue::new("reason", reason),
        ])
    }
}
