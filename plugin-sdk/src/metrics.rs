//! Numbers for the host's `/metrics`.
//!
//! A metric is a constant that [`crate::Lifecycle::METRICS`] declares; the host drops values of any other. It exports
//! `NAME` as `plugin_NAME`, with the label `plugin`.
//!
//! ```
//! use wharf_plugin_sdk::Metric;
//!
//! const DECODED: Metric = Metric::counter("pictures_decoded_total", "Pictures decoded.");
//! DECODED.add(1);
//! ```

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A value of now.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// A metric that the plugin may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) help: &'static str,
}

impl Metric {
    /// A sum that only grows. The name has lower-case letters, digits and underscores, and begins with a letter; the
    /// help is one sentence for the operator.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: MetricKind::Counter,
            help,
        }
    }

    /// A value of now.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: MetricKind::Gauge,
            help,
        }
    }

    /// A distribution of values.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            kind: MetricKind::Histogram,
            help,
        }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it counts.
    pub const fn kind(&self) -> MetricKind {
        self.kind
    }

    /// What the operator reads about it.
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// Adds to a counter. The host drops it for another kind.
    pub fn add(&self, amount: u64) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::imports::metrics::add(self.name, amount);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::record_value(*self, MetricKind::Counter, amount as f64);
    }

    /// Sets a gauge. The host drops it for another kind.
    pub fn set(&self, value: f64) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::imports::metrics::set(self.name, value);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::record_value(*self, MetricKind::Gauge, value);
    }

    /// Records a value in a histogram. The host drops it for another kind.
    pub fn observe(&self, value: f64) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::imports::metrics::observe(self.name, value);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::record_value(*self, MetricKind::Histogram, value);
    }
}
