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
use wharf_e2e::{Request, Site, Wharf, quickstart, wait_for};

use crate::one_to_four;

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

/// A server that sends its spans to a collector.
struct Traced {
    collector: Collector,
    serving: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    wharf: Wharf,
}

impl Traced {
    async fn serve(site: &Site) -> Result<Self> {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let service = TraceServiceServer::new(collector.clone());
        let service = tonic::transport::Server::builder().add_service(service);
        let incoming = TcpListenerStream::new(listener);
        let serving = tokio::spawn(service.serve_with_incoming(incoming));
        let wharf = Wharf::serve_with(site, |command| {
            command.env("WHARF_TELEMETRY__OTLP_ENDPOINT", &endpoint);
            // How often the batch of spans is sent, in milliseconds: the exporter's own variable.
            command.env("OTEL_BSP_SCHEDULE_DELAY", "100");
        })
        .await?;
        Ok(Self {
            collector,
            serving,
            wharf,
        })
    }

    /// Sends a request that is a part of the caller's trace. Gives the spans up to the request's own, which is the last.
    async fn spans_of(&self, request: Request) -> Result<Vec<Span>> {
        let parent = format!("00-{TRACE_ID}-{PARENT_ID}-01");
        let request = request.header("traceparent", parent);
        self.wharf.client().send(&request).await?.ok()?;
        wait_for("the root span", async || {
            let spans = self
                .collector
                .spans
                .lock()
                .expect("no test panics with the lock held")
                .clone();
            let is_root = |span: &Span| hex(&span.parent_span_id) == PARENT_ID;
            spans.iter().any(is_root).then_some(spans)
        })
        .await
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_for_each_stage_joins_the_callers_trace() -> Result<()> {
    let site = quickstart()?;
    let traced = Traced::serve(&site).await?;
    let picture = std::fs::read(site.path().join("images/7.png"))?;
    let request = Request::post("/v1/infer/digits", "image/png", picture);
    let spans = traced.spans_of(request).await?;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_a_plugin_calls_is_in_the_callers_trace() -> Result<()> {
    let site = Site::empty()?;
    site.adder("one", 1, 1.0)?;
    site.plugin("ensemble", "ensemble")?;
    site.write(
        "plugins/ensemble.toml",
        "[grants.model]\ntargets = [\"one\"]\n[settings]\ntargets = [\"one\"]\n",
    )?;
    site.write(
        "routes/mean.toml",
        "model = \"one\"\ninput = \"tensors\"\npre = [\"ensemble\"]\n",
    )?;
    let traced = Traced::serve(&site).await?;
    let spans = traced.spans_of(one_to_four("mean")).await?;
    let named =
        |name: &str| -> Vec<&Span> { spans.iter().filter(|span| span.name == name).collect() };
    let [stage] = named("preprocess")[..] else {
        anyhow::bail!("{spans:?}");
    };
    let [call] = named("call")[..] else {
        anyhow::bail!("{spans:?}");
    };
    ensure!(
        call.parent_span_id == stage.span_id,
        "{call:?} is not the stage's"
    );
    // One run for the plugin, and one for the route.
    let runs = named("inference.predict");
    ensure!(runs.len() == 2, "{runs:?}");
    let of_the_call = runs.iter().filter(|run| run.parent_span_id == call.span_id);
    ensure!(of_the_call.count() == 1, "{runs:?}");
    ensure!(spans.iter().all(|span| hex(&span.trace_id) == TRACE_ID));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
