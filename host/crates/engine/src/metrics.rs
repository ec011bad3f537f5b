//! What the engine measures.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, Meter, UpDownCounter,
};
use wharf_core::Name;

use crate::cache::ResponseCache;
use crate::{Device, DeviceProbe};

/// Bounds of durations in seconds, from what a model of four numbers takes to what a deadline allows.
const SECONDS: [f64; 17] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];
const RATIOS: [f64; 10] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
const ROWS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The engine's instruments.
#[derive(Clone)]
pub(crate) struct Metrics {
    queue_wait: Histogram<f64>,
    batch_rows: Histogram<u64>,
    run_duration: Histogram<f64>,
    queue_depth: UpDownCounter<i64>,
    instances: UpDownCounter<i64>,
    batch_closed: Counter<u64>,
    batch_fill: Histogram<f64>,
    batch_wait: Histogram<f64>,
    refused: Counter<u64>,
    cache_lookup: Counter<u64>,
    cache_evicted: Counter<u64>,
    sequences: UpDownCounter<i64>,
    meter: Meter,
}

/// Why a batch was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It has the most rows that it may have.
    Full,
    /// It has a preferred number of rows.
    Preferred,
    /// The delay was over.
    Delay,
    /// An instance was idle, and there is no delay.
    Idle,
}

impl Closing {
    const ALL: [Self; 4] = [Self::Full, Self::Preferred, Self::Delay, Self::Idle];

    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Preferred => "preferred",
            Self::Delay => "delay",
            Self::Idle => "idle",
        }
    }
}

/// Why a model refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue has no place.
    Full,
    /// It would wait too long.
    Wait,
    /// More requests come than the model can answer.
    Overload,
    /// The model has as many requests as it may have.
    InFlight,
    /// It waited longer than its queue timeout.
    Timeout,
}

impl Refusal {
    const ALL: [Self; 5] = [
        Self::Full,
        Self::Wait,
        Self::Overload,
        Self::InFlight,
        Self::Timeout,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Wait => "wait",
            Self::Overload => "overload",
            Self::InFlight => "in-flight",
            Self::Timeout => "timeout",
        }
    }
}

impl Metrics {
    pub(crate) fn new(meter: &Meter, probe: Arc<dyn DeviceProbe>) -> Self {
        // The meter keeps an observable instrument by its callback.
        let _gpu_memory_used = meter
            .u64_observable_gauge("gpu_memory_used_bytes")
            .with_description("Memory in use on a GPU, by anyone")
            .with_callback(move |observer| {
                for index in probe.watched_devices() {
                    if let Some(memory) = probe.memory(Device::Cuda(index)) {
                        observer.observe(
                            memory.used(),
                            &[KeyValue::new("device_id", i64::from(index))],
                        );
                    }
                }
            })
            .build();
        Self {
            queue_wait: meter
                .f64_histogram("model_queue_wait_seconds")
                .with_description("How long requests waited for an instance")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            batch_rows: meter
                .u64_histogram("model_batch_rows")
                .with_description("Rows of one run")
                .with_boundaries(ROWS.to_vec())
                .build(),
            run_duration: meter
                .f64_histogram("model_run_duration_seconds")
                .with_description("How long runs of a model took")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            queue_depth: meter
                .i64_up_down_counter("model_queue_depth")
                .with_description("Requests that wait for an instance")
                .build(),
            instances: meter
                .i64_up_down_counter("model_instances")
                .with_description("Sessions that are loaded")
                .build(),
            batch_closed: meter
                .u64_counter("model_batch_closed")
                .with_description("Batches of models that join requests, by why they were closed")
                .build(),
            batch_fill: meter
                .f64_histogram("model_batch_fill_ratio")
                .with_description("Rows of a batch, of those that it may have")
                .with_boundaries(RATIOS.to_vec())
                .build(),
            batch_wait: meter
                .f64_histogram("model_batch_wait_seconds")
                .with_description("From a batch's first request to its closing")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            refused: meter
                .u64_counter("model_refused")
                .with_description("Requests that a model had no room for")
                .build(),
            cache_lookup: meter
                .u64_counter("model_cache_lookup")
                .with_description("Looks into the response cache")
                .build(),
            cache_evicted: meter
                .u64_counter("model_cache_evicted")
                .with_description("Answers that the response cache gave up for want of room")
                .build(),
            sequences: meter
                .i64_up_down_counter("model_sequences")
                .with_description("Sequences that are kept")
                .build(),
            meter: meter.clone(),
        }
    }

    /// Counts the answers that the response cache gives up.
    pub(crate) fn evictions(&self) -> BoundCounter<u64> {
        self.cache_evicted.bind(&[])
    }

