//! A call while it lasts: what it belongs to, and what it is counted in.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use wharf_core::{Error, ErrorKind, Quota};

use super::method::Method;
use super::refusal::Refusal;
use super::request::Request;
use crate::access_log::Notes;
use crate::app::App;
use crate::connection::Watch;
use crate::problem::status;
use crate::trace::{Fields, call_span, record_call};

/// A connection that calls come over.
pub(crate) struct Connected {
    pub(crate) app: Arc<App>,
    pub(crate) watch: Arc<Watch>,
    /// Told when the server stops: streams end then, that would go on for ever.
    pub(crate) drain: CancellationToken,
}

/// A call while it lasts. What it comes to is recorded when it goes, however that happens.
pub(super) struct Call {
    pub(super) connected: Arc<Connected>,
    pub(super) id: Arc<str>,
    pub(super) started: Instant,
    /// None for what no service has.
    pub(super) method: Option<Method>,
    /// The client's own, where it has one.
    pub(super) timeout: Option<Duration>,
    /// What is left of the client's quota, for the answer.
    pub(super) quota: Option<Quota>,
    /// What the access log is told, where there is one.
    pub(super) notes: Option<Arc<Notes>>,
    span: CallSpan,
    code: u8,
}

/// The span of a call.
enum CallSpan {
    /// It depends on the model, which stands in the message.
    Undecided,
    /// The call is not traced, or each of its requests is by itself.
    None,
    Of(Span),
}

impl Call {
    pub(super) fn begin(connected: Arc<Connected>, id: Arc<str>, method: Option<Method>) -> Self {
        connected.watch.enter();
        connected.app.metrics.enter();
        Self {
            connected,
            id,
            started: Instant::now(),
            method,
            timeout: None,
            quota: None,
            notes: None,
            span: CallSpan::None,
            // What a call comes to whose client leaves.
            code: status(ErrorKind::Cancelled).grpc,
        }
    }

    /// Makes the span, where the call is traced and that can be said by its header.
    pub(super) fn trace_header(&mut self, fields: &HeaderMap) {
        let tracing = &self.connected.app.tracing;
        match self.method {
            // The requests of a stream are for models of their own, and it may last for days.
            Some(Method::ModelStreamInfer) => {}
            Some(Method::ModelInfer) if tracing.depends_on_model() => {
                self.span = CallSpan::Undecided;
            }
            _ if tracing.sample(None) => self.make_span(fields),
            _ => {}
        }
    }

    /// Makes the span, where the call is traced and its message was needed to say that; none where none came.
    pub(super) fn trace_message(&mut self, fields: &HeaderMap, message: Option<&Bytes>) {
        if matches!(self.span, CallSpan::Undecided) {
            self.span = CallSpan::None;
            let request = message.and_then(|message| Request::of(message).ok());
            let model = request.as_ref().map(|request| request.model);
            if self.connected.app.tracing.sample(model) {
                self.make_span(fields);
            }
        }
    }

    /// Notes which model is asked, where the access log wants to know it: it stands in the message.
    pub(super) fn note_message(&self, message: Option<&Bytes>) {
        let request = match (&self.notes, message) {
            (Some(notes), Some(message)) if self.method == Some(Method::ModelInfer) => {
                Request::of(message).ok().map(|request| (notes, request))
            }
            _ => None,
        };
        if let Some((notes, request)) = request {
            notes.set_route(request.model);
        }
    }

    fn make_span(&mut self, fields: &HeaderMap) {
        self.span = CallSpan::Of(call_span(&Fields(fields), self.method, &self.id));
    }

    pub(super) fn span(&self) -> Option<&Span> {
        match &self.span {
            CallSpan::Of(span) => Some(span),
            CallSpan::Undecided | CallSpan::None => None,
        }
    }

    pub(super) fn ended(&mut self, code: u8) {
        self.code = code;
    }

    pub(super) fn app(&self) -> &App {
        &self.connected.app
    }

    /// What is left of the client's own time.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let timeout = self.timeout?;
        Some(timeout.saturating_sub(self.started.elapsed()))
    }

    /// Works within the client's own time. The work is pinned where it is: a future that takes another one has it twice.
    pub(super) async fn within<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    ) -> Result<T, Refusal> {
        let Some(remaining) = self.remaining() else {
            return work.await;
        };
        // Most is done at once, and needs no timer.
        if !remaining.is_zero()
            && let std::task::Poll::Ready(result) = futures_util::poll!(work.as_mut())
        {
            return result;
        }
        tokio::time::timeout(remaining, work)
            .await
            .unwrap_or_else(|_| Err(past_deadline()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let app = &self.connected.app;
        let code = match std::thread::panicking() {
            true => status(ErrorKind::Internal).grpc,
            false => self.code,
        };
        if let CallSpan::Of(span) = &self.span {
            record_call(span, code);
        }
        app.metrics.leave();
        app.metrics.call(self.method, code, self.started.elapsed());
        self.connected.watch.leave();
    }
}

pub(super) fn past_deadline() -> Refusal {
    let message = "the deadline passed before the answer was ready";
    Error::new(ErrorKind::Deadline, message).into()
}
