//! One request and its answer: within its time, through its redirects, counted.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::Injector;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use url::Url;
use wharf_core::{RequestContext, stage_span};

use super::Http;
use super::message::{Answer, Outgoing, Prepared};
use crate::bindings::v1::types::{Error, InvalidInput};
use crate::metrics::{HttpMetrics, HttpOutcome};

/// The most time that a guest is left with when a request of its own ran out of time.
const SPARE: Duration = Duration::from_millis(50);

/// The fields of W3C Trace Context.
const TRACE_FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The stage call that a request is sent in.
pub(crate) struct Call {
    /// When the answer of the client's request is of no use any more.
    deadline: Instant,
    /// The trace that the client sent along.
    trace: HeaderMap,
}

/// Why a request came to nothing: what the guest gets, and what only the log gets.
#[derive(Debug)]
pub(crate) struct Refusal {
    outcome: HttpOutcome,
    pub(crate) error: Error,
    pub(crate) cause: Option<String>,
}

impl Call {
    pub(crate) fn new(request: &RequestContext) -> Self {
        let given = |name: HeaderName| {
            let value = request.headers.get(name.as_str())?;
            Some((name, HeaderValue::from_str(value).ok()?))
        };
        let trace: HeaderMap = TRACE_FIELDS.into_iter().filter_map(given).collect();
        let traced =
            (trace.get(&TRACE_FIELDS[0])).is_some_and(|parent| is_traceparent(parent.as_bytes()));
        Self {
            deadline: request.deadline,
            trace: if traced { trace } else { HeaderMap::new() },
        }
    }

    /// The time that a request may take, so that its guest has a moment left to answer with something else.
    fn time(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left - (left / 10).min(SPARE)
    }

    /// The fields that tell the server of the trace: those of the span where spans are exported, else the client's own.
    fn trace_of(&self, span: &Span) -> HeaderMap {
        if span.is_none() {
            return self.trace.clone();
        }
        let mut fields = Fields(HeaderMap::new());
        let context = span.context();
        opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut fields);
        });
        fields.0
    }
}

impl Http {
    /// Sends a request and waits for the whole answer.
    pub(crate) async fn send(&self, outgoing: Outgoing, call: &Call) -> Result<Answer, Refusal> {
        let mut record = Record {
            metrics: &self.0.metrics,
            began: Instant::now(),
            outcome: HttpOutcome::Cancelled,
        };
        let span = stage_span!(
            "outbound request",
            otel.kind = "client",
            http.request.method = tracing::field::Empty,
            server.address = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
        );
        let answer = self.attempt(outgoing, call).instrument(span).await;
        record.outcome = match &answer {
            Ok(_) => HttpOutcome::Ok,
            Err(refusal) => refusal.outcome,
        };
        answer
    }

    async fn attempt(&self, outgoing: Outgoing, call: &Call) -> Result<Answer, Refusal> {
        let span = Span::current();
        let time = [Some(self.timeout()), outgoing.timeout, Some(call.time())];
        let time = time.into_iter().flatten().min().unwrap_or_default();
        let prepared = self.prepare(outgoing, &call.trace_of(&span))?;
        span.record("http.request.method", prepared.method().as_str());
        span.record("server.address", prepared.url().host_str());
        let _slot = (self.0.slots.try_acquire()).map_err(|_| Refusal::busy(self.0.grant.calls))?;
        let answer = tokio::time::timeout(time, self.follow(prepared))
            .await
            .unwrap_or_else(|_| Err(Refusal::timeout(time)))?;
        span.record("http.response.status_code", answer.status);
        Ok(answer)
    }

    /// Sends a request, and what the answers redirect to.
    async fn follow(&self, mut next: Prepared) -> Result<Answer, Refusal> {
        let redirects = self.0.grant.redirects;
        for _ in 0..redirects {
            let answer = self.exchange(&next).await?;
            match self.redirected(&answer, &next)? {
                Some(target) => next = target,
                None => return self.receive(answer).await,
            }
        }
        let answer = self.exchange(&next).await?;
        if redirects > 0 && self.redirected(&answer, &next)?.is_some() {
            let message =
                format!("the server redirects more often than grants.http.redirects = {redirects}");
            return Err(Refusal::failed(message));
        }
        self.receive(answer).await
    }

    async fn exchange(
        &self,
        request: &Prepared,
    ) -> Result<http::Response<hyper::body::Incoming>, Refusal> {
        let sent = self.0.client.request(request.message()?).await;
        sent.map_err(|error| {
            let mut refusal = Refusal::unreachable(&error);
            if let Some(cause) = &mut refusal.cause {
                let _ = write!(cause, " ({})", request.url().origin().ascii_serialization());
            }
            refusal
        })
    }
}

impl Refusal {
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let error = Error::InvalidInput(InvalidInput {
            field: Some(field.to_owned()),
            message: message.into(),
        });
        Self::new(HttpOutcome::Invalid, error)
    }

    /// The origin is for the log alone: what a guest refuses with reaches clients.
    pub(super) fn denied(url: &Url) -> Self {
        let message =
            "the grant http does not name this origin; an operator adds it to grants.http.origins";
        Self {
            cause: Some(format!(
                "{} is not granted",
                url.origin().ascii_serialization()
            )),
            ..Self::new(HttpOutcome::Denied, Error::Denied(message.to_owned()))
        }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(HttpOutcome::Failed, Error::Failed(message.into()))
    }

    pub(super) fn too_large(setting: &str, value: u32) -> Self {
        Self::failed(format!(
            "the answer is larger than grants.http.{setting} = {value}"
        ))
    }

    pub(super) fn unreachable(error: &(dyn StdError + 'static)) -> Self {
        let mut cause = error.to_string();
        let mut at = error.source();
        while let Some(source) = at {
            let _ = write!(cause, ": {source}");
            at = source.source();
        }
        let message = "the server that the plugin asked gave no answer; try again later";
        Self {
            cause: Some(cause),
            ..Self::new(
                HttpOutcome::Unreachable,
                Error::Unavailable(message.to_owned()),
            )
        }
    }

    /// There is no request to send it for.
    pub(crate) fn without_request() -> Self {
        let message = "outside of a stage call nothing is sent; ask when a request comes";
        Self::new(HttpOutcome::Invalid, Error::Unavailable(message.to_owned()))
    }

    fn timeout(time: Duration) -> Self {
        let message = "the server that the plugin asked took too long; try again later";
        Self {
            cause: Some(format!("no whole answer within {} ms", time.as_millis())),
            ..Self::new(HttpOutcome::Timeout, Error::Unavailable(message.to_owned()))
        }
    }

    fn busy(calls: u32) -> Self {
        let message = format!(
            "the plugin has grants.http.calls = {calls} requests under way; try again later"
        );
        Self::new(HttpOutcome::Busy, Error::Unavailable(message))
    }

    fn new(outcome: HttpOutcome, error: Error) -> Self {
        Self {
            outcome,
            error,
            cause: None,
        }
    }
}

/// Counts a request when it ends, also where it ends by being dropped.
struct Record<'a> {
    metrics: &'a HttpMetrics,
    began: Instant,
    outcome: HttpOutcome,
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.metrics.ended(self.outcome, self.began.elapsed());
    }
}

struct Fields(HeaderMap);

impl Injector for Fields {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::from_bytes(key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Whether this is a `traceparent` of version 00 (W3C Trace Context).
fn is_traceparent(value: &[u8]) -> bool {
    let parts: Vec<_> = value.split(|byte| *byte == b'-').collect();
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2])
        && parts[0] == b"00"
        && parts.concat().iter().all(u8::is_ascii_hexdigit)
}
