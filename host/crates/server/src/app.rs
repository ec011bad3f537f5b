//! What a listener does with a request: counts it, gives it an id, and finds who answers.

mod dress;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use axum::extract::Extension;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming as Received;
use smallvec::SmallVec;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use wharf_core::{Action, Error, ErrorKind, Gatekeeper, InvalidName, Name, Quota};
use wharf_serving::Serving;

use crate::access::Management;
use crate::access_log::{AccessLog, Answered, Entry};
use crate::admin::Operators;
use crate::body::Incoming;
use crate::budget::BodyBudget;
use crate::client::{Client, write_quota};
use crate::config::Limits;
use crate::connection::Watch;
use crate::cors::Cors;
use crate::endpoint::{Surface, Target};
use crate::grpc::GrpcBody;
use crate::infer;
use crate::infer::stream::Answer;
use crate::management::{IdempotencyKeys, Operations};
use crate::metrics::Metrics;
use crate::oip::logging::LogControl;
use crate::oip::rest;
use crate::oip::shared_memory::SharedMemory;
use crate::oip::tracing::Tracing;
use crate::problem::{Problem, Refusal};
use crate::request_id::{self, RequestIds};
use crate::trace::{record_answer, record_client, request_span};
use crate::unread::{Lent, Unread, settle};
use dress::Asked;

/// What a listener serves.
pub(crate) struct App {
    pub(crate) surface: Surface,
    pub(crate) serving: Serving,
    pub(crate) limits: Limits,
    /// Shared with the other listener.
    pub(crate) bodies: Arc<BodyBudget>,
    pub(crate) metrics: Metrics,
    pub(crate) ids: RequestIds,
    /// Which requests get a span.
    pub(crate) tracing: Tracing,
    /// The log, where clients may see its settings.
    pub(crate) logging: Option<Arc<dyn LogControl>>,
    /// What clients put their tensors in, in place of requests.
    pub(crate) shared_memory: Arc<SharedMemory>,
    /// What tenants share with it: nothing, since all of them would share it with each other.
    pub(crate) no_shared_memory: Arc<SharedMemory>,
    /// Long work that clients asked for.
    pub(crate) operations: Operations,
    /// What was answered to requests that may be sent again.
    pub(crate) idempotency: Arc<IdempotencyKeys>,
    /// Which clients may change what is served and how: `server.management`.
    pub(crate) management: Management,
    /// Whom to ask who a client is, and how much they may; none where every client is anybody.
    pub(crate) gatekeeper: Option<Arc<dyn Gatekeeper>>,
    /// Which pages of other sites may use the listener; none where no one's may.
    pub(crate) cors: Option<Cors>,
    /// Who may use the listener at all; none where whoever reaches it may.
    pub(crate) operators: Option<Operators>,
    /// Where requests leave their lines.
    pub(crate) access_log: Option<AccessLog>,
    /// What is asked for seldom. Inference does not go through it: matching and boxing cost what a small model costs.
    pub(crate) router: axum::Router,
}

/// What the handlers of its own router get of a listener's application.
#[derive(Clone)]
pub(crate) struct AppHandle(pub(crate) Weak<App>);

impl AppHandle {
    /// The application.
    ///
    /// # Errors
    /// `Unavailable` where it ended: then nobody waits for the answer.
    pub(crate) fn get(&self) -> Result<Arc<App>, Error> {
        let ended = || Error::new(ErrorKind::Unavailable, "the server ends; try another one");
        self.0.upgrade().ok_or_else(ended)
    }
}

