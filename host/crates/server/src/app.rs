//! What a listener does with a request: counts it, gives it an id, and finds who answers.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Extension;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use wharf_core::{Error, ErrorKind};
use wharf_serving::Serving;

use crate::budget::BodyBudget;
use crate::config::Limits;
use crate::connection::Watch;
use crate::endpoint::{Endpoint, Surface};
use crate::infer;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::request_id::{RequestIds, X_REQUEST_ID};
use crate::trace::{record_answer, request_span};

/// What a listener serves.
pub(crate) struct App {
    pub(crate) surface: Surface,
    pub(crate) serving: Serving,
    pub(crate) limits: Limits,
    /// Shared with the other listener.
    pub(crate) bodies: Arc<BodyBudget>,
    pub(crate) metrics: Metrics,
    pub(crate) ids: RequestIds,
    /// Whether spans are exported.
    pub(crate) traces: bool,
    /// What is asked for seldom. Inference does not go through it: matching and boxing cost what a small model costs.
    pub(crate) router: axum::Router,
}

/// The id of the request, for handlers of the router.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl App {
    /// Answers a request.
    pub(crate) async fn handle(
        &self,
        watch: &Watch,
        request: Request<Incoming>,
    ) -> Response<AnswerBody> {
        let begun = watch.begin();
        let (parts, body) = request.into_parts();
        let id = self.ids.of(&parts.headers);
        let (endpoint, _) = self.surface.find(parts.uri.path());
        let mut recording = self.metrics.request(&parts.method, endpoint.template);

        let span = self.traces.then(|| request_span(&parts, endpoint, &id));
        let answering = async {
            // Before anything of it is believed.
            if begun.is_ambiguous {
                return Err(Problem::AmbiguousLength);
            }
            self.dispatch(endpoint, parts, body, &id).await
        };
        // A panic would take the connection with it, and the other requests of an HTTP/2 connection.
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let answer = match &span {
            // Boxed, so that the future stays small where no spans are exported.
            Some(span) => Box::pin(answering.instrument(span.clone())).await,
            None => answering.await,
        };
        let answer = answer.unwrap_or_else(|_| Err(Error::internal("a handler panicked").into()));
        let mut response = answer.unwrap_or_else(|problem| problem.respond(&id).map(Into::into));
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        recording.answered(response.status());
        if let Some(span) = &span {
            record_answer(span, response.status());
        }
        response
    }

    async fn dispatch(
        &self,
        endpoint: Endpoint,
        parts: Parts,
        body: Incoming,
        id: &Arc<str>,
    ) -> Result<Response<AnswerBody>, Problem> {
        if let (_, Some(_)) = self.surface.find(parts.uri.path()) {
            if parts.method != Method::POST {
                return Err(Problem::MethodNotAllowed {
                    allow: endpoint.allow,
                });
            }
            return infer::infer(self, parts, body, id).await;
        }
        let mut request = Request::from_parts(parts, axum::body::Body::new(body));
        request.extensions_mut().insert(RequestId(Arc::clone(id)));
        let Ok(response) = self.router.clone().oneshot(request).await;
        Ok(response.map(AnswerBody::Routed))
    }
}

/// Answers what no handler takes.
pub(crate) fn with_fallbacks(surface: Surface, router: axum::Router) -> axum::Router {
    let method = move |Extension(id): Extension<RequestId>, uri: http::Uri| async move {
        let (endpoint, _) = surface.find(uri.path());
        refuse(
            &Problem::MethodNotAllowed {
                allow: endpoint.allow,
            },
            &id,
        )
    };
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(method)
}

async fn unknown_path(Extension(id): Extension<RequestId>) -> axum::response::Response {
    let message = "there is nothing at this path; GET / on the public listener lists what there is";
    refuse(&Error::new(ErrorKind::NotFound, message).into(), &id)
}

/// A refusal as a handler of the router gives it.
pub(crate) fn refuse(problem: &Problem, id: &RequestId) -> axum::response::Response {
    problem.respond(&id.0).map(axum::body::Body::from)
}

/// The body of an answer: whole, or as the router made it.
pub(crate) enum AnswerBody {
    Whole(Full<Bytes>),
    Routed(axum::body::Body),
}

impl From<Bytes> for AnswerBody {
    fn from(body: Bytes) -> Self {
        Self::Whole(Full::new(body))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Routed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Routed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Routed(body) => body.size_hint(),
        }
    }
}
