//! What the server measured.

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

/// Where a server measures.
pub(super) struct Measured {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
}

impl Measured {
    pub(super) fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        Self { exporter, provider }
    }

    pub(super) fn meter(&self) -> Meter {
        self.provider.meter("test")
    }

    /// The newest value of a metric's series that has these attributes; 0 where there is none.
    pub(super) fn value(&self, name: &str, attributes: &[(&str, &str)]) -> i64 {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let exported = self.exporter.get_finished_metrics().unwrap();
        let metrics = exported
            .iter()
            .flat_map(|resource| resource.scope_metrics())
            .flat_map(|scope| scope.metrics())
            .filter(|metric| metric.name() == name);
        let fits = |all: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
            let all: Vec<_> = all.collect();
            attributes.iter().all(|(key, value)| {
                all.iter().any(|attribute| {
                    attribute.key.as_str() == *key && attribute.value.as_str() == *value
                })
            })
        };
        let mut newest = 0;
        for metric in metrics {
            match metric.data() {
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        if fits(&mut point.attributes()) {
                            newest = point.value() as i64;
                        }
                    }
                }
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        if fits(&mut point.attributes()) {
                            newest = point.value();
                        }
                    }
                }
                AggregatedMetrics::I64(MetricData::Gauge(gauge)) => {
                    for point in gauge.data_points() {
                        if fits(&mut point.attributes()) {
                            newest = point.value();
                        }
                    }
                }
                data => panic!("{name} is {data:?}"),
            }
        }
        newest
    }
}
