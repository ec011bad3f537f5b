//! What the server measures, by the semantic conventions of OpenTelemetry for HTTP servers.

mod access_log;
mod rpc;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Counter, Histogram, Meter};

use crate::endpoint::INFER;
use crate::grpc::Method as Call;
pub(crate) use access_log::{LineLost, LostLines};
use rpc::Calls;
pub(crate) use rpc::code_name;
pub(crate) use tls::{HandshakeFailure, TlsMetrics};

/// The instruments of one listener.
#[derive(Debug)]
pub(crate) struct Metrics {
    duration: Histogram<f64>,
    /// The series of inferences that went well, found once: looking it up costs more than the rest of the recording.
    inferred: [BoundHistogram<f64>; INFER.len()],
    calls: Calls,
    refused: Counter<u64>,
    gauges: Arc<Gauges>,
}

/// Gauges are read when somebody asks: a request pays for two additions.
#[derive(Debug, Default)]
struct Gauges {
    requests: AtomicI64,
    connections: AtomicI64,
}

/// From a quarter of a millisecond, where small models are, to the longest timeouts.
const SECONDS: [f64; 17] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0,
    2.5, 5.0, 10.0,
];

impl Metrics {
    pub(crate) fn new(meter: &Meter, listener: &'static str) -> Self {
        let gauges = Arc::new(Gauges::default());
        let attributes = [KeyValue::new("listener", listener)];
        gauge(
            meter,
            "http.server.active_requests",
            "{request}",
            &gauges,
            |gauges| &gauges.requests,
            &attributes,
        );
        gauge(
            meter,
            "http.server.open_connections",
            "{connection}",
            &gauges,
            |gauges| &gauges.connections,
            &attributes,
        );
        let duration = meter
            .f64_histogram("http.server.request.duration")
            .with_description(
                "Duration of HTTP requests, from the end of their header to the answer",
            )
            .with_unit("s")
            .with_boundaries(SECONDS.to_vec())
            .build();
        Self {
            inferred: INFER
                .map(|endpoint| duration.bind(&attributes_of("POST", endpoint.template, 200))),
            duration,
            calls: Calls::new(meter),
            refused: meter
                .u64_counter("http.server.refused_connections")
                .with_description("Connections that were closed because max_connections were open")
                .build(),
            gauges,
        }
    }

    /// Notes that a request began. What it comes to is recorded when the guard goes, however that happens.
    pub(crate) fn request(&self, method: &Method, route: &'static str) -> Recording<'_> {
        self.gauges.requests.fetch_add(1, Relaxed);
        Recording {
            metrics: self,
            started: Instant::now(),
            method: known(method),
            route,
            // What a request comes to whose client leaves.
            status: 499,
        }
    }

    /// Notes that a gRPC call began.
    pub(crate) fn enter(&self) {
        self.gauges.requests.fetch_add(1, Relaxed);
    }

    /// Notes that a gRPC call ended.
    pub(crate) fn leave(&self) {
        self.gauges.requests.fetch_sub(1, Relaxed);
    }

    /// Records a gRPC call by its status code. Without a method, it is one that no service has.
    pub(crate) fn call(&self, method: Option<Call>, code: u8, duration: Duration) {
        self.calls.record(method, code, duration);
    }

    pub(crate) fn connection(&self) -> Open<'_> {
        self.gauges.connections.fetch_add(1, Relaxed);
        Open(&self.gauges)
    }

    pub(crate) fn refused_connection(&self) {
        self.refused.add(1, &[]);
    }
}

fn gauge(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    gauges: &Arc<Gauges>,
    value: fn(&Gauges) -> &AtomicI64,
    attributes: &[KeyValue; 1],
) {
    let (gauges, attributes) = (Arc::clone(gauges), attributes.clone());
    meter
        .i64_observable_up_down_counter(name)
        .with_unit(unit)
        .with_callback(move |observer| observer.observe(value(&gauges).load(Relaxed), &attributes))
        .build();
}

fn attributes_of(method: &'static str, route: &'static str, status: u16) -> [KeyValue; 3] {
    [
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.response.status_code", i64::from(status)),
        KeyValue::new("http.route", route),
    ]
}

