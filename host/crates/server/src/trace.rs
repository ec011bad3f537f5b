//! The span of a request, as a child of the caller's where the request carries `traceparent`.

use http::StatusCode;
use http::request::Parts;
use opentelemetry::propagation::Extractor;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use wharf_core::{ErrorKind, SPAN_TARGET};

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::grpc::Method;
use crate::metrics::code_name;
use crate::problem::status;

/// Makes the span. Only called where spans are exported: without, a request pays nothing.
pub(crate) fn request_span(parts: &Parts, endpoint: Endpoint, id: &str) -> Span {
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        "request",
        otel.name = field::Empty,
        otel.kind = "server",
        http.request.method = %parts.method,
        http.route = endpoint.template,
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
        tenant.id = field::Empty,
        request_id = id,
    );
    span.record(
        "otel.name",
        format!("{} {}", parts.method, endpoint.template).trim_end(),
    );
    with_parent(&span, &Fields(&parts.headers));
    span
}

fn with_parent(span: &Span, fields: &impl Extractor) {
    let parent =
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.extract(fields));
    // It fails where no subscriber exports spans, or the span is filtered out: then nothing needs a parent.
    let _ = span.set_parent(parent);
}

/// Notes whose request or call it is, by the name that upstreams read in the baggage. OpenTelemetry has no convention for tenants.
pub(crate) fn record_client(span: &Span, client: &Client) {
    if let Some(tenant) = client.tenant() {
        span.record("tenant.id", &**tenant);
    }
}

/// Notes what a request came to. What a client did wrong is no error of the server's span (OpenTelemetry, HTTP spans).
pub(crate) fn record_answer(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// Makes the span of a gRPC call, or of a request in a stream, by the semantic conventions of OpenTelemetry for RPC.
pub(crate) fn call_span(fields: &impl Extractor, method: Option<Method>, id: &str) -> Span {
    let method = method.map_or("_OTHER", Method::name);
    let span = tracing::info_span!(
        target: SPAN_TARGET,
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
        otel.status_code = field::Empty,
        tenant.id = field::Empty,
        request_id = id,
    );
    with_parent(&span, fields);
    span
}

/// Notes what a call came to. The kinds that are faults are those of HTTP's span.
pub(crate) fn record_call(span: &Span, code: u8) {
    span.record("rpc.response.status_code", code_name(code));
    let is_fault = ErrorKind::ALL
        .into_iter()
        .map(status)
        .any(|status| status.grpc == code && status.http >= 500);
    if is_fault {
        span.record("otel.status_code", "ERROR");
    }
}

/// The header fields as the propagator reads them.
pub(crate) struct Fields<'a>(pub(crate) &'a http::HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
