//! A plain HTTP service: a body goes in, a body comes out, both as they come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wharf_core::{
    BoxFuture, Digest, Error, ErrorKind, Inference, Model, ModelInfo, ModelLoad, RequestContext,
    Result, Service, Streamed, Tensor,
};

use crate::body::{Outgoing, Source, too_large};
use crate::exchange::{Call, Held, Terms};
use crate::fault::Fault;
use crate::model;
use crate::oip::expect_plain;
use crate::peer::Peer;
use crate::settings::Address;
use crate::status::refusal;

/// What a body without a media type is.
const BINARY: &str = "application/octet-stream";

/// A service, in the place of a model.
pub(crate) struct RemoteService {
    info: ModelInfo,
    peer: Arc<Peer>,
}

impl RemoteService {
    pub(crate) fn new(peer: Arc<Peer>, digest: Digest) -> Self {
        Self {
            info: model::info(&peer.settings, digest),
            peer,
        }
    }
}

impl Model for RemoteService {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn check_room(&self) -> Result<()> {
        self.peer.check_room()
    }

    fn infer<'a>(
        &'a self,
        _request: &'a RequestContext,
        _inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        // Routes look at `service` when they are linked.
        Box::pin(async { Err(Error::internal("a service takes no tensors")) })
    }

    fn load(&self) -> ModelLoad {
        self.peer.load()
    }

    fn service(&self) -> Option<&dyn Service> {
        Some(self)
    }
}

impl Service for RemoteService {
    fn exchange<'a>(
        &'a self,
        request: &'a RequestContext,
        sent: Streamed,
    ) -> BoxFuture<'a, Result<Streamed>> {
        Box::pin(async move {
            let media_type = HeaderValue::from_str(&sent.media_type)
                .map_err(|_| Error::invalid("content-type", "is no media type that can be sent"))?;
            let settings = &self.peer.settings;
            let call = Forward {
                source: Arc::new(Source::new(sent.body)),
                media_type,
            };
            let terms = Terms {
                fields: crate::headers::fields(request, &settings.request_headers),
                deadline: request.deadline,
            };
            let answered = self.peer.ask(&call, &terms, || {}).await?;
            let (parts, body) = answered.answer.into_parts();
            let media_type = parts.headers.get(CONTENT_TYPE);
            let media_type = media_type.and_then(|value| value.to_str().ok());
            let most = settings.max_body_bytes;
            if body.size_hint().lower() > most as u64 {
                return Err(too_large(most).into());
            }
            Ok(Streamed {
                media_type: media_type.unwrap_or(BINARY).into(),
                headers: chosen(&parts.headers, &settings.answer_headers),
                body: Box::pin(Answer {
                    body,
                    peer: Arc::clone(&self.peer),
                    held: answered.held,
                    most,
                    left: most,
                    deadline: Box::pin(tokio::time::sleep_until(Instant::from_std(
                        request.deadline,
                    ))),
                    ended: false,
                }),
            })
        })
    }
}

fn chosen(fields: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut chosen = HeaderMap::new();
    for name in names {
        for value in fields.get_all(name) {
            chosen.append(name.clone(), value.clone());
        }
    }
    chosen
}

/// Sends a client's body on.
struct Forward {
    source: Arc<Source>,
    media_type: HeaderValue,
}

impl Call for Forward {
    type Answer = Response<Incoming>;

    fn message(&self, to: &Address, _time: Duration) -> Result<Request<Outgoing>> {
        let uri = to
            .uri(&[])
            .ok_or_else(|| Error::internal("an endpoint has no address"))?;
        Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, self.media_type.clone())
            .header(ACCEPT_ENCODING, "identity")
            .body(Outgoing::Stream(Arc::clone(&self.source)))
            .map_err(Error::internal)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        expect_plain(answer.headers())?;
        Ok(answer)
    }

    /// Nobody knows what a service does; and what was read of the client's body is gone.
    fn can_be_repeated(&self) -> bool {
        false
    }
}

/// The body of an answer as it comes: within its size and its request's time. It keeps the request's places to its end.
struct Answer {
    body: Incoming,
    peer: Arc<Peer>,
    held: Held,
    most: usize,
    left: usize,
    deadline: Pin<Box<Sleep>>,
    ended: bool,
}

impl Answer {
    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.ended = true;
        if !matches!(fault, Fault::Late) {
            self.peer.endpoint_failed(self.held.visit.endpoint());
        }
        Poll::Ready(Some(Err(match fault {
            Fault::Late => Error::new(ErrorKind::Deadline, "the deadline passed within the answer"),
            fault => fault.into(),
        })))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.len() > this.left => this.fail(too_large(this.most)),
                Ok(data) => {
                    this.left -= data.len();
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                // Trailers are between this server and the peer.
                Err(_trailers) => {
                    this.ended = true;
                    Poll::Ready(None)
                }
            },
            Poll::Ready(Some(Err(error))) => this.fail(Fault::Broken(error.into())),
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => match this.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => this.fail(Fault::Late),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