    /// Shows the bytes of the response cache, as long as there is one.
    pub(crate) fn watch_cache(&self, cache: &Arc<ResponseCache>) {
        let cache = Arc::downgrade(cache);
        // The meter keeps an observable instrument by its callback.
        let _bytes = self
            .meter
            .u64_observable_gauge("model_cache_bytes")
            .with_description("Bytes of the answers that the response cache remembers")
            .with_callback(move |observer| {
                if let Some(cache) = cache.upgrade() {
                    observer.observe(cache.bytes(), &[]);
                }
            })
            .build();
    }

    /// What is measured of one version's part of the response cache.
    pub(crate) fn lookups(&self, model: &Name, version: u64) -> LookupMetrics {
        let of = |outcome: &'static str| {
            let mut attributes = of_version(model, version);
            attributes.push(KeyValue::new("outcome", outcome));
            self.cache_lookup.bind(&attributes)
        };
        LookupMetrics {
            hits: of("hit"),
            misses: of("miss"),
        }
    }

    /// The gauge of one version's sequences.
    pub(crate) fn sequences(&self, model: &Name, version: u64) -> BoundUpDownCounter<i64> {
        self.sequences.bind(&of_version(model, version))
    }

    /// The instruments for one version of a model. Names come from the site, never from a request.
    pub(crate) fn of(&self, model: &Name, version: u64, instances: usize) -> ModelMetrics {
        let attributes = of_version(model, version);
        let instances = i64::try_from(instances).unwrap_or(i64::MAX);
        let bound = self.instances.bind(&attributes);
        bound.add(instances);
        let with = |key: &'static str, value: &'static str| {
            let mut attributes = attributes.clone();
            attributes.push(KeyValue::new(key, value));
            attributes
        };
        let closed = |closing: Closing| self.batch_closed.bind(&with("reason", closing.name()));
        let refused = |refusal: Refusal| self.refused.bind(&with("reason", refusal.name()));
        ModelMetrics {
            queue_wait: self.queue_wait.bind(&attributes),
            batch_rows: self.batch_rows.bind(&attributes),
            run_duration: self.run_duration.bind(&attributes),
            queue_depth: self.queue_depth.bind(&attributes),
            loaded: bound,
            instances,
            batch_closed: Closing::ALL.map(closed),
            batch_fill: self.batch_fill.bind(&attributes),
            batch_wait: self.batch_wait.bind(&attributes),
            refused: Refusal::ALL.map(refused),
        }
    }
}

fn of_version(model: &Name, version: u64) -> Vec<KeyValue> {
    vec![
        KeyValue::new("model", model.shared()),
        KeyValue::new("model_version", version.to_string()),
    ]
}

/// The instruments of one version's part of the response cache.
pub(crate) struct LookupMetrics {
    hits: BoundCounter<u64>,
    misses: BoundCounter<u64>,
}

impl LookupMetrics {
    pub(crate) fn hit(&self) {
        self.hits.add(1);
    }

    pub(crate) fn miss(&self) {
        self.misses.add(1);
    }
}

/// The instruments of one version, bound to its attributes. Dropping it takes its instances off the gauge.
pub(crate) struct ModelMetrics {
    queue_wait: BoundHistogram<f64>,
    batch_rows: BoundHistogram<u64>,
    run_duration: BoundHistogram<f64>,
    queue_depth: BoundUpDownCounter<i64>,
    loaded: BoundUpDownCounter<i64>,
    instances: i64,
    batch_closed: [BoundCounter<u64>; Closing::ALL.len()],
    batch_fill: BoundHistogram<f64>,
    batch_wait: BoundHistogram<f64>,
    refused: [BoundCounter<u64>; Refusal::ALL.len()],
}

impl ModelMetrics {
    pub(crate) fn waited(&self, time: Duration) {
        self.queue_wait.record(time.as_secs_f64());
    }

    pub(crate) fn ran(&self, rows: u64, time: Duration) {
        self.batch_rows.record(rows);
        self.run_duration.record(time.as_secs_f64());
    }

    /// A batch of a model that joins was closed, so full and so long after its first request came.
    pub(crate) fn closed(&self, closing: Closing, fill: f64, gathered: Duration) {
        self.batch_closed[closing as usize].add(1);
        self.batch_fill.record(fill);
        self.batch_wait.record(gathered.as_secs_f64());
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].add(1);
    }

    pub(crate) fn queue_changed(&self, by: i64) {
        self.queue_depth.add(by);
    }
}

impl Drop for ModelMetrics {
    fn drop(&mut self) {
        self.loaded.add(-self.instances);
    }
}
