//! A plain HTTP service: a body goes in, a body comes out, both as they come.

mod answer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use wharf_core::{
    BoxFuture, Digest, Error, Inference, Model, ModelInfo, ModelLoad, RequestContext, Result,
    Service, Streamed, Tensor,
};

use crate::body::{Outgoing, Source};
use crate::exchange::{Call, Terms};
use crate::fault::Fault;
use crate::model;
use crate::oip::expect_plain;
use crate::peer::Peer;
use crate::settings::{Address, Protocol};
use crate::status::refusal;
use answer::{Answer, Reading};

/// The milliseconds that a service has for its answer, as Envoy tells them: there is no standard for it.
const TIME: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

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
            let source = Arc::new(Source::new(sent.body));
            let call = Forward {
                source: Arc::clone(&source),
                media_type,
            };
            let terms = Terms::of(request, settings)?;
            let answered = self.peer.ask(&call, &terms, || {}).await?;
            let (parts, body) = answered.answer.into_parts();
            let media_type = parts.headers.get(CONTENT_TYPE);
            let media_type = media_type.and_then(|value| value.to_str().ok());
            let reading = Reading {
                source,
                terms,
                held: answered.held,
            };
            Ok(Streamed {
                status: parts.status,
                media_type: media_type.unwrap_or(BINARY).into(),
                headers: chosen(&parts.headers, &settings.answer_headers),
                body: Box::pin(Answer::new(body, reading, settings)?),
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

    fn message(&self, to: &Address, time: Duration) -> Result<Request<Outgoing>> {
        let uri = to
            .uri(&[])
            .ok_or_else(|| Error::internal("an endpoint has no address"))?;
        Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, self.media_type.clone())
            .header(ACCEPT_ENCODING, "identity")
            .header(TIME, time.as_millis().max(1).to_string())
            .body(Outgoing::Stream(Arc::clone(&self.source)))
            .map_err(Error::internal)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
        if !answer.status().is_success() {
            return Err(refusal(answer, Protocol::Http).await);
        }
        expect_plain(answer.headers())?;
        Ok(answer)
    }

    /// Nobody knows what a service does; and what was read of the client's body is gone.
    fn can_be_repeated(&self) -> bool {
        false
    }

    fn waits_since(&self, began: Instant) -> Option<Instant> {
        self.source.waits_since(began)
    }

    fn take_error(&self) -> Option<Error> {
        self.source.take_error()
    }
}
