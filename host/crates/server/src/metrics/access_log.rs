//! What the access log did not write.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// Why a line is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineLost {
    /// Too many waited to be written.
    Full,
    /// The output did not take it.
    Failed,
}

/// The lines that are missing.
#[derive(Debug)]
pub(crate) struct LostLines(Counter<u64>);

impl LostLines {
    pub(crate) fn new(meter: &Meter) -> Self {
        let counter = meter
            .u64_counter("http.server.access_log.lost_lines")
            .with_description("Lines of the access log that were not written")
            .build();
        Self(counter)
    }

    pub(crate) fn add(&self, why: LineLost, lines: u64) {
        let reason = match why {
            LineLost::Full => "full",
            LineLost::Failed => "failed",
        };
        self.0.add(lines, &[KeyValue::new("reason", reason)]);
    }
}
