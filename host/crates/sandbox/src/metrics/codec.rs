//! The metrics of images and texts: how long work waits for a thread, by plugin.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use wharf_core::Name;

/// From ten microseconds, where a thread is free, to ten seconds.
const WAIT_BOUNDARIES: [f64; 13] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
];

/// The instruments of all plugins.
pub(crate) struct CodecInstruments {
    wait: Histogram<f64>,
}

impl CodecInstruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            wait: meter
                .f64_histogram("plugin_codec_wait_seconds")
                .with_description(
                    "How long work on images and texts waited for a thread and memory, by plugin",
                )
                .with_boundaries(WAIT_BOUNDARIES.to_vec())
                .build(),
        }
    }

    pub(crate) fn bind(&self, plugin: &Name) -> CodecMetrics {
        CodecMetrics {
            wait: self.wait.bind(&[KeyValue::new("plugin", plugin.shared())]),
        }
    }
}

/// The instruments of one plugin.
pub(crate) struct CodecMetrics {
    wait: BoundHistogram<f64>,
}

impl CodecMetrics {
    pub(crate) fn waited(&self, time: Duration) {
        self.wait.record(time.as_secs_f64());
    }
}