/// The id of the request, for handlers of the router.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl App {
    /// Answers a request.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        watch: &Watch,
        request: Request<Received>,
    ) -> Response<AnswerBody> {
        let begun = watch.begin();
        let (mut parts, body) = request.into_parts();
        let unread = Unread::of(&parts);
        let id = self.ids.of(&parts.headers);
        // Apart from the rest, which is moved on: what is asked for is found in it once.
        let uri = std::mem::take(&mut parts.uri);
        let (endpoint, target) = self.surface.find(uri.path());
        let mut recording = self.metrics.request(&parts.method, endpoint.template);
        let mut quota = None;
        let asked = Asked {
            parts: &parts,
            path: uri.path(),
            endpoint,
            target: target.as_ref(),
            id: &id,
        };
        let entry = self.entry(&asked, watch);
        let mut body = Some(Incoming::new(body, entry.as_ref().map(Entry::notes)));
        let dress = self.dress_for(&parts);

        let traced = self.tracing.sample(target.as_ref().map(Target::name));
        let span = traced.then(|| request_span(&parts, endpoint, &id));
        let answering = async {
            // Before anything of it is believed.
            if let Some(malformed) = begun.malformed {
                return Err(Problem::Malformed(malformed));
            }
            let fields = self.limits.check_fields(&parts.headers);
            fields.map_err(|error| Refusal::fields(&error))?;
            // Before it is asked who the client is: a browser has not said it yet.
            if let Some(preflight) = self.preflight(&dress) {
                return Ok(preflight?);
            }
            self.check_operator(endpoint, &parts.headers)?;
            // Before anything is said of what there is.
            let client = match self.identify(&parts.headers).await {
                Err(_) if endpoint.is_open() => Client::Stranger,
                found => found?,
            };
            if let (Some(entry), Some(tenant)) = (&entry, client.tenant()) {
                entry.notes().set_tenant(tenant);
            }
            if let Some(span) = &span {
                record_client(span, &client);
            }
            match target {
                None => Box::pin(self.route(uri.clone(), parts, &mut body, (&id, client))).await,
                Some(_) if parts.method != Method::POST => Err(Problem::MethodNotAllowed {
                    allow: endpoint.allow,
                }),
                Some(target) => {
                    let sent = Sent {
                        id: &id,
                        client: &client,
                        headers: parts.headers,
                        body: &mut body,
                        quota: &mut quota,
                    };
                    self.infer(target, sent).await
                }
            }
        };
        // A panic would take the connection with it, and the other requests of an HTTP/2 connection.
        let answering = AssertUnwindSafe(answering).catch_unwind();
        let answer = match &span {
            // Boxed, so that the future stays small where no spans are exported.
            Some(span) => Box::pin(answering.instrument(span.clone())).await,
            None => answering.await,
        };
        let answer = answer.unwrap_or_else(|_| Err(Error::internal("a handler panicked").into()));
        let response = answer.unwrap_or_else(|problem| problem.respond(&id).map(Into::into));
        let mut response = self.dress(response, dress, &id).await;
        request_id::name(&mut response, &id);
        if let Some(quota) = &quota {
            write_quota(quota, response.headers_mut());
        }
        settle(unread, body, &mut response).await;
        recording.answered(response.status());
        if let Some(span) = &span {
            record_answer(span, response.status());
        }
        match entry {
            Some(entry) => entry.follow(response),
            None => response,
        }
    }

    /// Why nothing of a kind that has a name serves whoever wants to do something with it; the hint says where a client finds what
    /// there is. The name is checked only here: one that is none cannot be one of theirs.
    pub(crate) fn unknown(
        &self,
        (client, action): (&Client, Action),
        (kind, hint): (&'static str, &str),
        name: &str,
    ) -> Error {
        let unavailable = |message: String| Error::new(ErrorKind::Unavailable, message);
        match Name::new(name) {
            Err(InvalidName) => return Error::invalid(kind, InvalidName.to_string()),
            Ok(_) if !self.serving.is_loaded() => {
                return unavailable("the server is still loading; try again soon".to_owned());
            }
            Ok(_) => {}
        }
        match self.serving.absence(client.asked(name)) {
            Some(reason) => match client.check(action, Some(name)) {
                Ok(()) => unavailable(format!("{kind} {name} does not serve now: {reason}"))
                    .with_field(kind),
                Err(refusal) => refusal,
            },
            None => {
                let message = format!("there is no {kind} {name}; {hint}");
                Error::new(ErrorKind::NotFound, message).with_field(kind)
            }
        }
    }

    async fn infer(
        self: &Arc<Self>,
        target: Target<'_>,
        sent: Sent<'_>,
    ) -> Result<Response<AnswerBody>, Problem> {
        match target {
            Target::Route(name) => infer::infer(self, &name, sent).await,
            Target::Model { name, version } => {
                rest::infer(self, (&name, version.as_deref()), sent).await
            }
        }
    }

    /// Asks the router.
    async fn route(
        &self,
        uri: Uri,
        mut parts: request::Parts,
        body: &mut Option<Incoming>,
        (id, client): (&Arc<str>, Client),
    ) -> Result<Response<AnswerBody>, Problem> {
        parts.uri = uri;
        let (lent, back) = Lent::new(body.take().ok_or_else(gone)?);
        let mut request = Request::from_parts(parts, axum::body::Body::new(lent));
        request.extensions_mut().insert(RequestId(Arc::clone(id)));
        request.extensions_mut().insert(client);
        let Ok(response) = self.router.clone().oneshot(request).await;
        *body = back.await.ok();
        Ok(response.map(AnswerBody::Routed))
    }
}

