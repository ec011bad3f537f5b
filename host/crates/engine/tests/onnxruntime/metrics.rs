//! What the engine measures.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use wharf_engine::{Config, DeviceMemory, OnnxEngine};

use crate::support::{FakeProbe, Site, floats, infer, onnx};

/// The sums, values and counts of what was measured, by name and attributes.
fn measured(
    provider: &SdkMeterProvider,
    exporter: &InMemoryMetricExporter,
) -> BTreeMap<String, i64> {
    exporter.reset();
    provider.force_flush().unwrap();
    let mut found = BTreeMap::new();
    let mut note = |name: &str, attributes: Vec<String>, value: i64| {
        found.insert(format!("{name}{{{}}}", attributes.join(",")), value);
    };
    macro_rules! points {
        ($name:expr, $points:expr, $value:expr) => {
            for point in $points {
                let mut attributes: Vec<String> = point
                    .attributes()
                    .map(|pair| format!("{}={}", pair.key, pair.value))
                    .collect();
                attributes.sort();
                note($name, attributes, $value(point));
            }
        };
    }
    for resource in exporter.get_finished_metrics().unwrap() {
        for scope in resource.scope_metrics() {
            for metric in scope.metrics() {
                let name = metric.name();
                match metric.data() {
                    AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                        points!(
                            name,
                            sum.data_points(),
                            |point: &opentelemetry_sdk::metrics::data::SumDataPoint<i64>| point
                                .value()
                        );
                    }
                    AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                        points!(
                            name,
                            gauge.data_points(),
                            |point: &opentelemetry_sdk::metrics::data::GaugeDataPoint<u64>| point
                                .value()
                                as i64
                        );
                    }
                    AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
                        points!(
                            name,
                            histogram.data_points(),
                            |point: &opentelemetry_sdk::metrics::data::HistogramDataPoint<u64>| {
                                point.sum() as i64
                            }
                        );
                    }
                    AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                        points!(
                            name,
                            histogram.data_points(),
                            |point: &opentelemetry_sdk::metrics::data::HistogramDataPoint<f64>| {
                                point.count() as i64
                            }
                        );
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn runs_queues_instances_and_devices_are_measured() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let memory = DeviceMemory {
        free: 100,
        total: 1000,
    };
    let probe = FakeProbe {
        cpu: None,
        cuda: [(0, memory), (3, memory)].into(),
    };
    let engine = OnnxEngine::with_probe(
        Config::default(),
        &provider.meter("engine"),
        Arc::new(probe),
    )
    .unwrap();
    let site = Site::of(Ok(engine));
    let model = site.serve(
        &onnx::add(1.0),
        "[instances]\ncount = 2\n[batching]\nmax_rows = 8\ndelay_ms = 1",
    );
    for _ in 0..5 {
        infer(&model, vec![floats("x", &[3, 2], &[0.0; 6])])
            .await
            .unwrap();
    }
    let of = "{model=m,model_version=1}";
    let now = measured(&provider, &exporter);
    assert_eq!(now["gpu_memory_used_bytes{device_id=0}"], 900);
    assert_eq!(now["gpu_memory_used_bytes{device_id=3}"], 900);
    assert_eq!(now[&format!("model_instances{of}")], 2);
    assert_eq!(now[&format!("model_batch_rows{of}")], 15);
    assert_eq!(now[&format!("model_run_duration_seconds{of}")], 5);
    assert_eq!(now[&format!("model_queue_wait_seconds{of}")], 5);
    assert_eq!(now[&format!("model_queue_depth{of}")], 0);
    drop(model);
    assert_eq!(
        measured(&provider, &exporter)[&format!("model_instances{of}")],
        0
    );
}
