//! The sandbox's metrics, and those that plugins declare.

mod codec;
mod http;
mod pool;
mod recording;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Gauge, Histogram, Meter};
use parking_lot::Mutex;
use wharf_core::{Name, Stage};

use crate::bindings::v1::exports::lifecycle::{Metric, MetricKind};

pub(crate) use codec::{CodecInstruments, CodecMetrics};
pub(crate) use http::{HttpInstruments, HttpMetrics, HttpOutcome};
use pool::Pools;
pub(crate) use pool::{DraftEnd, DraftMetrics, Occupied, PoolMetrics};
pub(crate) use recording::{RecordingMetrics, RecordingOutcome};
pub(crate) use state::{StateMetrics, StateSize};

/// From a microsecond, as long as a kept instance takes, to ten seconds.
const DURATION_BOUNDARIES: [f64; 15] = [
    0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005,
    0.01, 0.05, 0.1, 1.0, 10.0,
];

/// The most metrics that a plugin may declare.
const DECLARED: usize = 64;

/// Names that the host itself exports below `plugin_`.
const RESERVED: [&str; 16] = [
    "call",
    "trap",
    "instances",
    "ready",
    "instance_miss",
    "compile",
    "draft",
    "log_line_dropped",
    "metric_value_dropped",
    "breaker",
    "recording",
    "codec_wait",
    "http_request",
    "state_entries",
    "state_bytes",
    "state_refused",
];

/// The instruments of the sandbox.
pub(crate) struct SandboxMetrics {
    meter: Meter,
    calls: Counter<u64>,
    traps: Counter<u64>,
    duration: Histogram<f64>,
    pools: Pools,
    misses: Counter<u64>,
    compilations: Counter<u64>,
    drafts: Counter<u64>,
    lines_dropped: Counter<u64>,
    values_dropped: Counter<u64>,
    recordings: Counter<u64>,
    /// What each declared name counts, so that two plugins do not disagree.
    declared: Mutex<HashMap<String, MetricKind>>,
}

/// How a component became machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compilation {
    /// It was in the cache.
    Hit,
    /// It was not in the cache.
    Miss,
    /// What was in the cache was not what the host had written.
    Refused,
}

impl SandboxMetrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            calls: meter
                .u64_counter("plugin_call")
                .with_description("Plugin calls by plugin, stage and outcome: ok, refused, fault, deadline, unavailable, cancelled")
                .build(),
            traps: meter
                .u64_counter("plugin_trap")
                .with_description("Plugin calls that trapped or broke a limit, by plugin and stage")
                .build(),
            duration: meter
                .f64_histogram("plugin_call_duration_seconds")
                .with_description("The time of a plugin call up to the guest's answer, by plugin and stage")
                .with_boundaries(DURATION_BOUNDARIES.to_vec())
                .build(),
            pools: Pools::new(meter),
            misses: meter
                .u64_counter("plugin_instance_miss")
                .with_description("Plugin calls that found no instance ready and made one")
                .build(),
            compilations: meter
                .u64_counter("plugin_compile")
                .with_description("Plugins made ready by the compile cache's answer: hit, miss, refused")
                .build(),
            drafts: meter
                .u64_counter("plugin_draft")
                .with_description("Plugins that served from a draft, by what became of it: replaced, kept, left")
                .build(),
            lines_dropped: meter
                .u64_counter("plugin_log_line_dropped")
                .with_description("Log lines of plugins beyond their rate")
                .build(),
            values_dropped: meter
                .u64_counter("plugin_metric_value_dropped")
                .with_description("Values of plugins for metrics that they do not declare")
                .build(),
            recordings: meter
                .u64_counter("plugin_recording")
                .with_description("Plugin calls to be recorded, by plugin and outcome: written, full, large, secret, failed")
                .build(),
            declared: Mutex::default(),
            meter: meter.clone(),
        }
    }

    pub(crate) fn compiled(&self, compilation: Compilation) {
        let cache = match compilation {
            Compilation::Hit => "hit",
            Compilation::Miss => "miss",
            Compilation::Refused => "refused",
        };
        self.compilations.add(1, &[KeyValue::new("cache", cache)]);
    }

    /// The instruments of one plugin's pool.
    pub(crate) fn pool(&self, plugin: &Name) -> PoolMetrics {
        let attributes = [KeyValue::new("plugin", plugin.shared())];
        PoolMetrics::new(self.misses.bind(&attributes), self.drafts(plugin))
    }

    /// Counts the instances of one plugin's pool whenever the metrics are read, for as long as it is there.
    pub(crate) fn watch(&self, plugin: &Name, pool: Weak<impl Occupied>) {
        self.pools.add(plugin, pool);
    }

    /// The instrument of one plugin's drafts.
    pub(crate) fn drafts(&self, plugin: &Name) -> DraftMetrics {
        DraftMetrics::new(self.drafts.clone(), plugin)
    }

    /// The instruments of one plugin's stage.
    pub(crate) fn stage(&self, plugin: &Name, stage: Stage) -> StageMetrics {
        let attributes = [
            KeyValue::new("plugin", plugin.shared()),
            KeyValue::new("stage", stage.name()),
        ];
        let calls = |outcome: Outcome| {
            let [plugin, stage] = attributes.clone();
            let outcome = KeyValue::new("outcome", outcome.name());
            self.calls.bind(&[plugin, stage, outcome])
        };
        StageMetrics {
            calls: Outcome::ALL.map(calls),
            traps: self.traps.bind(&attributes),
            duration: self.duration.bind(&attributes),
        }
    }

    /// The instruments of one plugin's recordings.
    pub(crate) fn recording(&self, plugin: &Name) -> RecordingMetrics {
        RecordingMetrics::new(&self.recordings, plugin)
    }

    /// Where the values of a plugin's own metrics go, once it has declared them.
    pub(crate) fn guest(&self, plugin: &Name) -> GuestMetrics {
        let attributes = [KeyValue::new("plugin", plugin.shared())];
        GuestMetrics {
            instruments: OnceLock::new(),
            lines_dropped: self.lines_dropped.bind(&attributes),
            values_dropped: self.values_dropped.bind(&attributes),
            attributes,
        }
    }

    /// Makes the metrics that a plugin declares.
    ///
    /// # Errors
    /// A sentence that says which metric is wrong, and how to mend it.
    pub(crate) fn declare(&self, guest: &GuestMetrics, metrics: &[Metric]) -> Result<(), String> {
        if metrics.len() > DECLARED {
            return Err(format!(
                "the plugin declares {} metrics; {DECLARED} is the most",
                metrics.len()
            ));
        }
        let mut instruments = HashMap::new();
        for metric in metrics {
            check_name(&metric.name)?;
            let mut declared = self.declared.lock();
            let kind = *declared.entry(metric.name.clone()).or_insert(metric.kind);
            drop(declared);
            if kind != metric.kind {
                return Err(format!(
                    "the metric {:?} is already of another kind: rename it, or declare it as the other plugin does",
                    metric.name
                ));
            }
            let (name, help) = (format!("plugin_{}", metric.name), metric.help.clone());
            let meter = &self.meter;
            let instrument = match metric.kind {
                MetricKind::Counter => {
                    // The exporter ends the name of every counter with `_total`.
                    let name = name.strip_suffix("_total").unwrap_or(&name).to_owned();
                    Instrument::Counter(meter.u64_counter(name).with_description(help).build())
                }
                MetricKind::Gauge => {
                    Instrument::Gauge(meter.f64_gauge(name).with_description(help).build())
                }
                MetricKind::Histogram => {
                    Instrument::Histogram(meter.f64_histogram(name).with_description(help).build())
                }
            };
            if instruments
                .insert(metric.name.clone(), instrument)
                .is_some()
            {
                return Err(format!("the metric {:?} is declared twice", metric.name));
            }
        }
        // A plugin is described once, so the cell is empty.
        let _ = guest.instruments.set(instruments);
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let valid = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !valid {
        return Err(format!(
            "{name:?} is no name for a metric: use up to 64 lower-case letters, digits and underscores, a letter first"
        ));
    }
    for own in RESERVED {
        let rest = name.strip_prefix(own);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_')) {
            return Err(format!(
                "the metric {name:?} could be taken for the host's own plugin_{own}: rename it"
            ));
        }
    }
    Ok(())
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The stage gave its answer.
    Ok,
    /// The stage refused.
    Refused,
    /// It trapped or broke a limit.
    Fault,
    /// The request's deadline passed.
    Deadline,
    /// No instance was free.
    Unavailable,
    /// The request went away.
    Cancelled,
}

