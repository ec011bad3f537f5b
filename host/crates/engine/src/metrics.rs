//! What the engine measures.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, UpDownCounter};
use wharf_core::Name;

use crate::{Device, DeviceProbe};

/// Bounds of durations in seconds, from what a model of four numbers takes to what a deadline allows.
const SECONDS: [f64; 17] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];
const ROWS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The engine's instruments.
#[derive(Clone)]
pub(crate) struct Metrics {
    queue_wait: Histogram<f64>,
    batch_rows: Histogram<u64>,
    run_duration: Histogram<f64>,
    queue_depth: UpDownCounter<i64>,
    instances: UpDownCounter<i64>,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter, probe: Arc<dyn DeviceProbe>) -> Self {
        // The meter keeps an observable instrument by its callback.
        let _gpu_memory_used = meter
            .u64_observable_gauge("gpu_memory_used_bytes")
            .with_description("Memory in use on a GPU, by anyone")
            .with_callback(move |observer| {
                for index in probe.cuda_devices() {
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
        }
    }

    /// The instruments for one version of a model. Names come from the site, never from a request.
    pub(crate) fn of(&self, model: &Name, version: u64, instances: usize) -> ModelMetrics {
        let attributes = vec![
            KeyValue::new("model", model.shared()),
            KeyValue::new("model_version", version.to_string()),
        ];
        let instances = i64::try_from(instances).unwrap_or(i64::MAX);
        self.instances.add(instances, &attributes);
        ModelMetrics {
            metrics: self.clone(),
            attributes,
            instances,
        }
    }
}

/// The instruments with the attributes of one version. Dropping it takes its instances off the gauge.
pub(crate) struct ModelMetrics {
    metrics: Metrics,
    attributes: Vec<KeyValue>,
    instances: i64,
}

impl ModelMetrics {
    pub(crate) fn waited(&self, time: Duration) {
        self.metrics
            .queue_wait
            .record(time.as_secs_f64(), &self.attributes);
    }

    pub(crate) fn ran(&self, rows: u64, time: Duration) {
        self.metrics.batch_rows.record(rows, &self.attributes);
        self.metrics
            .run_duration
            .record(time.as_secs_f64(), &self.attributes);
    }

    pub(crate) fn queue_changed(&self, by: i64) {
        self.metrics.queue_depth.add(by, &self.attributes);
    }
}

impl Drop for ModelMetrics {
    fn drop(&mut self) {
        self.metrics
            .instances
            .add(-self.instances, &self.attributes);
    }
}