pub(crate) fn gone() -> Error {
    Error::internal("the body is taken once")
}

/// What a client sent for an inference, apart from what it asks.
pub(crate) struct Sent<'a> {
    pub(crate) id: &'a Arc<str>,
    pub(crate) client: &'a Client,
    pub(crate) headers: HeaderMap,
    /// Taken where it goes on as it comes.
    pub(crate) body: &'a mut Option<Incoming>,
    /// What is left of the client's quota, for the answer.
    pub(crate) quota: &'a mut Option<Quota>,
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

/// The body of an answer: whole, in parts, as the router made it, of a call, or as a service gives it; or one of these that the access
/// log follows.
pub(crate) enum AnswerBody {
    Whole(Full<Bytes>),
    /// One after the other, so that large ones are not copied.
    Parts(Parts),
    Routed(axum::body::Body),
    Grpc(GrpcBody),
    /// As it comes from a service.
    Streamed(Answer),
    Answered(Box<Answered>),
}

impl Default for AnswerBody {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

/// The parts of a body that are still to be sent.
pub(crate) struct Parts {
    parts: smallvec::IntoIter<[Bytes; 2]>,
    left: u64,
}

impl From<SmallVec<[Bytes; 2]>> for AnswerBody {
    fn from(mut parts: SmallVec<[Bytes; 2]>) -> Self {
        // A frame with nothing in it would be a mistake in HTTP/2.
        parts.retain(|part| !part.is_empty());
        Self::Parts(Parts {
            left: parts.iter().map(|part| part.len() as u64).sum(),
            parts: parts.into_iter(),
        })
    }
}

impl Parts {
    fn next(&mut self) -> Option<Bytes> {
        let part = self.parts.next()?;
        self.left -= part.len() as u64;
        Some(part)
    }
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
            Self::Parts(parts) => Poll::Ready(parts.next().map(|part| Ok(Frame::data(part)))),
            Self::Grpc(body) => body.poll(cx).map(|frame| frame.map(Ok)),
            Self::Answered(body) => Pin::new(body).poll_frame(cx),
            Self::Streamed(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Routed(body) => body.is_end_stream(),
            Self::Parts(parts) => parts.left == 0,
            Self::Grpc(body) => body.is_over(),
            Self::Answered(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Routed(body) => body.size_hint(),
            Self::Parts(parts) => SizeHint::with_exact(parts.left),
            Self::Grpc(_) => SizeHint::default(),
            Self::Answered(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}
