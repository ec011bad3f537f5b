//! What the engine measures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use wharf_core::{Sequence, SequenceId};
use wharf_engine::{Config, Device, DeviceMemory, DeviceProbe, OnnxEngine};

use crate::support::{FakeProbe, Site, eventually, floats, infer, onnx, request};

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
                    AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                        points!(
                            name,
                            sum.data_points(),
                            |point: &opentelemetry_sdk::metrics::data::SumDataPoint<u64>| point
                                .value()
                                as i64
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

/// Devices of which models use the last alone. To look at the memory of another would take some of it.
struct UsedByOne(FakeProbe);

impl DeviceProbe for UsedByOne {
    fn cuda_devices(&self) -> Vec<u32> {
        self.0.cuda_devices()
    }

    fn watched_devices(&self) -> Vec<u32> {
        self.cuda_devices().into_iter().rev().take(1).collect()
    }

    fn memory(&self, device: Device) -> Option<DeviceMemory> {
        assert_ne!(device, Device::Cuda(0), "nobody uses it");
        self.0.memory(device)
    }
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
    let probe = UsedByOne(FakeProbe {
        cpu: None,
        cuda: [(0, memory), (3, memory)].into(),
    });
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
    assert_eq!(now["gpu_memory_used_bytes{device_id=3}"], 900);
    assert!(!now.contains_key("gpu_memory_used_bytes{device_id=0}"));
    assert_eq!(now[&format!("model_instances{of}")], 2);
    assert_eq!(now[&format!("model_batch_rows{of}")], 15);
    assert_eq!(now[&format!("model_run_duration_seconds{of}")], 5);
    assert_eq!(now[&format!("model_queue_wait_seconds{of}")], 5);
    assert_eq!(now[&format!("model_queue_depth{of}")], 0);
    assert_eq!(now[&format!("model_batch_wait_seconds{of}")], 5);
    assert_eq!(now[&format!("model_batch_fill_ratio{of}")], 5);
    for (reason, batches) in [("delay", 5), ("full", 0), ("preferred", 0), ("idle", 0)] {
        let closed = format!("model_batch_closed{{model=m,model_version=1,reason={reason}}}");
        assert_eq!(now[&closed], batches, "{reason}");
    }
    drop(model);
    assert_eq!(
        measured(&provider, &exporter)[&format!("model_instances{of}")],
        0
    );
}

/// An engine whose measurements can be read.
fn measuring() -> (Site, SdkMeterProvider, InMemoryMetricExporter) {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let engine = OnnxEngine::new(Config::default(), &provider.meter("engine")).unwrap();
    (Site::of(Ok(engine)), provider, exporter)
}

#[tokio::test]
async fn batches_are_measured_by_why_they_were_closed() {
    let (site, provider, exporter) = measuring();
    let settings =
        "[instances]\ncount = 1\n[batching]\nmax_rows = 8\npreferred_rows = [3]\ndelay_ms = 5";
    let model = site.serve(&onnx::add(1.0), settings);
    for rows in [3_u64, 8, 1, 3] {
        let x = floats("x", &[rows, 2], &vec![0.0; rows as usize * 2]);
        infer(&model, vec![x]).await.unwrap();
    }
    let now = measured(&provider, &exporter);
    for (reason, batches) in [("preferred", 2), ("full", 1), ("delay", 1), ("idle", 0)] {
        let closed = format!("model_batch_closed{{model=m,model_version=1,reason={reason}}}");
        assert_eq!(now[&closed], batches, "{reason}");
    }
    let model = site.serve(&onnx::add(1.0), "[batching]\nmax_rows = 8");
    infer(&model, vec![floats("x", &[1, 2], &[0.0; 2])])
        .await
        .unwrap();
    let idle = "model_batch_closed{model=m,model_version=1,reason=idle}";
    assert_eq!(measured(&provider, &exporter)[idle], 1);
}

#[tokio::test]
async fn the_cache_sequences_and_refusals_are_measured() {
    let (site, provider, exporter) = measuring();
    let model = site.serve(&onnx::add(1.0), "[cache]\nenabled = true");
    for value in [1.0, 1.0, 1.0, 2.0] {
        infer(&model, vec![floats("x", &[1, 2], &[value; 2])])
            .await
            .unwrap();
    }
    let now = measured(&provider, &exporter);
    let lookups = |outcome: &str| {
        now[&format!("model_cache_lookup{{model=m,model_version=1,outcome={outcome}}}")]
    };
    assert_eq!((lookups("hit"), lookups("miss")), (2, 2));
    assert!(now["model_cache_bytes{}"] > 0);
    drop(model);
    assert_eq!(measured(&provider, &exporter)["model_cache_bytes{}"], 0);

    let model = site.serve(&onnx::add(1.0), "[sequences]\nidle_ms = 60000");
    let mut context = request(Duration::from_secs(60));
    for id in 1..4_u64 {
        context.scheduling.sequence = Some(Sequence {
            id: SequenceId::Number(id.try_into().unwrap()),
            start: true,
            end: id == 1,
        });
        let x = vec![floats("x", &[1, 2], &[0.0; 2])];
        model.infer(&context, x).await.unwrap();
    }
    let live = "model_sequences{model=m,model_version=1}";
    assert_eq!(measured(&provider, &exporter)[live], 2);
    drop(model);
    assert_eq!(measured(&provider, &exporter)[live], 0);

    let model = site.serve(&onnx::add(1.0), "[sequences]\nidle_ms = 20");
    let x = vec![floats("x", &[1, 2], &[0.0; 2])];
    model.infer(&context, x).await.unwrap();
    eventually("it is forgotten, though nobody asks", || {
        measured(&provider, &exporter)[live] == 0
    })
    .await;
    drop(model);

    let model = site.serve(
        &onnx::add(1.0),
        "[batching]\nmax_rows = 8\ndelay_ms = 10000\nmax_in_flight = 1",
    );
    let context = request(Duration::from_secs(60));
    let mut waiting = model.infer(&context, vec![floats("x", &[1, 2], &[0.0; 2])]);
    let polled =
        std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_ready()))
            .await;
    assert!(!polled && model.check_room().is_err());
    let refused = "model_refused{model=m,model_version=1,reason=in-flight}";
    assert_eq!(measured(&provider, &exporter)[refused], 1);
}
