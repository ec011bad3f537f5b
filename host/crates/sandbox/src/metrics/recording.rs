//! What became of calls that were to be recorded.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter};
use wharf_core::Name;

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordingOutcome {
    /// It is there.
    Written,
    /// Too much waits to be written.
    Full,
    /// It is larger than all recordings together may be.
    Large,
    /// It would show a secret.
    Secret,
    /// It could not be written.
    Failed,
}

impl RecordingOutcome {
    const ALL: [Self; 5] = [
        Self::Written,
        Self::Full,
        Self::Large,
        Self::Secret,
        Self::Failed,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Full => "full",
            Self::Large => "large",
            Self::Secret => "secret",
            Self::Failed => "failed",
        }
    }
}

/// The instruments of one plugin's recordings.
pub(crate) struct RecordingMetrics([BoundCounter<u64>; RecordingOutcome::ALL.len()]);

impl RecordingMetrics {
    pub(super) fn new(recordings: &Counter<u64>, plugin: &Name) -> Self {
        Self(RecordingOutcome::ALL.map(|outcome| {
            recordings.bind(&[
                KeyValue::new("plugin", plugin.shared()),
                KeyValue::new("outcome", outcome.name()),
            ])
        }))
    }

    pub(crate) fn ended(&self, outcome: RecordingOutcome) {
        self.0[outcome as usize].add(1);
    }
}