/// Keeps methods that a client made up from minting series.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

/// A request that is being measured.
pub(crate) struct Recording<'a> {
    metrics: &'a Metrics,
    started: Instant,
    method: &'static str,
    route: &'static str,
    status: u16,
}

impl Recording<'_> {
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        self.metrics.gauges.requests.fetch_sub(1, Relaxed);
        let seconds = self.started.elapsed().as_secs_f64();
        if (self.method, self.status) == ("POST", 200) {
            let templates = INFER.iter().zip(&self.metrics.inferred);
            for (endpoint, inferred) in templates {
                if endpoint.template == self.route {
                    return inferred.record(seconds);
                }
            }
        }
        let attributes = attributes_of(self.method, self.route, self.status);
        // The convention leaves the route out where none matched.
        let known = if self.route.is_empty() { 2 } else { 3 };
        self.metrics.duration.record(seconds, &attributes[..known]);
    }
}

/// A connection that is being counted.
pub(crate) struct Open<'a>(&'a Gauges);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

    use super::*;
    use crate::endpoint::Surface;

    /// The attributes of each series of durations, with its count.
    fn series(exporter: &InMemoryMetricExporter) -> Vec<(String, u64)> {
        let exported = exporter.get_finished_metrics().unwrap();
        let metrics = exported
            .iter()
            .flat_map(|resource| resource.scope_metrics());
        let durations = metrics
            .flat_map(|scope| scope.metrics())
            .filter(|metric| metric.name() == "http.server.request.duration");
        let mut series = Vec::new();
        for metric in durations {
            let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
                panic!("the durations are no histogram");
            };
            for point in histogram.data_points() {
                let mut attributes: Vec<_> = point
                    .attributes()
                    .map(|attribute| format!("{}={}", attribute.key, attribute.value))
                    .collect();
                attributes.sort();
                series.push((attributes.join(" "), point.count()));
            }
        }
        series.sort();
        series
    }

    fn sorted<const N: usize>(mut series: [(String, u64); N]) -> [(String, u64); N] {
        series.sort();
        series
    }

    #[test]
    fn unknown_names_mint_no_series() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_periodic_exporter(exporter.clone())
            .build();
        let metrics = Metrics::new(&provider.meter("test"), "public");
        for (method, path, status) in [
            ("POST", "/v1/infer/a", 200),
            ("POST", "/v1/infer/b", 200),
            ("POST", "/v1/infer/made-up", 404),
            ("POST", "/v2/models/a/infer", 200),
            ("POST", "/v2/models/made-up/infer", 200),
            ("POST", "/v2/models/a/versions/made-up/infer", 404),
            ("MADEUP", "/made/up", 404),
            ("UP-MADE", "/up/made", 404),
        ] {
            let method = method.parse().unwrap();
            let mut recording = metrics.request(&method, Surface::Public.find(path).0.template);
            recording.answered(StatusCode::from_u16(status).unwrap());
        }
        // The client left.
        drop(metrics.request(&Method::POST, INFER[0].template));
        provider.force_flush().unwrap();
        let expected = [
            (
                "http.request.method=POST http.response.status_code=200 http.route=/v1/infer/{route}",
                2,
            ),
            (
                "http.request.method=POST http.response.status_code=404 http.route=/v1/infer/{route}",
                1,
            ),
            (
                "http.request.method=POST http.response.status_code=499 http.route=/v1/infer/{route}",
                1,
            ),
            (
                "http.request.method=POST http.response.status_code=200 http.route=/v2/models/{model}/infer",
                2,
            ),
            // Found before anything was recorded.
            (
                "http.request.method=POST http.response.status_code=200 http.route=/v2/models/{model}/versions/{version}/infer",
                0,
            ),
            (
                "http.request.method=POST http.response.status_code=404 http.route=/v2/models/{model}/versions/{version}/infer",
                1,
            ),
            (
                "http.request.method=_OTHER http.response.status_code=404",
                2,
            ),
        ];
        assert_eq!(
            series(&exporter),
            sorted(expected.map(|(series, count)| (series.to_owned(), count)))
        );
        assert_eq!(metrics.gauges.requests.load(Relaxed), 0);
    }
}