impl Outcome {
    /// Whether the guest came to an end of its own: only then may its instance be used again.
    pub(crate) const fn is_sound(self) -> bool {
        matches!(self, Self::Ok | Self::Refused)
    }

    const ALL: [Self; 6] = [
        Self::Ok,
        Self::Refused,
        Self::Fault,
        Self::Deadline,
        Self::Unavailable,
        Self::Cancelled,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Fault => "fault",
            Self::Deadline => "deadline",
            Self::Unavailable => "unavailable",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The instruments of a stage, bound to their attributes: recording is an atomic addition.
pub(crate) struct StageMetrics {
    calls: [BoundCounter<u64>; Outcome::ALL.len()],
    traps: BoundCounter<u64>,
    duration: BoundHistogram<f64>,
}

impl StageMetrics {
    pub(crate) fn ended(&self, outcome: Outcome, time: Duration) {
        self.calls[outcome as usize].add(1);
        self.duration.record(time.as_secs_f64());
        if outcome == Outcome::Fault {
            self.traps.add(1);
        }
    }
}

/// The metrics that a plugin declares.
pub(crate) struct GuestMetrics {
    instruments: OnceLock<HashMap<String, Instrument>>,
    attributes: [KeyValue; 1],
    lines_dropped: BoundCounter<u64>,
    values_dropped: BoundCounter<u64>,
}

enum Instrument {
    Counter(Counter<u64>),
    Gauge(Gauge<f64>),
    Histogram(Histogram<f64>),
}

impl GuestMetrics {
    pub(crate) fn add(&self, name: &str, amount: u64) {
        match self.find(name) {
            Some(Instrument::Counter(counter)) => counter.add(amount, &self.attributes),
            _ => self.values_dropped.add(1),
        }
    }

    pub(crate) fn set(&self, name: &str, value: f64) {
        match self.find(name) {
            Some(Instrument::Gauge(gauge)) => gauge.record(value, &self.attributes),
            _ => self.values_dropped.add(1),
        }
    }

    pub(crate) fn observe(&self, name: &str, value: f64) {
        match self.find(name) {
            Some(Instrument::Histogram(histogram)) => histogram.record(value, &self.attributes),
            _ => self.values_dropped.add(1),
        }
    }

    pub(crate) fn line_dropped(&self) {
        self.lines_dropped.add(1);
    }

    fn find(&self, name: &str) -> Option<&Instrument> {
        self.instruments.get()?.get(name)
    }
}

/// Shared by everything that a sandbox made.
pub(crate) type Shared = Arc<SandboxMetrics>;
