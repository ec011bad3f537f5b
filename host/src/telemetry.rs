//! Logs, metrics and traces: set up once, before anything else runs.

mod log;

use std::sync::Arc;

use anyhow::{Context, Result};
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use prometheus::TextEncoder;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer};
use wharf_core::{LoadError, SPAN_TARGET};
use wharf_server::Observability;

use crate::config::FILE;
use log::Log;

/// The section `[telemetry]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// `text` or `json`.
    pub(crate) log_format: LogFormat,
    /// What is logged, in the syntax of `tracing-subscriber`'s `EnvFilter`: `info`, `info,wharf_serving=debug`.
    pub(crate) log_filter: String,
    /// Where traces are sent, as OTLP over gRPC: `http://127.0.0.1:4317`. No traces are made where it is not set.
    pub(crate) otlp_endpoint: Option<String>,
    /// The share of traces that begin here and are kept, 0 to 1. A caller's decision, by `traceparent`, wins.
    pub(crate) trace_sample_ratio: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            otlp_endpoint: None,
            trace_sample_ratio: 1.0,
        }
    }
}

impl Config {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let wrong = |key: &str, message: String| {
            Err(LoadError::new(FILE, message).with_key(format!("telemetry.{key}")))
        };
        if let Err(error) = EnvFilter::try_new(&self.log_filter) {
            let filter = &self.log_filter;
            return wrong(
                "log_filter",
                format!("{filter:?} is no filter, such as \"info,wharf_serving=debug\": {error}"),
            );
        }
        if !(0.0..=1.0).contains(&self.trace_sample_ratio) {
            return wrong(
                "trace_sample_ratio",
                format!("is {}: use 0 to 1", self.trace_sample_ratio),
            );
        }
        match &self.otlp_endpoint {
            Some(endpoint) if !endpoint.starts_with("http://") => wrong(
                "otlp_endpoint",
                format!("{endpoint:?} is no endpoint, such as \"http://127.0.0.1:4317\""),
            ),
            _ => Ok(()),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What was set up. It must live as long as the program, and be shut down in the end, so that the last spans are sent.
pub(crate) struct Telemetry {
    metrics: SdkMeterProvider,
    registry: prometheus::Registry,
    traces: Option<SdkTracerProvider>,
    log: Arc<Log>,
}

impl Telemetry {
    /// Installs the log, and makes the providers. Needs a tokio runtime where traces are exported.
    pub(crate) fn install(config: &Config) -> Result<Self> {
        let (log, lines) = Log::new(config.log_format, &config.log_filter)?;
        let traces = config
            .otlp_endpoint
            .as_deref()
            .map(|endpoint| tracer(config, endpoint))
            .transpose()?;
        let spans = traces.as_ref().map(|provider| {
            let only_spans = Targets::new().with_target(SPAN_TARGET, LevelFilter::INFO);
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("wharf"))
                .with_filter(only_spans)
                .boxed()
        });
        // A list, and no optional layer: an absent one counts as interested in everything, and spans are made for nobody.
        let layers: Vec<_> = std::iter::once(lines).chain(spans).collect();
        tracing_subscriber::registry().with(layers).init();
        let (metrics, registry) = meter()?;
        Ok(Self {
            metrics,
            registry,
            traces,
            log: Arc::new(log),
        })
    }

    /// The meter that every crate makes its instruments with.
    pub(crate) fn meter(&self) -> Meter {
        self.metrics.meter("wharf")
    }

    /// What the server needs to observe itself, and to show what all crates observe.
    pub(crate) fn observability(&self) -> Observability {
        let registry = self.registry.clone();
        let metrics_text = move || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap_or_else(|error| {
                    tracing::error!(%error, "metrics cannot be rendered");
                    String::new()
                })
        };
        Observability {
            meter: self.meter(),
            metrics_text: Arc::new(metrics_text),
            traces: self.traces.is_some(),
            logging: Some(Arc::<Log>::clone(&self.log)),
        }
    }

    /// Sends what is left. Blocks for a few seconds at most.
    pub(crate) fn shutdown(self) {
        if let Some(traces) = self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

fn resource() -> Resource {
    Resource::builder().with_service_name("wharf").build()
}

fn tracer(config: &Config, endpoint: &str) -> Result<SdkTracerProvider> {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| {
            format!("wharf.toml [telemetry.otlp_endpoint]: {endpoint:?} cannot be used")
        })?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
        config.trace_sample_ratio,
    )));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource())
        .build())
}

fn meter() -> Result<(SdkMeterProvider, prometheus::Registry)> {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()
        .context("the metrics exporter cannot be made")?;
    let provider = SdkMeterProvider::builder()
        .with_reader(exporter)
        .with_resource(resource())
        .build();
    Ok((provider, registry))
}
