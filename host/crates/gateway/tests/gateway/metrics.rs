//! What the gateway measures.

use std::collections::BTreeMap;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use serde_json::json;
use wharf_core::Gatekeeper as _;
use wharf_gateway::Gateway;

use crate::support::{KeyServer, claims, claims_with, claims_without, config, ec, issuer};

/// The counters that are not zero, by name and outcome.
fn counted(
    provider: &SdkMeterProvider,
    exporter: &InMemoryMetricExporter,
) -> BTreeMap<String, u64> {
    exporter.reset();
    provider.force_flush().unwrap();
    let mut found = BTreeMap::new();
    let resources = exporter.get_finished_metrics().unwrap();
    let metrics = resources
        .iter()
        .flat_map(|resource| resource.scope_metrics());
    for metric in metrics.flat_map(|scope| scope.metrics()) {
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
            continue;
        };
        for point in sum.data_points().filter(|point| point.value() > 0) {
            let outcome = point.attributes().map(|pair| pair.value.to_string());
            let outcome: Vec<_> = outcome.collect();
            found.insert(
                format!("{} {}", metric.name(), outcome.join(",")),
                point.value(),
            );
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_counts_once_by_how_it_ended() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    let site = tempfile::tempdir().unwrap();
    let settings = config(&issuer(&format!("jwks = '{}'", server.url())));
    let gateway = Gateway::open(&settings, site.path(), &provider.meter("test")).unwrap();
    let good = signer.sign(&claims());
    let mut made_up = signer.header();
    made_up["kid"] = json!("made-up");
    let tokens = [
        good.clone(),
        good.clone(),
        good.clone(),
        "x".to_owned(),
        signer.sign(&claims_with("aud", json!("other"))),
        signer.sign(&claims_with("exp", json!(1))),
        signer.sign(&claims_with("nbf", json!(u64::MAX))),
        signer.sign(&claims_with("iss", json!("other"))),
        signer.sign(&claims_without("sub")),
        signer.sign_as(&json!({"alg": "none"}), &claims()),
        signer.sign_as(&made_up, &claims()),
        format!("{}AAAA", &good[..good.len() - 4]),
    ];
    for token in tokens {
        let mut fields = http::HeaderMap::new();
        fields.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let _ = gateway.identify(&fields).get().await;
    }
    let nothing = http::HeaderMap::new();
    gateway.identify(&nothing).get().await.unwrap_err();

    let expected = [
        ("gateway_authentication algorithm", 1),
        ("gateway_authentication audience", 1),
        ("gateway_authentication cached", 2),
        ("gateway_authentication claims", 1),
        ("gateway_authentication early", 1),
        ("gateway_authentication expired", 1),
        ("gateway_authentication issuer", 1),
        ("gateway_authentication malformed", 1),
        ("gateway_authentication missing", 1),
        ("gateway_authentication ok", 1),
        ("gateway_authentication signature", 1),
        ("gateway_authentication unknown-key", 1),
        ("gateway_key_fetch fetched", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counted(&provider, &exporter), BTreeMap::from(expected));
    gateway.shutdown().await;
}
