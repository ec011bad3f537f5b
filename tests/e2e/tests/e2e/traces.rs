//! Traces over OTLP, received by a collector of the OpenTelemetry protocol's own service definition.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use wharf_e2e::{Request, Wharf, quickstart, wait_for};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";

/// Keeps the spans that it is sent.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let sent = request.into_inner().resource_spans.into_iter();
        let spans = sent
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.spans
            .lock()
            .expect("no test panics with the lock held")
            .extend(spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_for_each_stage_joins_the_callers_trace() -> Result<()> {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let service =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    let serving = tokio::spawn(service.serve_with_incoming(TcpListenerStream::new(listener)));

    let site = quickstart()?;
    let wharf = Wharf::serve_with(&site, |command| {
        command.env("WHARF_TELEMETRY__OTLP_ENDPOINT", &endpoint);
        // How often the batch of spans is sent, in milliseconds: the exporter's own variable.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100");
    })
    .await?;
    let picture = std::fs::read(site.path().join("images/7.png"))?;
    let request = Request::post("/v1/infer/digits", "image/png", picture)
        .header("traceparent", format!("00-{TRACE_ID}-{PARENT_ID}-01"));
    wharf.client().send(&request).await?.ok()?;

    let spans = wait_for("the root span", async || {
        let spans = collector.spans.lock().unwrap().clone();
        spans
            .iter()
            .any(|span| hex(&span.parent_span_id) == PARENT_ID)
            .then_some(spans)
    })
    .await?;
    serving.abort();

    let by_name: BTreeMap<&str, &Span> = spans
        .iter()
        .map(|span| (span.name.as_str(), span))
        .collect();
    for name in ["route", "preprocess", "inference.predict", "postprocess"] {
        let span = by_name
            .get(name)
            .with_context(|| format!("no span {name} among {:?}", by_name.keys()))?;
        ensure!(
            hex(&span.trace_id) == TRACE_ID,
            "{name} is in another trace"
        );
        ensure!(
            hex(&span.parent_span_id) != PARENT_ID,
            "{name} is not below the request's span"
        );
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
