//! The metrics of outbound requests, by plugin and outcome: never by address.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter};
use wharf_core::Name;

/// From half a millisecond, on the same machine, to half a minute.
const DURATION_BOUNDARIES: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The instruments of all plugins.
pub(crate) struct HttpInstruments {
    requests: Counter<u64>,
    duration: Histogram<f64>,
}

impl HttpInstruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            requests: meter
                .u64_counter("plugin_http_request")
                .with_description("Outbound requests by plugin and outcome: ok, denied, invalid, busy, timeout, unreachable, failed, cancelled")
                .build(),
            duration: meter
                .f64_histogram("plugin_http_request_duration_seconds")
                .with_description("The time of an outbound request, redirects included, by plugin")
                .with_boundaries(DURATION_BOUNDARIES.to_vec())
                .build(),
        }
    }

    pub(crate) fn bind(&self, plugin: &Name) -> HttpMetrics {
        let plugin = KeyValue::new("plugin", plugin.shared());
        HttpMetrics {
            requests: HttpOutcome::ALL.map(|outcome| {
                let outcome = KeyValue::new("outcome", outcome.name());
                self.requests.bind(&[plugin.clone(), outcome])
            }),
            duration: self.duration.bind(&[plugin]),
        }
    }
}

/// How an outbound request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpOutcome {
    /// There was an answer, whatever its status.
    Ok,
    /// The origin is not granted.
    Denied,
    /// The request was malformed.
    Invalid,
    /// The plugin had as many under way as it may.
    Busy,
    /// There was no whole answer in time.
    Timeout,
    /// There was no connection, or it ended before the answer did.
    Unreachable,
    /// The answer was too large, or redirected too often.
    Failed,
    /// The stage call ended before.
    Cancelled,
}

impl HttpOutcome {
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::Denied,
        Self::Invalid,
        Self::Busy,
        Self::Timeout,
        Self::Unreachable,
        Self::Failed,
        Self::Cancelled,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The instruments of one plugin.
pub(crate) struct HttpMetrics {
    requests: [BoundCounter<u64>; HttpOutcome::ALL.len()],
    duration: BoundHistogram<f64>,
}

impl HttpMetrics {
    pub(crate) fn ended(&self, outcome: HttpOutcome, time: Duration) {
        self.requests[outcome as usize].add(1);
        self.duration.record(time.as_secs_f64());
    }
}
